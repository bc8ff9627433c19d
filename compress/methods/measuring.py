"""What exporting and measuring need of a run: its data, the recipe's targets with their options, and how to measure."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from edgepress.compress.methods.data import Data, Run
from edgepress.compress.model.model import Model
from edgepress.compress.recipe.recipe import Recipe
from edgepress.targets import load
from edgepress.targets.errors import TargetBroken
from edgepress.targets.protocols import Target
from edgepress.targets.records import Description

if TYPE_CHECKING:
    from edgepress.compress.tasks.workspace import Workspace


@dataclass(frozen=True)
class Measuring:
    """What measuring one stage may use.

    Args:
        recipe: says the targets and how to measure.
        workspace: has the label names; the benchmark alone takes the test split from it.
        data: rows and teacher.
        run: seed and progress of the stage.
        cache_folder: where exports and timed inputs are kept.
    """

    recipe: Recipe
    workspace: Workspace
    data: Data
    run: Run
    cache_folder: Path

    def describe(self, model: Model) -> Description:
        """Class names and image normalisation, as they travel with an artifact."""
        return self.data.task.describe(self.data.processor).model_copy(update={"labels": model.description.labels})

    def target(self, name: str) -> Target:
        """A target of the recipe, with its options."""
        return load(name, self.recipe.target_options.get(name))

    @cached_property
    def clock_target(self) -> str:
        """Where stages are timed: the recipe's first target that runs here, else the framework itself."""
        return next(filter(self._runs_here, self.recipe.targets), "pytorch")

    def _runs_here(self, name: str) -> bool:
        try:
            return self.target(name).probe().state == "available"
        except TargetBroken:
            if len(self.recipe.targets) == 1:
                raise
            return False  # its own row tells of it
