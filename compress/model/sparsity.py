"""Sparse layers: which of a model's modules hold zeros that must stay, and how many weights are zero.

The zeros themselves are in the weights, as exact zeros; an edit of the kind `sparse` or `n_of_m` names the module, so
that whoever trains the model later, or reads it from its folder, knows that they are no accident.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from torch import nn

from edgepress.targets.records import WeightCount

if TYPE_CHECKING:
    from edgepress.compress.model.edits import Edit

SPARSE_KINDS = ("sparse", "n_of_m")


def sparse_names(network: nn.Module, edits: Iterable[Edit]) -> tuple[str, ...]:
    """Modules that sparse edits name and that still have a weight of their own: factorized ones compute theirs."""
    named = dict.fromkeys(edit.module for edit in edits if edit.kind in SPARSE_KINDS)
    there = dict(network.named_modules())
    return tuple(name for name in named if isinstance(getattr(there.get(name), "weight", None), nn.Parameter))


def sparse_weights(network: nn.Module, names: Iterable[str]) -> dict[str, nn.Parameter]:
    """The weights of these modules, by module."""
    return {name: network.get_submodule(name).weight for name in names}  # type: ignore[misc]


def count_zeros(network: nn.Module) -> WeightCount:
    """Weights of two and more dimensions and the zeros among them, shared ones counted once."""
    weights = [weight for weight in network.parameters() if weight.dim() > 1]
    zeros = sum(int((weight == 0).sum()) for weight in weights)
    return WeightCount(weights=sum(weight.numel() for weight in weights), zeros=zeros)
