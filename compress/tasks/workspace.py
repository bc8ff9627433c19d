"""The rows of a recipe as models take them, and the processor that makes them so, each made when first needed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from edgepress.compress.data.labels import shown
from edgepress.compress.data.splits import Splits, load_splits
from edgepress.compress.recipe.recipe import Recipe
from edgepress.compress.tasks import load_task
from edgepress.compress.tasks.base import Features, Task
from edgepress.compress.tasks.metrics import metrics_of
from edgepress.targets.progress import Progress

MAJORITY = 0.8
"""From this share of one class on, a user is told that accuracy says little."""


@dataclass
class Workspace:
    """Rows and features are the same for every stage; the test split is handed out by `test()` alone.

    `tells_notes`: whether what a user should know of the rows is told here; once a run is enough.
    """

    recipe: Recipe
    progress: Progress
    tells_notes: bool = True

    def __post_init__(self) -> None:
        # A metric that the task does not take is told before anything is trained.
        _ = self.metrics

    @cached_property
    def metrics(self) -> tuple[str, ...]:
        """Keys of the metrics that the run takes, the primary one first."""
        return metrics_of(self.task, self.recipe)

    @cached_property
    def task(self) -> Task:
        return load_task(self.recipe.task)

    @cached_property
    def splits(self) -> Splits:
        with self.progress.task("Reading data", total=None):
            recipe, names = self.recipe, self._label_names()
            splits = load_splits(recipe.data, self.task, recipe.seed, names, recipe.teacher.fine_tuned)
        notes = (*splits.notes, self._majority(splits))
        for note in filter(None, notes) if self.tells_notes else ():
            self.progress.warn(note)
        return splits

    def _majority(self, splits: Splits) -> str:
        """A warning where accuracy says little, since most rows are of one class."""
        if not self.task.outputs.classes or self.metrics[0] != "accuracy":
            return ""
        counts = np.bincount(splits.train.labels)
        share = counts.max() / counts.sum()
        if share < MAJORITY:
            return ""
        name = shown(splits.label_names[int(counts.argmax())])
        return (
            f"{100 * share:.0f} % of the training rows are {name!r}: a model that always says so has an accuracy of "
            f"{share:.2f}. Set metric to macro-f1 or mcc, by which choices then go"
        )

    def _label_names(self) -> tuple[str, ...] | None:
        """Label names that the teacher comes with; None where it starts at random."""
        teacher = self.recipe.teacher
        if teacher.model is None:
            return None
        from edgepress.compress.model.loading import label_names

        return label_names(teacher.model, self.task.name, teacher.trust_remote_code, teacher.fine_tuned)

    @cached_property
    def processor(self) -> Any:
        """The teacher's tokenizer or image processor; what its source leaves open is made from the training rows."""
        source = self.recipe.teacher.model or self.recipe.teacher.tokenizer
        loaded = self.task.load_processor(source) if source is not None else None
        config = self.recipe.teacher.config or ({"model_type": "own-code"} if self.recipe.teacher.code else None)
        if loaded is None and config is not None:
            loaded = self.task.begin_processor(config)
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
        with self.progress.task(f"Preparing {len(rows):,} {what}", total=None):
            found = self.task.features(rows, self.processor, self.recipe.data)
        if (note := getattr(found, "note", "")) and self.tells_notes:
            self.progress.warn(note)
        return found
