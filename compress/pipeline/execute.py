"""Does the work of the stages that are not done, one after the other, each written whole or not at all."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgepress.benchmarks.measure.jobs import Case
from edgepress.benchmarks.records.report import StageRow
from edgepress.compress.cli.console import Console
from edgepress.compress.methods.context import STAGES, Context, Outcome
from edgepress.compress.methods.figures import FigureTaker
from edgepress.compress.methods.quantize.choice import Selection, candidates_of, quantize
from edgepress.compress.methods.quantize.export import Exported, Order, export
from edgepress.compress.methods.student import derive_student
from edgepress.compress.methods.verdict import Verdict, check_contract, complaints, fingerprint, verdict_of
from edgepress.compress.model.model import Model, Step
from edgepress.compress.pipeline.plan import Planned
from edgepress.compress.pipeline.stages.benchmark import benchmark
from edgepress.compress.pipeline.store import RunFolder
from edgepress.compress.recipe.recipe import Quantize, Recipe, StageOptions
from edgepress.compress.tasks.workspace import Workspace
from edgepress.compress.training.precision import bf16_warning
from edgepress.targets.errors import StageError, TargetError


@dataclass(frozen=True)
class Execution:
    """What the running stage needs to know."""

    recipe: Recipe
    folder: RunFolder
    stages: tuple[Planned, ...]
    workspace: Workspace
    console: Console

    def context(self, stage: Planned) -> Context:
        return Context(
            recipe=self.recipe,
            workspace=self.workspace,
            scratch=self.folder.scratch(stage.index, stage.name, stage.digest),
            cache_folder=self.folder.root / "cache",
            console=self.console,
            stage=stage.name,
        )

    def stage_folder(self, stage: Planned) -> Path:
        return self.folder.root / stage.folder

    def before(self, stage: Planned) -> tuple[str, ...]:
        return tuple(each.name for each in self.stages if each.index < stage.index)


def execute(recipe: Recipe, folder: RunFolder, stages: tuple[Planned, ...], done: int, console: Console) -> None:
    """Run `stages[done:]`. The run is locked by the caller."""
    workspace = Workspace(recipe, console)
    execution = Execution(recipe, folder, stages, workspace, console)
    if done:
        workspace.teacher_folder = folder.root / stages[0].folder
    teacher = () if done else (recipe.teacher,)
    if slow := bf16_warning([*teacher, *(stage.options for stage in stages[done:])]):
        console.warn(slow)
    model: Model | None = None
    for stage in stages[done:]:
        began = time.monotonic()
        console.event("stage", name=stage.name, state="started", number=f"{stage.index}/{len(stages)}")
        with folder.write_stage(stage.index, stage.name, stage.digest) as target:
            if stage.index > 1 and model is None and stage.name != "benchmark":
                model = Model.load(folder.root / stages[stage.index - 2].folder)
            model = _run(execution, stage, model, target)
        if stage.name == "teacher":
            workspace.teacher_folder = execution.stage_folder(stage)
        seconds = round(time.monotonic() - began, 1)
        console.event("stage", name=stage.name, state="finished", seconds=seconds, result=_result(execution, stage))


def _result(execution: Execution, stage: Planned) -> str | None:
    path = execution.stage_folder(stage) / "row.json"
    if not path.is_file():
        return None
    row = StageRow.read(path)
    return f"{row.verdict} ({row.summary})" + (f": {'; '.join(row.reasons)}" if row.reasons else "")


def _run(execution: Execution, stage: Planned, model: Model | None, target: Path) -> Model | None:
    context = execution.context(stage)
    if stage.name == "teacher":
        from edgepress.compress.pipeline.stages.teacher import make_teacher

        teacher = make_teacher(context)
        teacher.save(target)
        context.task.save_processor(context.processor, target)
        return teacher
    if stage.name == "benchmark":
        benchmark(execution, stage, context, target)
        return None
    assert model is not None
    if stage.name in ("quantize", "export"):
        _quantize(execution, stage, model, context, target)
        return model
    return _transform(execution, stage, model, context, target)


def _transform(execution: Execution, stage: Planned, model: Model, context: Context, target: Path) -> Model:
    """A pass over the model, its figures before and after, its verdict."""
    began = time.monotonic()
    if stage.options is None:
        labels = context.calibration_labels()
        student = derive_student(
            model, context.recipe.student, context.seed, context.calibration_batches(model), labels
        )
        outcome = Outcome(student, {})
    else:
        outcome = STAGES[type(stage.options)](model, stage.options, context)
    check_contract(stage.name, model, outcome.model, execution.before(stage))
    row = _judge(stage, model, outcome, context, time.monotonic() - began)
    result = outcome.model if row.verdict != "dropped" else model
    result.save(target)
    if outcome.control is not None:
        outcome.control.save(target / "control")
    row.write(target / "row.json")
    return result


def _judge(stage: Planned, model: Model, outcome: Outcome, context: Context, seconds: float) -> StageRow:
    figures = FigureTaker(context)
    before, after = figures.take(model, outcome.model)
    options = stage.options or StageOptions()
    changed = fingerprint(model) != fingerprint(outcome.model)
    # The student before its training is a start, not a result: its accuracy is not judged.
    found = complaints(options, before, after) if stage.options else ()
    verdict, reasons = ("kept", ()) if stage.options is None else verdict_of(stage.name, options, changed, found)
    steps = new_steps(model, outcome.model)
    return StageRow(
        name=stage.name,
        kind=stage.name,
        verdict=verdict,
        reasons=reasons,
        before=before,
        after=after,
        seconds=round(seconds, 1),
        summary="; ".join(step.summary for step in steps),
        details=outcome.details,
    )


def new_steps(before: Model, after: Model) -> tuple[Step, ...]:
    """What was done to `before`; the whole lineage of a student that was not made from it."""
    known = len(before.lineage)
    return after.lineage[known:] if after.lineage[:known] == before.lineage else after.lineage


def _quantize(execution: Execution, stage: Planned, model: Model, context: Context, target: Path) -> None:
    """Candidates for every target, the choice, and what quantization brought beside the fp32 export."""
    began = time.monotonic()
    figures = FigureTaker(context)
    options = stage.options if isinstance(stage.options, Quantize) else None
    lost, orders = _orders(model, options, context, target)
    exported = export(model, orders, context)
    selections = []
    for name in context.recipe.targets:
        selection = lost.get(name) or _select(name, exported[name], options, figures.cases(model), context)
        if options is not None and options.auto and not selection.holds:
            selection = replace_choice(selection, "fp32")
        selection.write(target / f"selection-{name}.json")
        selections.append(selection)
    model.save(target)
    if all(selection.failure for selection in selections):
        raise StageError("; ".join(selection.failure for selection in selections))
    # What the pass brought is told for the first target that runs here; the framework itself makes no int8.
    clocked = [selection for selection in selections if selection.target == context.clock_target]
    if options is None or not clocked or clocked[0].failure:
        return
    (first,) = clocked
    folder = target / "artifacts" / first.target
    before, after = figures.of_trials(model, folder, first.trial("fp32"), first.trial(first.chosen))
    dropped = options.auto and not first.holds
    verdict: Verdict = "dropped" if dropped else "kept" if first.holds else "kept although it did not pay"
    StageRow(
        name=stage.name,
        kind=stage.name,
        verdict=verdict,
        reasons=first.reasons,
        before=before,
        after=after,
        seconds=round(time.monotonic() - began, 1),
        summary=f"{first.chosen} of {len(first.trials) - 1} candidates on {first.target}",
        details={"selections": [selection.model_dump() for selection in selections]},
    ).write(target / "row.json")


def _orders(
    model: Model, options: Quantize | None, context: Context, folder: Path
) -> tuple[dict[str, Selection], dict[str, Order]]:
    """Targets that can make nothing here, with the reason, and what the others are to make."""
    lost, orders = {}, {}
    for name in context.recipe.targets:
        try:
            backend = context.target(name)
            found = backend.probe()
            if found.state == "missing":
                reason = f"{name} {found.reason}. Fix: {found.remedy}"
                context.console.warn(reason)
                lost[name] = _nothing(name, reason, unavailable=True)
                continue
            orders[name] = Order(candidates_of(backend, model, options), folder / "artifacts" / name)
        except (TargetError, StageError) as fault:
            lost[name] = _fallen(name, fault, context)
    return lost, orders


def _select(
    name: str,
    exported: list[Exported] | TargetError,
    options: Quantize | None,
    cases: Sequence[Case],
    context: Context,
) -> Selection:
    """The choice for one target; one that cannot make anything of the model does not stop the others."""
    if isinstance(exported, TargetError):
        return _fallen(name, exported, context)
    try:
        return quantize(name, exported, options, cases, context)
    except (TargetError, StageError) as fault:
        return _fallen(name, fault, context)


def _fallen(name: str, fault: TargetError | StageError, context: Context) -> Selection:
    if len(context.recipe.targets) == 1:
        raise fault
    reason = str(fault) if str(fault).startswith(name) else f"{name}: {fault}"
    context.console.warn(reason)
    return _nothing(name, reason)


def _nothing(name: str, failure: str, unavailable: bool = False) -> Selection:
    return Selection(target=name, trials=(), chosen="", holds=False, failure=failure, unavailable=unavailable)


def replace_choice(selection: Selection, name: str) -> Selection:
    """The same trials with another one chosen."""
    trials = tuple(trial.model_copy(update={"chosen": trial.name == name}) for trial in selection.trials)
    return selection.model_copy(update={"trials": trials, "chosen": name})
