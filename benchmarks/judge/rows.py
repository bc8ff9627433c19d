"""One row of the report: an artifact's answers on the test split and its times, put together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgepress import targets
from edgepress.benchmarks.desk import Desk, Rows
from edgepress.benchmarks.judge.answers import artifact_logits
from edgepress.benchmarks.judge.fidelity import class_accuracies, judge
from edgepress.benchmarks.judge.generated import generated_figures, generated_texts
from edgepress.benchmarks.judge.latency import latency_rows
from edgepress.benchmarks.measure.footprint import shrink
from edgepress.benchmarks.measure.jobs import SubjectResult
from edgepress.benchmarks.records.report import Row, Status
from edgepress.targets.errors import EdgepressError, TargetError
from edgepress.targets.records import Artifact

TEACHER = "teacher"
"""Under which name the teacher's artifact of a target is timed."""


@dataclass(frozen=True)
class RowSource:
    """One artifact that gets a row, and what is known of it before it is measured.

    Attributes:
        name: of the row, unique on its target.
        target: where it runs.
        folder: of the artifact; None where there is none.
        parameters: of the model that was exported.
        macs: multiply-accumulates of one input of that model.
        precision: what was asked for, for a row without an artifact.
        chosen: whether it is the one that is released.
        validation: the primary metric on validation data, on which the choice rests.
        remark: what the choice found against it.
        failure: why there is no artifact.
    """

    name: str
    target: str
    folder: Path | None
    parameters: int
    macs: int
    precision: str = "fp32"
    chosen: bool = False
    validation: float | None = None
    remark: str = ""
    failure: str = ""


@dataclass(frozen=True)
class TargetRows:
    """What the rows of one target have in common: the teacher, the test rows, and how long each artifact took.

    Attributes:
        teacher: the teacher's artifact on this target.
        teacher_name: how people call the teacher.
        reference: the teacher's logits `[rows, classes]` through that artifact.
        test: the test rows.
        timed: name -> times; empty where the target does not run here.
        desk: what measuring needs of the run.
        texts: what the teacher made of sources; None where none are asked for, or it makes none on this target.
    """

    teacher: RowSource
    teacher_name: str
    reference: np.ndarray
    test: Rows
    timed: Mapping[str, SubjectResult]
    desk: Desk
    texts: np.ndarray | None = None

    @classmethod
    def of(
        cls, teacher: RowSource, teacher_name: str, test: Rows, timed: Mapping[str, SubjectResult], desk: Desk
    ) -> TargetRows:
        """Raises TargetError where the teacher's own artifact gives no answers.

        Args:
            teacher_name: what the teacher's row is called.
            test: the rows of the test split.
            timed: latencies by the key of the artifact.
            desk: options, seed, metrics and progress.
        """
        reference, failure = _logits(teacher, test, timed, desk)
        if reference is None:
            raise TargetError(f"the teacher's artifact gives no usable outputs on the test split: {failure}")
        return cls(teacher, teacher_name, reference, test, timed, desk, _texts(teacher, test, desk))

    def row(self, source: RowSource) -> tuple[Row, np.ndarray | None]:
        """The row of the teacher or of another, failed ones included, and its logits `[rows, classes]`."""
        is_teacher = source is self.teacher
        logits, failure = (self.reference, "") if is_teacher else _logits(source, self.test, self.timed, self.desk)
        result = self.timed.get(source.name, SubjectResult(failure=source.failure))
        base = self._base(source)
        if logits is None or source.folder is None or (result.failure and not result.measurements):
            reason = failure or result.failure or source.failure
            return Row.model_validate(
                base | {"precision": source.precision, "status": "failed", "reason": reason}
            ), None
        artifact = Artifact.read(source.folder / Artifact.FILE_NAME)
        figures = self._answers(source, artifact, logits) | self._times(artifact, result, source.remark)
        texts = self.texts if is_teacher else _texts(source, self.test, self.desk)
        figures["metrics"] += generated_figures(self.test, self.desk, self.texts, texts, is_teacher)
        return Row.model_validate(base | figures | self._weight(artifact)), logits

    def _base(self, source: RowSource) -> dict[str, Any]:
        """What is known of everyone."""
        return {
            "name": self.teacher_name if source is self.teacher else source.name,
            "target": source.target,
            "chosen": source.chosen,
            "parameters": source.parameters,
            "macs": source.macs,
            "validation": source.validation,
        }

    def _answers(self, source: RowSource, artifact: Artifact, logits: np.ndarray) -> dict[str, Any]:
        labels, is_teacher, desk = self.test.labels, source is self.teacher, self.desk
        reference = None if is_teacher else self.reference
        return {
            "candidate": None if is_teacher else artifact.candidate,
            "metrics": judge(desk.metrics, labels, self.reference, logits, is_teacher=is_teacher, seed=desk.seed),
            "classes": class_accuracies(labels, reference, logits, desk.class_names),
        }

    def _times(self, artifact: Artifact, result: SubjectResult, remark: str) -> dict[str, Any]:
        teacher = self.timed[TEACHER].measurements if self.timed else None
        return {
            "status": _status(artifact, result),
            "reason": "; ".join(filter(None, [result.failure, *_absence(artifact, result), remark])),
            "latency": latency_rows(result.measurements, teacher, True),
            "numbers_from": "" if result.measurements else targets.of(artifact).stand_in,
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


def _logits(
    source: RowSource, test: Rows, timed: Mapping[str, SubjectResult], desk: Desk
) -> tuple[np.ndarray | None, str]:
    """The answers to the test rows, or why there are none."""
    if source.folder is None:
        return None, source.failure
    opened = timed[source.name].opened if source.name in timed else None
    try:
        return artifact_logits(source.folder, test, desk, f"{desk.stage}: testing {source.name}", opened=opened), ""
    except EdgepressError as fault:
        return None, str(fault)


def _texts(source: RowSource, test: Rows, desk: Desk) -> np.ndarray | None:
    """The texts that an artifact makes of sources; None where none are asked for, or it makes none."""
    assert source.folder is not None  # it gave logits
    return generated_texts(source.folder, test, desk, f"{desk.stage}: {source.name} generates")


def _status(artifact: Artifact, result: SubjectResult) -> Status:
    if result.measurements:
        return "measured"
    return "built" if artifact.estimated_ms() is None else "estimated"


def _absence(artifact: Artifact, result: SubjectResult) -> tuple[str, ...]:
    """Why an artifact was not run on its hardware, and where its answers are from."""
    if result.measurements:
        return ()
    return (f"not run here; accuracy from {targets.of(artifact).stand_in}",)
