"""What measuring needs of a stage, taken from its context."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgepress.benchmarks.desk import Desk
from edgepress.targets.records import Feeds

if TYPE_CHECKING:
    from edgepress.compress.methods.context import Context


def desk_of(context: Context) -> Desk:
    """The recipe's section `benchmark`, calibration rows in any shape, the console, and the run's metrics."""

    def sample(batch: int, sequence: int | None) -> Feeds:
        return context.task.sample_feeds(context.calibration, batch, sequence)

    return Desk(
        options=context.recipe.benchmark,
        sample=sample,
        task=context.console.task,
        stage=context.stage,
        seed=context.seed,
        cases=context.cache_folder / "cases" / context.calibration.digest[:24],
        metrics=context.metrics,
        class_names=context.workspace.splits.label_names,
    )
