"""What a method is given: the rows and teacher that it may read (`Data`), and how it is run (`Run`)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgepress.compress.model.model import Model
from edgepress.compress.tasks.base import Features, Task, batches
from edgepress.compress.tasks.inference import logits_of
from edgepress.compress.training.output_store import OutputStore
from edgepress.compress.training.processes import world_size
from edgepress.compress.training.ragged import load_ragged, save_ragged
from edgepress.compress.training.teacher_cache import TeacherCache, Wanted, compute, digest_of
from edgepress.compress.training.written import Rewritable, rewritten_rows, write_targets
from edgepress.targets.errors import StageError
from edgepress.targets.progress import Progress
from edgepress.targets.records import Feeds

if TYPE_CHECKING:
    from edgepress.compress.tasks.workspace import Workspace

CALIBRATION_BATCH = 8


@dataclass(frozen=True)
class Run:
    """How a stage is run.

    Args:
        stage: what it is called.
        seed: of all that is random in it.
        scratch: a folder for what it wants to find again after a kill; gone when the stage is finished.
        progress: whoever listens.
        used: entries of the run's cache that the stage was made with; whoever opens one adds it.
    """

    stage: str
    seed: int
    scratch: Path
    progress: Progress
    used: set[Path] = field(default_factory=set)

    def title(self, what: str) -> str:
        """How the progress of `what` is called, e.g. `prune: recovery`."""
        return self.stage if what == self.stage else f"{self.stage}: {what}"


class Data:
    """The rows that a method may read, as models take them, and the teacher. There is no way from here to the test
    split. All of it is made when it is first asked for, once a run."""

    def __init__(
        self, workspace: Workspace, teacher: Path, outputs: OutputStore, teacher_layers: tuple[int, ...] | None = None
    ) -> None:
        """
        Args:
            workspace: makes the rows.
            teacher: the folder of the teacher's stage; it need not be there before the teacher is asked for.
            outputs: where the teacher's outputs are kept.
            teacher_layers: the layers of the teacher, from 0, that the student was made of, where the recipe names
                them.
        """
        self._workspace = workspace
        self._teacher_folder = teacher
        self._outputs = outputs
        self.teacher_layers = teacher_layers
        self._teacher_logits: np.ndarray | None = None

    @property
    def task(self) -> Task:
        return self._workspace.task

    @property
    def processor(self) -> Any:
        """The teacher's tokenizer or image pre-processing."""
        return self._workspace.processor

    @property
    def metrics(self) -> tuple[str, ...]:
        """Keys of the metrics that the run takes, the primary one first."""
        return self._workspace.metrics

    @property
    def label_names(self) -> tuple[str, ...]:
        return self._workspace.splits.label_names

    @property
    def train(self) -> Features:
        return self._workspace.train

    @property
    def validation(self) -> Features:
        return self._workspace.validation

    @property
    def calibration(self) -> Features:
        return self._workspace.calibration

    @cached_property
    def teacher(self) -> Model:
        return Model.load(self._teacher_folder)

    @property
    def teacher_logits(self) -> np.ndarray:
        """The teacher's outputs `[rows, ...]` on the validation split, in torch, fp32."""
        return self.teacher_logits_of(self.teacher)

    def teacher_logits_of(self, teacher: Model) -> np.ndarray:
        """The same, of a teacher that is not saved yet; kept, so that they are computed once a run."""
        if self._teacher_logits is None:
            with self._workspace.progress.task("Teacher on validation rows", total=len(self.validation)) as advance:
                self._teacher_logits = logits_of(teacher, self.validation, advance)
        return self._teacher_logits

    @contextmanager
    def teacher_outputs(self, wanted: Wanted, run: Run, rows: Features | None = None) -> Iterator[TeacherCache]:
        """What the teacher gives on the training rows, computed first where it is not kept yet; it stays where it is
        until the block ends.

        Args:
            wanted: what is kept besides the logits.
            run: of the stage that reads it.
            rows: in place of the training rows, where they were rewritten.

        Raises:
            StageError: the teacher's outputs are not finite.
        """
        train = self.train if rows is None else rows
        with self._outputs.hold(digest_of(self.teacher, train, wanted)) as folder:
            run.used.add(folder)
            self._outputs.fill(folder, lambda: compute(folder, self.teacher, train, wanted, run.progress))
            yield TeacherCache.opened(folder, train)

    def rewritten(self, share: float, run: Run) -> Features:
        """The training rows, a share of them with the targets that the teacher writes, which are kept beside its
        outputs.

        Args:
            share: of the rows, 0..1.
            run: of the stage that reads them.

        Raises:
            StageError: the rows have no targets that a teacher could write, or several processes train on them.
        """
        places = rewritten_rows(self.train, share, run.seed, self.task.name)
        if world_size() > 1:
            raise StageError("distill.written: one process alone writes targets. Run it without torchrun.")
        assert isinstance(self.train, Rewritable)
        key = f"{digest_of(self.teacher, self.train, Wanted())} written {places.tobytes().hex()}"

        def write(folder: Path) -> None:
            found = dict(write_targets(self.teacher, self.train, places, run.progress))
            save_ragged(folder, [found[int(row)] for row in places])

        with self._outputs.hold(hashlib.sha256(key.encode()).hexdigest()[:24]) as folder:
            run.used.add(folder)
            self._outputs.fill(folder, lambda: write(folder))
            return self.train.with_targets(places, load_ragged(folder))

    def calibration_batches(self, model: Model) -> list[Feeds]:
        """The calibration rows as feeds of 8 rows of similar length, the same for each stage and target."""
        return [model.signature.select(feeds) for _, feeds in batches(self.calibration, CALIBRATION_BATCH)]

    def calibration_labels(self) -> list[np.ndarray]:
        """Labels `[batch]` of `calibration_batches`."""
        return [self.calibration.labels[index] for index, _ in batches(self.calibration, CALIBRATION_BATCH)]
