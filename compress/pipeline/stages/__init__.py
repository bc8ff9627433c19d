"""The stages of a run, in the order in which it has them; each reads its own sections of the recipe."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from edgepress.compress.pipeline.stages import artifacts, benchmark, method, student, teacher
from edgepress.compress.pipeline.stages.base import Stage

if TYPE_CHECKING:
    from edgepress.compress.recipe.recipe import Recipe

STAGES: dict[str, Callable[[Recipe], Sequence[Stage]]] = {
    "teacher": teacher.stages_of,
    "student": student.stages_of,
    "method": method.stages_of,
    "artifacts": artifacts.stages_of,
    "benchmark": benchmark.stages_of,
}
