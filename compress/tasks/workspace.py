"""What the stages of one run share: rows, features, processor and the teacher, each made when first needed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgepress.compress.data.splits import Splits, load_splits
from edgepress.compress.model.model import Model
from edgepress.compress.recipe.recipe import Recipe
from edgepress.compress.tasks import load_task
from edgepress.compress.tasks.base import Features, Task
from edgepress.compress.tasks.inference import logits_of

if TYPE_CHECKING:
    from edgepress.compress.cli.console import Console


@dataclass
class Workspace:
    """Rows and features are the same for every stage; the test split is handed out by `test()` alone."""

    recipe: Recipe
    console: Console
    teacher_folder: Path | None = None

    @cached_property
    def task(self) -> Task:
        return load_task(self.recipe.task)

    @cached_property
    def splits(self) -> Splits:
        with self.console.task("Reading data", total=None):
            recipe = self.recipe
            return load_splits(recipe.data, self.task, recipe.seed, self._label_names(), recipe.teacher.fine_tuned)

    def _label_names(self) -> tuple[str, ...] | None:
        """Label names that the teacher comes with; None where it starts at random."""
        if self.recipe.teacher.model is None:
            return None
        from edgepress.compress.model.loading import label_names

        return label_names(self.recipe.teacher.model, self.recipe.teacher.trust_remote_code)

    @cached_property
    def processor(self) -> Any:
        """The teacher's tokenizer or image processor; what its source leaves open is made from the training rows."""
        source = self.recipe.teacher.model or self.recipe.teacher.tokenizer
        loaded = self.task.load_processor(source) if source is not None else None
        return self.task.fit_processor(loaded, self.splits.train, self.recipe.data)

    @cached_property
    def train(self) -> Features:
        return self._features("training rows", self.splits.train)

    @cached_property
    def validation(self) -> Features:
        return self._features("validation rows", self.splits.validation)

    @cached_property
    def calibration(self) -> Features:
        return self._features("calibration rows", self.splits.calibration)

    def test(self) -> Features:
        """The test split: for the benchmark, once."""
        return self._features("test rows", self.splits.test())

    def _features(self, what: str, rows: Any) -> Features:
        with self.console.task(f"Preparing {len(rows):,} {what}", total=None):
            return self.task.features(rows, self.processor, self.recipe.data)

    @cached_property
    def teacher(self) -> Model:
        if self.teacher_folder is None:
            raise RuntimeError("the teacher stage has not run")
        return Model.load(self.teacher_folder)

    @cached_property
    def teacher_validation_logits(self) -> np.ndarray:
        """The teacher's logits `[rows, classes]` on the validation split, in torch, fp32."""
        with self.console.task("Teacher on validation rows", total=len(self.validation)) as advance:
            return logits_of(self.teacher, self.validation, advance)
