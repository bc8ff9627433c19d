"""Layers of low rank: two thin ones in the place of a wide one, each with the name that edits know it by."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from edgepress.targets.errors import ModelError


class LowRankLinear(nn.Module):
    """`second(first(x))`: in -> rank -> out."""

    def __init__(self, source: nn.Linear, rank: int) -> None:
        super().__init__()
        self.first = nn.Linear(source.in_features, rank, bias=False)
        self.second = nn.Linear(rank, source.out_features, bias=source.bias is not None)

    @property
    def weight(self) -> torch.Tensor:
        """The full matrix `[out, in]`, computed; some architectures look at its dtype."""
        return self.second.weight @ self.first.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(x))  # type: ignore[no-any-return]


class LowRankConv(nn.Module):
    """A k x k convolution to `rank` channels, then 1 x 1 to the original ones (arXiv 1505.06798)."""

    def __init__(self, source: nn.Conv2d, rank: int) -> None:
        super().__init__()
        size: Any = source.kernel_size
        stride: Any = source.stride
        padding: Any = source.padding
        dilation: Any = source.dilation
        mode: Any = source.padding_mode
        self.first = nn.Conv2d(source.in_channels, rank, size, stride, padding, dilation, bias=False, padding_mode=mode)
        self.second = nn.Conv2d(rank, source.out_channels, 1, bias=source.bias is not None)
        # Read by architectures that pad by hand, as TensorFlow does.
        self.kernel_size, self.stride, self.dilation = size, stride, dilation

    @property
    def weight(self) -> torch.Tensor:
        """The full kernel `[out, in, height, width]`, computed; some architectures look at its dtype."""
        return torch.einsum("or,rihw->oihw", self.second.weight.flatten(1), self.first.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(x))  # type: ignore[no-any-return]


class LowRankEmbedding(nn.Module):
    """A table of `rank` columns, then a projection (arXiv 1909.11942). Transformers reads `weight` of an embedding."""

    def __init__(self, source: nn.Embedding, rank: int) -> None:
        super().__init__()
        self.first = nn.Embedding(source.num_embeddings, rank, padding_idx=source.padding_idx)
        self.second = nn.Linear(rank, source.embedding_dim, bias=False)

    @property
    def weight(self) -> torch.Tensor:
        """The full table `[tokens, hidden]`, computed."""
        return self.first.weight @ self.second.weight.T

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(ids))  # type: ignore[no-any-return]


LOW_RANK: dict[type[nn.Module], type[nn.Module]] = {
    nn.Linear: LowRankLinear,
    nn.Conv2d: LowRankConv,
    nn.Embedding: LowRankEmbedding,
}


def low_rank_module(source: nn.Module, rank: int) -> nn.Module:
    """An uninitialised low-rank stand-in for `source` (Linear, Conv2d or Embedding)."""
    if type(source) not in LOW_RANK:
        raise ModelError(f"{type(source).__name__} has no low-rank form; Linear, Conv2d and Embedding have one")
    factory: Any = LOW_RANK[type(source)]
    module: nn.Module = factory(source, rank)
    return module
