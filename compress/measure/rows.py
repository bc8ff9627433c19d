"""One line of the report: an artifact's answers on the test split and its times, put together and doubted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgepress.benchmarks.judge.fidelity import class_accuracies, judge
from edgepress.benchmarks.judge.latency import latency_rows
from edgepress.benchmarks.measure.footprint import shrink
from edgepress.benchmarks.measure.jobs import SubjectResult
from edgepress.benchmarks.records.report import Row, Status
from edgepress.compress.measure.answers import artifact_logits
from edgepress.compress.methods.context import Context
from edgepress.compress.methods.quantize.choice import Trial
from edgepress.compress.model.model import Model
from edgepress.compress.recipe.recipe import Teacher
from edgepress.compress.tasks.base import Features
from edgepress.targets import load
from edgepress.targets.errors import EdgepressError, TargetError
from edgepress.targets.records import Artifact


@dataclass(frozen=True)
class Entrant:
    """One artifact that is measured: its row's name, its folder and what validation said of it."""

    name: str
    target: str
    folder: Path | None
    model: Model
    trial: Trial | None = None
    failure: str = ""


@dataclass(frozen=True)
class Lineup:
    """What the rows of one target have in common: who is compared, on which rows, and how long each took."""

    teacher: Entrant
    reference: np.ndarray
    test: Features
    timed: Mapping[str, SubjectResult]
    context: Context

    @classmethod
    def of(cls, teacher: Entrant, test: Features, timed: Mapping[str, SubjectResult], context: Context) -> Lineup:
        """Raises TargetError where the teacher's own artifact gives no answers."""
        reference, failure = _logits(teacher, test, timed, context)
        if reference is None:
            raise TargetError(f"the teacher's artifact gives no usable outputs on the test split: {failure}")
        return cls(teacher, reference, test, timed, context)

    def row(self, entrant: Entrant, macs: int) -> tuple[Row, np.ndarray | None]:
        """The row of the teacher or of another, failed ones included, and its logits `[rows, classes]`."""
        logits, failure = (
            (self.reference, "") if entrant is self.teacher else _logits(entrant, self.test, self.timed, self.context)
        )
        result = self.timed.get(entrant.name, SubjectResult(failure=entrant.failure))
        base = self._base(entrant, macs)
        if logits is None or entrant.folder is None or (result.failure and not result.measurements):
            reason = failure or result.failure or entrant.failure
            precision = entrant.trial.precision if entrant.trial else "fp32"
            return Row.model_validate(base | {"precision": precision, "status": "failed", "reason": reason}), None
        artifact = Artifact.read(entrant.folder / Artifact.FILE_NAME)
        figures = self._answers(entrant, artifact, logits) | self._times(artifact, result, entrant.trial)
        return Row.model_validate(base | figures | self._weight(artifact)), logits

    def _base(self, entrant: Entrant, macs: int) -> dict[str, Any]:
        """What is known of everyone."""
        trial, is_teacher = entrant.trial, entrant is self.teacher
        return {
            "name": teacher_name(self.context.recipe.teacher) if is_teacher else entrant.name,
            "target": entrant.target,
            "chosen": bool(trial and trial.chosen),
            "parameters": entrant.model.parameters,
            "macs": macs,
            "validation": trial.primary.value if trial and trial.primary else None,
        }

    def _answers(self, entrant: Entrant, artifact: Artifact, logits: np.ndarray) -> dict[str, Any]:
        labels, is_teacher = self.test.labels, entrant is self.teacher
        names = self.context.workspace.splits.label_names
        return {
            "candidate": None if is_teacher else artifact.candidate,
            "metrics": judge(
                self.context.metrics, labels, self.reference, logits, is_teacher=is_teacher, seed=self.context.seed
            ),
            "classes": class_accuracies(labels, None if is_teacher else self.reference, logits, names),
        }

    def _times(self, artifact: Artifact, result: SubjectResult, trial: Trial | None) -> dict[str, Any]:
        doubts = (trial.reason,) if trial and trial.reason else ()
        teacher = self.timed["teacher"].measurements if self.timed else None
        return {
            "status": _status(artifact, result),
            "reason": "; ".join(filter(None, [result.failure, *_absence(artifact, result), *doubts])),
            "latency": latency_rows(result.measurements, teacher, True),
            "numbers_from": "" if result.measurements else load(artifact.target).stand_in,
            "open_ms": result.open_ms,
            "first_inference_ms": result.first_inference_ms,
        }

    def _weight(self, artifact: Artifact) -> dict[str, Any]:
        assert self.teacher.folder is not None
        teacher_bytes = Artifact.read(self.teacher.folder / Artifact.FILE_NAME).bytes
        return {
            "precision": artifact.precision,
            "int8_mac_share": artifact.int8_mac_share,
            "bytes": artifact.bytes,
            "shrink": shrink(teacher_bytes, artifact.bytes),
            "builds": artifact.builds,
            "settings": artifact.settings,
        }


def teacher_name(teacher: Teacher) -> str:
    """What people call it: the last part of its folder or hub id, or the kind of model that was trained in the run."""
    if teacher.model is not None:
        return teacher.model.rstrip("/").rsplit("/", 1)[-1]
    return str((teacher.config or {}).get("model_type"))


def _logits(
    entrant: Entrant, test: Features, timed: Mapping[str, SubjectResult], context: Context
) -> tuple[np.ndarray | None, str]:
    if entrant.folder is None:
        return None, entrant.failure
    opened = timed[entrant.name].opened if entrant.name in timed else None
    try:
        title = f"{context.stage}: testing {entrant.name}"
        return artifact_logits(entrant.folder, test, context, title, opened=opened), ""
    except EdgepressError as fault:
        return None, str(fault)


def _status(artifact: Artifact, result: SubjectResult) -> Status:
    if result.measurements:
        return "measured"
    return "built" if artifact.estimated_ms() is None else "estimated"


def _absence(artifact: Artifact, result: SubjectResult) -> tuple[str, ...]:
    """Why an artifact was not run on its hardware, and where its answers are from."""
    if result.measurements:
        return ()
    return (f"not run here; accuracy from {load(artifact.target).stand_in}",)
