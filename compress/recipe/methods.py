"""The methods that a recipe can name: `- FAMILY: {method: TAG, …}`. Knows them by their names alone.

A new method is a file with its options and itself, and a line here. Without `method` a recipe means the family's
first.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import import_module
from typing import Any, Protocol

from edgepress.compress.recipe.sections import StageOptions

METHODS: dict[tuple[str, str], str] = {
    ("distill", "offline"): "edgepress.compress.methods.distill.method:Distillation",
    ("prune", "structured"): "edgepress.compress.methods.prune.method:StructuredPruning",
    ("prune", "magnitude"): "edgepress.compress.methods.prune.sparse.method:MagnitudePruning",
    ("prune", "n_of_m"): "edgepress.compress.methods.prune.sparse.method:SemiStructured",
    ("prune", "movement"): "edgepress.compress.methods.prune.sparse.method:MovementPruning",
    ("prune", "set"): "edgepress.compress.methods.prune.sparse.method:SparseEvolution",
    ("prune", "rigl"): "edgepress.compress.methods.prune.sparse.method:RiggedLottery",
    ("factorize", "svd"): "edgepress.compress.methods.factorize.method:LowRank",
    ("qat", "observed"): "edgepress.compress.methods.qat.method:ObservedRanges",
    ("qat", "learned"): "edgepress.compress.methods.qat.method:LearnedSteps",
    ("quantize", "measured"): "edgepress.compress.methods.quantize.method:MeasuredQuantization",
}
FAMILIES = tuple(dict.fromkeys(family for family, _ in METHODS))


def tags_of(family: str) -> tuple[str, ...]:
    """The methods of a family, its default first.

    >>> tags_of("prune")[0]
    'structured'
    """
    return tuple(tag for name, tag in METHODS if name == family)


class HasOptions(Protocol):
    """All that a recipe must know of a method."""

    options: type[StageOptions]


def find(family: str, tag: str | None = None) -> HasOptions:
    """The method of that name, or the family's default; KeyError where `METHODS` has none such."""
    module, _, name = METHODS[family, tag if tag is not None else tags_of(family)[0]].partition(":")
    found: HasOptions = getattr(import_module(module), name)()
    return found


def parse_stage(stage: Mapping[str, Any]) -> StageOptions:
    """The options in a one-key mapping as a recipe has it.

    Raises:
        ValueError: there is no such method, or pydantic's, where its options are at fault.
    """
    if len(stage) != 1:
        raise ValueError(f"a stage is a mapping with one key, one of {', '.join(FAMILIES)}")
    family, options = next(iter(stage.items()))
    tag = options.get("method") if isinstance(options, Mapping) else None
    if family not in FAMILIES or (tag is not None and (family, tag) not in METHODS):
        raise ValueError(f"there is no stage {family!r}" + (f" with the method {tag!r}" if tag is not None else ""))
    return find(family, tag).options.model_validate_json(json.dumps(options, default=str), strict=True)
