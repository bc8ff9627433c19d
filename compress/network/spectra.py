"""The spectrum of a layer's outputs over calibration data, gathered batch by batch in the layer's smaller dimension."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
from torch import nn

from edgepress.compress.model.factors import LowRankConv, LowRankEmbedding, LowRankLinear
from edgepress.compress.network.probing import observe, rows_of
from edgepress.targets.errors import StageError
from edgepress.targets.records import Feeds

Kind = Literal["linear", "conv", "embedding"]
KINDS: dict[type[nn.Module], Kind] = {nn.Linear: "linear", nn.Conv2d: "conv", nn.Embedding: "embedding"}


@dataclass(frozen=True)
class Layer:
    """A layer that has a low-rank form. Its matrix maps `inputs` to `outputs`; an embedding's inputs are tokens."""

    name: str
    kind: Kind
    inputs: int
    outputs: int

    @property
    def parameters(self) -> int:
        """Weights without bias, which stays as it is."""
        return self.inputs * self.outputs

    @property
    def cost_of_rank(self) -> int:
        """Parameters that each rank costs."""
        return self.inputs + self.outputs

    def cost(self, rank: int) -> int:
        """Parameters at this rank; a layer whose factors would not cost less is kept."""
        return min(rank * self.cost_of_rank, self.parameters)


