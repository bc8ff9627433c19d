"""Which metrics a run takes: those that its task names, and which of them choices rest on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgepress.benchmarks.metrics import BUILT_IN
from edgepress.benchmarks.metrics.generated import sacrebleu
from edgepress.targets.errors import RecipeError

if TYPE_CHECKING:
    from edgepress.compress.recipe.recipe import Recipe
    from edgepress.compress.tasks.base import Task


def metrics_of(task: Task, recipe: Recipe) -> tuple[str, ...]:
    """Keys of the task's metrics, the primary one first: the one that the recipe names, else the task's own first one.
    Metrics of the user's own come behind them where the recipe asks for them.

    Raises:
        RecipeError: the recipe's metric, or one that its gates name, is none of the task's.
        BenchmarkError: texts are to be judged, and the package that does so is not installed.
    """
    if fault := next(recipe.metrics_at_fault(task.metrics, task.generated), None):
        raise RecipeError(fault)
    if recipe.benchmark.generated:
        sacrebleu()
    primary = recipe.metric or task.metrics[0]
    own = (key for key in recipe.gates.metric_keys if key not in BUILT_IN)
    return tuple(dict.fromkeys((primary, *task.metrics, *own)))
