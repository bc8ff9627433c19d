"""A model of large matrix products alone: what a runtime does with it tells the machine's limit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgepress.targets.records import Description, Signature, TensorSpec

if TYPE_CHECKING:
    from torch import nn

# 512 x 512 weights and 512 rows are in the flat part of the curve; four products outweigh what surrounds them.
WIDTH, ROWS, LAYERS = 512, 512, 4


@dataclass(frozen=True)
class Products:
    """The model as targets see it."""

    module: nn.Module
    signature: Signature
    description: Description


def products() -> Products:
    """Four products of 512 x 512 weights with 512 rows, with the same random weights at every call."""
    import torch
    from torch import nn

    class Chain(nn.Module):
        """Products of `[batch, 512, 512]` rows, then the mean over the rows: every one of them is read."""

        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(*(self._product() for _ in range(LAYERS)))
            self.head = nn.Linear(WIDTH, 8)

        @staticmethod
        def _product() -> nn.Module:
            layer = nn.Linear(WIDTH, WIDTH)
            # PyTorch's own initial weights shrink what flows through them, to nothing after a few layers.
            nn.init.kaiming_normal_(layer.weight)
            return nn.Sequential(layer, nn.ReLU())

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.head(self.layers(x).mean(1))
            return logits

    with torch.random.fork_rng():
        torch.manual_seed(0)
        chain = Chain().eval()
    inputs = (TensorSpec(name="x", dtype="float32", shape=("batch", ROWS, WIDTH)),)
    outputs = (TensorSpec(name="logits", dtype="float32", shape=("batch", 8)),)
    return Products(chain, Signature(inputs=inputs, outputs=outputs, bounds={"batch": (1, 2)}), Description())


def product_feeds() -> dict[str, np.ndarray]:
    """Inputs of one call, fp32 `[1, 512, 512]`."""
    return {"x": np.random.default_rng(0).standard_normal((1, ROWS, WIDTH), np.float32)}