@dataclass(frozen=True)
class Spectrum:
    """Eigenvalues (descending) of M = Σ (W x)(W x)^T, and the basis of the smaller side to project on.

    `basis` holds orthonormal columns: of the outputs, or of the whitened inputs (`root` L, with L L^T = Σ x x^T).
    """

    layer: Layer
    weight: torch.Tensor
    values: torch.Tensor
    basis: torch.Tensor
    root: torch.Tensor | None
    note: str = ""

    @property
    def full_rank(self) -> int:
        return len(self.values)

    @cached_property
    def shares(self) -> torch.Tensor:
        """Each component's share of the energy."""
        total = self.values.sum()
        return self.values / total if total > 0 else torch.zeros_like(self.values)

    def energy(self, rank: int) -> float:
        return float(self.shares[:rank].sum())

    def rank_for(self, energy: float) -> int:
        """The smallest rank that keeps this share of the energy."""
        # A share of 1.0 is asked for in float64 and reached in sums that end a few last places below it.
        reached = self.shares.cumsum(0) >= energy - 1e-12
        return int(reached.int().argmax()) + 1 if bool(reached.any()) else self.full_rank

    def factors(self, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
        """`(first [rank, in], second [out, rank])` with second @ first the best rank-`rank` stand-in."""
        # Projections of small eigenvalues cancel: in float32 the last ranks would be noise.
        weight = self.weight.double()
        basis = self.basis[:, :rank]
        if self.root is not None:  # the outputs that the leading whitened inputs span
            basis, _ = torch.linalg.qr(weight @ (self.root.double() @ basis.double()))
        basis = basis.double()
        return (basis.T @ weight).to(self.weight.dtype), basis.to(self.weight.dtype)


def factorizable(network: nn.Module) -> list[Layer]:
    """Linear, Embedding and ungrouped Conv2d layers with weights of their own; factors are not factorized again."""
    owners: dict[int, int] = {}
    for module in network.modules():
        for parameter in module.parameters(recurse=False):
            # A tied weight is somebody else's too: two factors in its place would untie it, and the file would grow.
            owners[id(parameter)] = owners.get(id(parameter), 0) + 1
    low_rank = [n for n, m in network.named_modules() if isinstance(m, LowRankLinear | LowRankConv | LowRankEmbedding)]
    found = []
    for name, module in network.named_modules():
        kind = KINDS.get(type(module))
        if kind is None or name.rpartition(".")[0] in low_rank or owners[id(module.weight)] > 1:
            continue
        # Each group has a matrix of its own; one pair of factors over all of them would mix channels that never met.
        if isinstance(module, nn.Conv2d) and module.groups > 1:
            continue
        weight = matrix_of(module)
        found.append(Layer(name, kind, weight.shape[1], weight.shape[0]))
    return found


def matrix_of(module: nn.Module) -> torch.Tensor:
    """The layer's weights as `[out, in]`; an embedding maps one-hot tokens."""
    weight: Any = module.weight
    matrix: torch.Tensor = weight.detach().T if isinstance(module, nn.Embedding) else weight.detach().flatten(1)
    return matrix


def spectra(network: nn.Module, layers: Sequence[Layer], calibration: Sequence[Feeds] | None) -> list[Spectrum]:
    """One spectrum a layer: over calibration data, or over white inputs (the plain SVD) where that is None.

    Args:
        network: holds the layers; its weights are read.
        layers: which of its layers to look at.
    """
    moments = {layer.name: _Moment(layer) for layer in layers}
    if calibration is not None:
        observe(network, {name: moment.see for name, moment in moments.items()}, calibration)
    return [moments[layer.name].spectrum(network.get_submodule(layer.name)) for layer in layers]


class _Moment:
    """Running second moment of a layer's outputs without bias `[out, out]`, or of its inputs where these are fewer."""

    def __init__(self, layer: Layer) -> None:
        self.layer = layer
        self.rows = 0
        self.sum: torch.Tensor | None = None
        self.of_inputs = layer.kind == "linear" and layer.inputs < layer.outputs

    def see(self, module: nn.Module, inputs: torch.Tensor, output: torch.Tensor, mask: torch.Tensor | None) -> None:
        """Add one batch to the second moment.

        Args:
            module: the layer that was called.
            inputs: what it was given; token ids `[batch, tokens]` of an embedding.
            output: what it gave.
            mask: bool `[batch, tokens]`, true for real tokens; None where the batch has no attention mask.
        """
        if isinstance(module, nn.Embedding):
            ids = inputs[mask] if mask is not None and inputs.shape == mask.shape else inputs
            term = torch.bincount(ids.flatten(), minlength=module.num_embeddings).double()
            self.rows += ids.numel()
        else:
            values = rows_of(inputs if self.of_inputs else output, module, mask)
            bias: Any = module.bias
            # Factors stand for W alone: the bias is added behind them and must not take a direction of its own.
            if not self.of_inputs and bias is not None:
                values = values - bias
            values = values.double()
            term = values.T @ values
            self.rows += len(values)
        self.sum = term if self.sum is None else self.sum + term

    def spectrum(self, module: nn.Module) -> Spectrum:
        weight = matrix_of(module)
        if not bool(torch.isfinite(weight).all()):
            raise StageError(f"factorize: {self.layer.name} has weights that are no numbers. Train or load it again.")
        wide = weight.double()
        if self.layer.kind == "embedding":
            counts = 1.0 if self.sum is None else self.sum + 1  # unseen tokens still count as one
            return self._from_outputs(weight, (wide * counts) @ wide.T)
        white = wide @ wide.T if not self.of_inputs else torch.eye(wide.shape[1], dtype=wide.dtype, device=wide.device)
        if self.sum is None or self.rows == 0:
            note = "" if self.sum is None else "no calibration row reached it: plain SVD"
            return self._from_inputs(weight, white, note) if self.of_inputs else self._from_outputs(weight, white, note)
        moment = self._shrunk(wide, self.sum, white)
        return self._from_inputs(weight, moment) if self.of_inputs else self._from_outputs(weight, moment)

    def _shrunk(self, weight: torch.Tensor, moment: torch.Tensor, white: torch.Tensor) -> torch.Tensor:
        """With fewer rows than inputs the moment says nothing of some directions: mix it with white inputs of the same
        output energy, the more the fewer rows there are."""
        share = max(0.0, 1 - self.rows / self.layer.inputs)
        if share == 0:
            return moment
        total = (moment @ (weight.T @ weight)).trace() if self.of_inputs else moment.trace()
        return (1 - share) * moment + share * total / weight.square().sum().clamp_min(1e-300) * white

    def _from_outputs(self, weight: torch.Tensor, moment: torch.Tensor, note: str = "") -> Spectrum:
        values, basis = torch.linalg.eigh(moment)
        # eigh gives one value for each output; beyond the smaller side they are zero but for rounding.
        size = min(weight.shape)
        values, basis = values.flip(0)[:size].clamp_min(0), basis.flip(1)[:, :size]
        return Spectrum(self.layer, weight, values, basis.to(weight.dtype, copy=True), None, note)

    def _from_inputs(self, weight: torch.Tensor, moment: torch.Tensor, note: str = "") -> Spectrum:
        eigenvalues, vectors = torch.linalg.eigh(moment)
        root = vectors * eigenvalues.clamp_min(0).sqrt()
        product = weight.double() @ root
        values, basis = torch.linalg.eigh(product.T @ product)
        values, basis = values.flip(0).clamp_min(0), basis.flip(1)
        return Spectrum(self.layer, weight, values, basis.to(weight.dtype), root.to(weight.dtype), note)
