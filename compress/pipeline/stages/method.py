"""A pass over the model by one of the methods: its contract, its figures before and after, and its promise judged."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgepress.compress.methods.distill.options import Distill
from edgepress.compress.pipeline.stages.base import Work, plain
from edgepress.compress.recipe.sections import RecoverableOptions, StageOptions
from edgepress.targets.errors import RecipeError

if TYPE_CHECKING:
    from edgepress.benchmarks.records.report import StageRow
    from edgepress.compress.methods.base import Applied
    from edgepress.compress.methods.verdict import Verdict
    from edgepress.compress.model.model import Model, Step
    from edgepress.compress.recipe.recipe import Recipe


@dataclass(frozen=True)
class MethodStage:
    """One method on the model that the stage before left.

    Args:
        options: of the method.
        recovery: the recipe's own distillation, by which a recovery is trained.
    """

    options: StageOptions
    recovery: Distill

    @property
    def name(self) -> str:
        return self.options.kind

    def covers(self) -> Mapping[str, object]:
        asked = isinstance(self.options, RecoverableOptions) and self.options.recover
        return plain(self.options) | ({"recovery": plain(self.recovery.logits_only(asked))} if asked else {})

    def run(self, work: Work, folder: Path) -> None:
        from edgepress.compress.methods.transform import transform

        began, before = time.monotonic(), work.model
        applied = transform(before, self.options, self.recovery, work.data, work.run)
        row = judged(self, before, applied, work, time.monotonic() - began)
        finish(applied, row, before, folder)


def stages_of(recipe: Recipe) -> tuple[MethodStage, ...]:
    """All but the quantization that ends a recipe: it makes artifacts, not a model.

    Raises:
        RecipeError: another method comes after quantization-aware training, whose ranges it would make void.
    """
    kinds = [stage.kind for stage in recipe.stages if stage.kind != "quantize"]
    if "qat" in kinds[:-1]:
        raise RecipeError(
            "stages: qat must be the last one before quantize, since its ranges are of the weights it leaves"
        )
    recovery = next((stage for stage in recipe.stages if isinstance(stage, Distill)), Distill())
    return tuple(MethodStage(stage, recovery) for stage in recipe.stages if stage.kind != "quantize")


def judged(stage: MethodStage, before: Model, applied: Applied, work: Work, seconds: float) -> StageRow:
    """The row of a pass, with what its method promised held against its figures.

    Args:
        before: the model that the pass was given.
        applied: the model after the pass, and its details.
        work: measures models; knows the stages that were done before.
        seconds: what the pass took.

    Raises:
        StageError: it broke the contract of a stage, or changed nothing and is not `auto`.
    """
    from edgepress.compress.methods.base import method_of
    from edgepress.compress.methods.verdict import complaints, fingerprint, verdict_of

    row = row_of(stage.name, before, applied, work, seconds, ("kept", ()))
    promise = method_of(stage.options).promise(stage.options)
    found = (*applied.complaints, *complaints(promise, row.before, row.after))
    changed = fingerprint(before) != fingerprint(applied.model)
    verdict, reasons = verdict_of(stage.name, stage.options, changed, found)
    return row.model_copy(update={"verdict": verdict, "reasons": reasons})


def row_of(
    name: str, before: Model, applied: Applied, work: Work, seconds: float, verdict: tuple[Verdict, tuple[str, ...]]
) -> StageRow:
    """The row of a pass over the model: its figures before and after, timed interleaved.

    Args:
        name: of the stage, as the report shows it.
        applied: the model after the pass, and its details.
        work: measures models; knows the stages that were done before.
        seconds: what the pass took.
        verdict: (verdict, reasons) of the row.

    Raises:
        StageError: the pass broke the contract of a stage.
    """
    from edgepress.benchmarks.records.report import StageRow
    from edgepress.compress.methods.figures import FigureTaker
    from edgepress.compress.methods.verdict import check_contract

    check_contract(name, before, applied.model, work.names_before)
    first, second = FigureTaker(work.measuring).take(before, applied.model)
    return StageRow(
        name=name,
        kind=name,
        verdict=verdict[0],
        reasons=verdict[1],
        before=first,
        after=second,
        seconds=round(seconds, 1),
        summary="; ".join(step.summary for step in new_steps(before, applied.model)),
        details=dict(applied.details),
    )


def finish(applied: Applied, row: StageRow, before: Model, folder: Path) -> None:
    """Write the model, or the one before where the pass was dropped, its row, and the control arm if there is one."""
    result = applied.model if row.verdict != "dropped" else before
    result.save(folder)
    if applied.control is not None:
        applied.control.save(folder / "control")
    row.write(folder / "row.json")


def new_steps(before: Model, after: Model) -> tuple[Step, ...]:
    """What was done to `before`; the whole lineage of a student that was not made from it."""
    known = len(before.lineage)
    return after.lineage[known:] if after.lineage[:known] == before.lineage else after.lineage
