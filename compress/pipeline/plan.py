"""Which stages a recipe has, and under which digest each one is stored. Knows no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgepress.compress.data.bounds import check_bounds
from edgepress.compress.data.splits import data_digest
from edgepress.compress.pipeline.keys import StageKey, stage_digest
from edgepress.compress.pipeline.stages import STAGES
from edgepress.compress.pipeline.stages.base import Stage
from edgepress.compress.recipe.recipe import Recipe
from edgepress.compress.tasks import load_task
from edgepress.targets.errors import RecipeError

# Raised when a change of the code makes what older runs stored wrong.
FORMAT = 3


@dataclass(frozen=True)
class Planned:
    """One stage of a run, its place in it (from 1) and the key that it is stored under."""

    index: int
    key: StageKey
    stage: Stage

    @property
    def name(self) -> str:
        return self.stage.name

    @property
    def label(self) -> str:
        """`04-prune`: tells apart two stages of one name."""
        return f"{self.index:02d}-{self.name}"


def plan(recipe: Recipe) -> tuple[Planned, ...]:
    """The stages in order: teacher, student, those of the recipe, the export (called quantize where it makes int8) and
    the benchmark.

    Raises:
        DataError, ModelError: a file of the data or of the teacher is missing.
        RecipeError: `quantize` is not the last stage.
    """
    task = load_task(recipe.task)
    check_bounds(recipe.data, task)
    origin = {"format": FORMAT, "task": recipe.task, "seed": recipe.seed, "data": data_digest(recipe.data, task)}
    if recipe.metric is not None:  # which epoch is the best one, and so every stage, depends on it
        origin["metric"] = recipe.metric
    digest = stage_digest("", "recipe", origin)
    planned = []
    for index, stage in enumerate((stage for stages_of in STAGES.values() for stage in stages_of(recipe)), 1):
        digest = stage_digest(digest, stage.name, stage.covers())
        planned.append(Planned(index, StageKey(name=stage.name, digest=digest), stage))
    return tuple(planned)


def cut(stages: Sequence[Planned], until: str | None) -> tuple[Planned, ...]:
    """The stages up to the last one called `until`.

    Args:
        stages: all stages of a run.
        until: a stage's name, or its label where two have one name; None for all.

    Raises:
        RecipeError: there is no such stage.
    """
    if until is None:
        return tuple(stages)
    places = [number for number, stage in enumerate(stages) if until in (stage.name, stage.label)]
    if not places:
        names = ", ".join(stage.name for stage in stages)
        raise RecipeError(f"--until {until}: this recipe has no such stage; it has {names}")
    return tuple(stages[: places[-1] + 1])
