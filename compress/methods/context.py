"""What exporting and measuring need of a run: its data, the recipe's targets with their options, and how to measure."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgepress.compress.methods.data import Data, Run
from edgepress.compress.model.model import Model
from edgepress.compress.recipe.recipe import Recipe
from edgepress.compress.tasks.base import Features, Task
from edgepress.targets import load
from edgepress.targets.errors import TargetBroken
from edgepress.targets.progress import Progress
from edgepress.targets.protocols import Target
from edgepress.targets.records import Description, Feeds

if TYPE_CHECKING:
    from edgepress.compress.tasks.workspace import Workspace


@dataclass(frozen=True)
class Context:
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

    @property
    def console(self) -> Progress:
        return self.run.progress

    @property
    def stage(self) -> str:
        return self.run.stage

    @property
    def seed(self) -> int:
        return self.run.seed

    @property
    def task(self) -> Task:
        return self.data.task

    @property
    def metrics(self) -> tuple[str, ...]:
        """Keys of the metrics that the run takes, the primary one first."""
        return self.data.metrics

    @property
    def processor(self) -> Any:
        return self.data.processor

    @property
    def validation(self) -> Features:
        return self.data.validation

    @property
    def calibration(self) -> Features:
        return self.data.calibration

    @property
    def teacher(self) -> Model:
        return self.data.teacher

    def describe(self, model: Model) -> Description:
        """Class names and image normalisation, as they travel with an artifact."""
        return self.task.describe(self.processor).model_copy(update={"labels": model.description.labels})

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

    def teacher_validation_logits(self) -> np.ndarray:
        """`[rows, classes]` on the validation split, in torch, fp32; computed once a run."""
        return self.data.teacher_logits

    def calibration_batches(self, model: Model) -> list[Feeds]:
        """The calibration rows as feeds of 8 rows of similar length, the same for each stage and target."""
        return self.data.calibration_batches(model)
