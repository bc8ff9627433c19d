"""What the benchmarks' floor needs of a stage that measures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgepress.benchmarks.desk import Desk
from edgepress.targets.records import Feeds

if TYPE_CHECKING:
    from edgepress.compress.methods.measuring import Measuring


def desk_of(measuring: Measuring) -> Desk:
    """The recipe's section `benchmark`, calibration rows in any shape, the console, and the run's metrics."""

    def sample(batch: int, sequence: int | None) -> Feeds:
        return measuring.data.task.sample_feeds(measuring.data.calibration, batch, sequence)

    return Desk(
        options=measuring.recipe.benchmark,
        sample=sample,
        task=measuring.run.progress.task,
        stage=measuring.run.stage,
        seed=measuring.run.seed,
        cases=measuring.cache_folder / "cases" / measuring.data.calibration.digest[:24],
        metrics=measuring.data.metrics,
        class_names=measuring.workspace.splits.label_names if measuring.data.task.outputs.classes else (),
    )
