"""The student: derived from the teacher, or another architecture; a start, which is not judged."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgepress.compress.pipeline.sources import code_digest, source_digest
from edgepress.compress.pipeline.stages.base import Work, plain

if TYPE_CHECKING:
    from edgepress.compress.network.adapt import Fit
    from edgepress.compress.recipe.recipe import Recipe, Student


@dataclass(frozen=True)
class StudentStage:
    """Makes the model that all later stages work on."""

    options: Student
    name: str = "student"

    def covers(self) -> Mapping[str, object]:
        return {
            "student": plain(self.options),
            "source": source_digest(self.options.model),
            "init": source_digest(self.options.init_from),
        } | (
            {"code": code_digest(code, self.options.weights, self.name)}
            if (code := self.options.code) is not None
            else {}
        )

    def run(self, work: Work, folder: Path) -> None:
        from edgepress.compress.methods.base import Applied
        from edgepress.compress.methods.student import derive_student
        from edgepress.compress.pipeline.stages.method import finish, row_of

        began, teacher, data = time.monotonic(), work.model, work.data
        batches, labels = data.calibration_batches(teacher), data.calibration_labels()
        table: list[dict[str, str]] = []

        def tell(found: tuple[Fit, ...]) -> None:
            for fit in found:
                work.run.progress.event("weight", name=fit.name, state=fit.how, shape=fit.described)
                table.append({"name": fit.name, "start": fit.how, "shape": fit.described})

        details = {"weights": table} if self.options.init == "adapt" else {}
        student = Applied(derive_student(teacher, self.options, work.run.seed, batches, labels, tell), details)
        # Its accuracy before the training is no result.
        row = row_of(self.name, teacher, student, work, time.monotonic() - began, verdict=("kept", ()))
        finish(student, row, teacher, folder)


def stages_of(recipe: Recipe) -> tuple[StudentStage, ...]:
    return (StudentStage(recipe.student),)
