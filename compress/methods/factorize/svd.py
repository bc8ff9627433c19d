"""Low-rank factors of Linear, Conv2d and Embedding layers: spectra → RankPlan → factorized model.

For a layer y = W x the best rank-r stand-in on data is W' = U U^T W, where U holds the top r eigenvectors of
M = sum over inputs of (W x)(W x)^T: it leaves the smallest possible sum of |W x - W' x|^2, which is the sum of M's
other eigenvalues. This is the SVD of the weights whitened by the inputs' second moments (SVD-LLM, arXiv 2403.07378),
with no inverse to be taken. M = W W^T gives the plain SVD. Convolutions (weight [out, in*k*k], arXiv 1505.06798)
go the same way; the rows of an embedding are weighted by how often they are read.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from pydantic import ConfigDict, Field
from torch import nn

from edgepress.compress.methods.factorize.options import Factorize
from edgepress.compress.model.edits import Edit, set_submodule
from edgepress.compress.model.factors import low_rank_module
from edgepress.compress.model.model import Model
from edgepress.compress.network.spectra import Layer, Spectrum, factorizable, spectra
from edgepress.targets.errors import StageError
from edgepress.targets.records import Feeds, Record

# A layer with less than this share of the parameters is left alone: classifiers of a few classes, token types.
SMALL = 1e-3


class LayerRank(Record):
    """What becomes of one layer. `rank` is None where it stays as it is; `energy` is the share that the rank keeps."""

    module: str
    kind: Literal["linear", "conv", "embedding"]
    full_rank: int
    rank: int | None
    parameters: int
    parameters_after: int
    energy: float
    note: str = ""

    def describe(self) -> str:
        rank = "kept " if self.rank is None else f"{self.rank:5}"
        return (
            f"{self.kind:9} {self.module:60} rank {self.full_rank:5} -> {rank}  parameters {self.parameters:9} -> "
            f"{self.parameters_after:9}  energy {self.energy:.4f}  {self.note}"
        ).rstrip()


class RankPlan(Record):
    """The rank of each layer, and the factors (first `[rank, in]`, second `[out, rank]`), which no JSON holds."""

    model_config = ConfigDict(arbitrary_types_allowed=True)
    layers: tuple[LayerRank, ...]
    factors: Mapping[str, tuple[torch.Tensor, torch.Tensor]] = Field(default_factory=dict, exclude=True, repr=False)

    @property
    def changes(self) -> bool:
        return any(layer.rank is not None for layer in self.layers)

    @property
    def summary(self) -> str:
        """One line with counts and parameters of the factorizable layers."""
        replaced = sum(layer.rank is not None for layer in self.layers)
        before = sum(layer.parameters for layer in self.layers)
        after = sum(layer.parameters_after for layer in self.layers)
        return f"{replaced} of {len(self.layers)} layers factorized, their parameters {before} -> {after}"

    def describe(self) -> str:
        return "\n".join([self.summary, *(layer.describe() for layer in self.layers)])

    def __str__(self) -> str:
        return self.describe()


def plan_ranks(model: Model, options: Factorize, calibration: Sequence[Feeds]) -> RankPlan:
    """Choose a rank for every layer of the kinds asked for; one whose factors would cost more is kept as it is.

    Args:
        options: kinds of layers, what to exclude, and the budget.
        calibration: calibration batches, each `{input: array}`; read where `options.activation_aware` is set.

    Raises:
        StageError: the model has no such layer, or the budget is below rank 1 everywhere.
    """
    layers = [layer for layer in factorizable(model.network) if layer.kind in options.layers]
    layers = [layer for layer in layers if not _excluded(layer.name, options.exclude)]
    if not layers:
        raise StageError(
            f"factorize: {type(model.network).__name__} has no layer left of kind {', '.join(options.layers)} "
            f"({len(options.exclude)} excluded). Name other kinds in 'layers' or exclude less."
        )
    total = sum(layer.parameters for layer in layers)
    small = [layer for layer in layers if layer.parameters < SMALL * total]
    # Small layers are still counted in the budget: it is a share of all layers of these kinds.
    large = [layer for layer in layers if layer not in small]
    found = spectra(model.network, large, calibration if options.activation_aware else None)
    ranks = _ranks(found, options, total)
    plans, factors = [_small(layer) for layer in small], {}
    for spectrum, rank in zip(found, ranks, strict=True):
        plans.append(_layer_rank(spectrum, rank))
        if plans[-1].rank is not None:
            factors[spectrum.layer.name] = spectrum.factors(rank)
    return RankPlan(layers=tuple(plans), factors=factors)


def apply_ranks(model: Model, plan: RankPlan, stage: str = "factorize") -> Model:
    """The model with its layers replaced by their factors; `model` stays as it is.

    Raises:
        StageError: the plan was read from JSON, which holds no factors.
    """
    network = copy.deepcopy(model.network)
    edits = []
    for layer in plan.layers:
        if layer.rank is None:
            continue
        if layer.module not in plan.factors:
            raise StageError(f"factorize: the plan holds no factors of {layer.module}. Plan again, then apply.")
        source = network.get_submodule(layer.module)
        set_submodule(network, layer.module, _stand_in(source, layer.rank, plan.factors[layer.module]))
        edits.append(Edit(kind="low_rank", module=layer.module, sizes={"rank": layer.rank}))
    return model.after(stage, plan.summary, tuple(edits), network)


def _stand_in(source: nn.Module, rank: int, factors: tuple[torch.Tensor, torch.Tensor]) -> nn.Module:
    module = low_rank_module(source, rank)
    first, second = factors
    weights = [module.first.weight, module.second.weight]  # type: ignore[union-attr]
    if isinstance(source, nn.Embedding):
        first = first.T  # the table is stored [tokens, rank]
    with torch.no_grad():
        for weight, value in zip(weights, (first, second), strict=True):
            assert isinstance(weight, torch.Tensor)
            # A convolution's first factor keeps the kernel, the second is 1 x 1: the same numbers in four dimensions.
            weight.copy_(value.reshape(weight.shape))
        if (bias := getattr(source, "bias", None)) is not None:
            module.second.bias.copy_(bias)  # type: ignore[operator, union-attr]
    like: torch.Tensor = source.weight  # type: ignore[assignment]
    return module.to(device=like.device, dtype=like.dtype).train(source.training)


def _excluded(name: str, exclude: Sequence[str]) -> bool:
    """`exclude` names modules, whole subtrees, or the end of a name: `pooler`, `bert.pooler`, `bert.pooler.dense`."""
    return any(f".{part}." in f".{name}." for part in exclude)


def _small(layer: Layer) -> LayerRank:
    full, size = min(layer.inputs, layer.outputs), layer.parameters
    note = f"kept: less than {100 * SMALL:g} % of the parameters"
    return LayerRank(
        module=layer.name,
        kind=layer.kind,
        full_rank=full,
        rank=None,
        parameters=size,
        parameters_after=size,
        energy=1.0,
        note=note,
    )


def _ranks(found: Sequence[Spectrum], options: Factorize, total: int) -> list[int]:
    if options.rank is not None:
        return [min(options.rank, spectrum.full_rank) for spectrum in found]
    if options.energy is not None:
        return [spectrum.rank_for(options.energy) for spectrum in found]
    assert options.budget is not None
    small = total - sum(spectrum.layer.parameters for spectrum in found)
    return ranks_within(found, int(options.budget * total) - small)


def ranks_within(found: Sequence[Spectrum], allowed: int) -> list[int]:
    """The ranks of the largest energy per parameter that fit into `allowed` parameters.

    One threshold for all layers: a component stays where (its share of the layer's energy) / (its parameters) is at
    least the threshold. A layer whose factors would cost more than the layer counts as the layer.

    Raises:
        StageError: rank 1 everywhere is more than the budget.
    """
    worth = [spectrum.shares / spectrum.layer.cost_of_rank for spectrum in found]

    def ranks_at(threshold: float) -> list[int]:
        return [max(1, int((values >= threshold).sum())) for values in worth]

    def cost(threshold: float) -> int:
        return sum(s.layer.cost(rank) for s, rank in zip(found, ranks_at(threshold), strict=True))

    # Every component's own worth is a threshold at which a rank changes; infinity leaves rank 1 everywhere.
    thresholds = torch.cat([*worth, torch.tensor([float("inf")], dtype=torch.float64)]).unique().tolist()
    if cost(thresholds[-1]) > allowed:
        raise StageError(
            f"factorize: the budget leaves {allowed} parameters, and rank 1 in all {len(found)} layers takes "
            f"{cost(thresholds[-1])}. Raise the budget or exclude layers."
        )
    low, high = 0, len(thresholds) - 1  # the smallest threshold that fits; costs fall with the threshold
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if cost(thresholds[middle]) <= allowed else (middle + 1, high)
    return ranks_at(thresholds[low])


def _layer_rank(spectrum: Spectrum, rank: int) -> LayerRank:
    layer: Layer = spectrum.layer
    pays = layer.cost_of_rank * rank < layer.parameters
    note = "" if pays else f"kept: factors of rank {rank} would cost {layer.cost_of_rank * rank}"
    return LayerRank(
        module=layer.name,
        kind=layer.kind,
        full_rank=spectrum.full_rank,
        rank=rank if pays else None,
        parameters=layer.parameters,
        parameters_after=layer.cost(rank),
        energy=spectrum.energy(rank) if pays else 1.0,
        note="; ".join(part for part in (note, spectrum.note) if part),
    )
