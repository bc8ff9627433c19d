"""Does the work of the stages that are not done, one after the other, each written whole or not at all."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from edgepress.benchmarks.records.report import StageRow
from edgepress.compress.methods.data import Data, Run
from edgepress.compress.methods.measuring import Measuring
from edgepress.compress.model.hub import allow_foreign_torchvision
from edgepress.compress.pipeline.plan import Planned
from edgepress.compress.pipeline.stages.base import Finished, Work
from edgepress.compress.pipeline.store import RunFolder
from edgepress.compress.recipe.paths import in_home
from edgepress.compress.recipe.recipe import Recipe
from edgepress.compress.tasks.workspace import Workspace
from edgepress.compress.training.output_store import GB, OutputStore
from edgepress.compress.training.precision import bf16_warning
from edgepress.targets.progress import Progress


@dataclass(frozen=True)
class Execution:
    """What the stages of one run share."""

    recipe: Recipe
    folder: RunFolder
    stages: Sequence[Planned]
    workspace: Workspace
    data: Data
    progress: Progress

    @classmethod
    def of(cls, recipe: Recipe, folder: RunFolder, stages: Sequence[Planned], progress: Progress) -> Execution:
        workspace = Workspace(recipe, progress)
        layers = recipe.student.layers
        # Every run begins with its teacher.
        teacher, outputs = folder.folder(stages[0].key), outputs_of(recipe, folder, progress)
        data = Data(workspace, teacher, outputs, layers if isinstance(layers, tuple) else None)
        return cls(recipe, folder, stages, workspace, data, progress)

    def work(self, stage: Planned) -> Work:
        """What the stage at this place of the run may use."""
        run = Run(stage.name, self.recipe.seed, self.folder.scratch(stage.key), self.progress)
        before = self.stages[: stage.index - 1]
        return Work(
            root=self.folder.root,
            before=tuple(Finished(each.name, self.folder.folder(each.key)) for each in before),
            data=self.data,
            run=run,
            measuring=Measuring(self.recipe, self.workspace, self.data, run, self.folder.cache),
        )


def execute(
    recipe: Recipe, folder: RunFolder, stages: Sequence[Planned], todo: Sequence[Planned], progress: Progress
) -> None:
    """Run those of `stages` that are `todo`, in order. The run is locked by the caller.

    Args:
        recipe: what the stages were made from.
        folder: of the run.
        stages: all of the run, the teacher's first.
        todo: the rest of them, behind the leading ones that are done.
        progress: whoever listens.
    """
    if todo:
        allow_foreign_torchvision()  # before transformers' networks are imported, which import it
    execution = Execution.of(recipe, folder, stages, progress)
    if slow := bf16_warning(stage.stage.options for stage in todo):
        progress.warn(slow)
    for stage in todo:
        began = time.monotonic()
        progress.event("stage", name=stage.name, state="started", number=f"{stage.index}/{len(stages)}")
        work = execution.work(stage)
        with folder.write_stage(stage.key, partial(folder.relative, work.run.used)) as place:
            stage.stage.run(work, place)
        seconds, result = round(time.monotonic() - began, 1), _result(folder.folder(stage.key))
        progress.event("stage", name=stage.name, state="finished", seconds=seconds, result=result)


def outputs_of(recipe: Recipe, folder: RunFolder, progress: Progress) -> OutputStore:
    """Where the recipe wants the teacher's outputs: in a folder that runs share, or in its own."""
    shared, limit = recipe.cache.folder, recipe.cache.limit_gb
    place = Path(in_home(shared)) if shared is not None else folder.cache / "teacher"
    return OutputStore(place, None if limit is None else round(limit * GB), progress)


def _result(stage: Path) -> str | None:
    """The verdict that a finished stage left, in one line; None where it is not one that is judged."""
    path = stage / "row.json"
    if not path.is_file():
        return None
    row = StageRow.read(path)
    return f"{row.verdict} ({row.summary})" + (f": {'; '.join(row.reasons)}" if row.reasons else "")
