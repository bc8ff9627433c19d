"""The last stage: the test split is read, once, and every artifact is measured beside the teacher."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.compare import judge_gates, latency_rows
from benchmarks.environment import environment
from benchmarks.fidelity import Fidelity, class_accuracies, judge
from benchmarks.footprint import shrink
from benchmarks.jobs import SubjectResult
from benchmarks.load import load_notes, machine_load
from benchmarks.records import ABSENT_HARDWARE, Report, Row, StageRow, Status
from benchmarks.report import write_report
from benchmarks.statistics import difference_interval, wilson_interval
from benchmarks.wording import unsteady_notes
from compress.exporting import artifact_logits, time_all
from compress.figures import FigureTaker
from compress.model import Model
from compress.plan import Planned
from compress.quantization import Selection, Trial
from compress.recipe import Teacher
from compress.stages import Context
from compress.tasks.base import Features
from targets import load
from targets.base import Artifact
from targets.errors import EdgepressError, TargetError

if TYPE_CHECKING:
    from compress.execution import Execution


@dataclass(frozen=True)
class Entrant:
    """One artifact that is measured: its row's name, its folder and what validation said of it."""

    name: str
    target: str
    folder: Path | None
    model: Model
    trial: Trial | None = None
    failure: str = ""


def benchmark(execution: Execution, stage: Planned, context: Context, folder: Path) -> None:
    """Measure the teacher and all candidates of every target; write the report into `folder`."""
    figures = FigureTaker(context)
    export_folder = execution.stage_folder(execution.stages[stage.index - 2])
    student = Model.load(export_folder)
    test = context.workspace.test()
    teachers: dict[str, Row] = {}
    candidates: list[Row] = []
    notes: list[str] = []
    places: dict[str, str] = {}
    load_before = machine_load()
    for target in context.recipe.targets:
        selection = Selection.read(export_folder / f"selection-{target}.json")
        if selection.failure:
            candidates.append(_lost(selection))
            continue
        entrants = _candidates(selection, export_folder / "artifacts" / target, student)
        entrants += _arms(execution, figures, target) if target == context.clock_target else []
        teacher = _teacher(figures, context, target, notes)
        row, rows = measure(teacher, entrants, figures, test)
        several = len(context.recipe.targets) > 1
        for entrant in (teacher, *entrants):
            if entrant.folder is not None:
                name = f"{target}/{entrant.name}" if several else entrant.name
                places[name] = entrant.folder.relative_to(execution.folder.root).as_posix()
        # The report's teacher is that of the first target; those of the others stand before their candidates.
        candidates += rows if not teachers else [row, *rows]
        teachers[target] = row
    first = next(iter(teachers))
    chosen = [row for row in candidates if row.chosen]
    asked = context.recipe.gates
    gates = [
        gate
        for row in chosen
        for gate in judge_gates(asked.of(row.target), teachers[row.target], row, asked.confidence)
    ]
    notes += [*_unjudged(context, chosen), *load_notes(load_before), *unsteady_notes([*teachers.values(), *candidates])]
    report = Report(
        name=context.recipe.name,
        task=context.recipe.task,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        recipe_digest=context.recipe.digest,
        environment=environment() | {"load_before_measuring": load_before.model_dump()},
        data=_data(context, test),
        teacher=teachers[first],
        candidates=tuple(candidates),
        stages=tuple(stage_rows(execution)),
        gates=tuple(gates),
        notes=tuple(notes),
    )
    write_report(report, folder)
    # Where each row's artifact lies, for `edgepress bench`.
    (folder / "entrants.json").write_text(json.dumps(places, indent=1) + "\n", encoding="utf-8")


def _lost(selection: Selection) -> Row:
    """The row of a target that made nothing of the model."""
    status: Status = "unavailable" if selection.unavailable else "failed"
    return Row(name="no artifact", target=selection.target, precision="–", status=status, reason=selection.failure)


def _unjudged(context: Context, chosen: Sequence[Row]) -> list[str]:
    """What a reader must know of the targets whose hardware is not here."""
    found = []
    for row in chosen:
        if row.status in ABSENT_HARDWARE:
            limit = context.recipe.gates.of(row.target)["min_speedup"]
            found.append(f"{row.target} was built, not run: {context.target(row.target).probe().reason}")
            found += [] if limit is None else [f"min_speedup ({limit:g}) is not judged on {row.target}"]
    return found


def _teacher(figures: FigureTaker, context: Context, target: str, notes: list[str]) -> Entrant:
    """The teacher in fp32 on this target, or on pytorch where the target refuses it."""
    try:
        return Entrant("teacher", target, figures.export(context.teacher, target), context.teacher)
    except TargetError as fault:
        notes.append(f"{target} cannot run the teacher ({fault}); its rows are compared with the teacher on pytorch")
        return Entrant("teacher", "pytorch", figures.export(context.teacher, "pytorch"), context.teacher)


def teacher_name(teacher: Teacher) -> str:
    """What people call it: the last part of its folder or hub id, or the kind of model that was trained in the run."""
    if teacher.model is not None:
        return teacher.model.rstrip("/").rsplit("/", 1)[-1]
    return str((teacher.config or {}).get("model_type"))


def _candidates(selection: Selection, folder: Path, student: Model) -> list[Entrant]:
    found = []
    for trial in selection.trials:
        place = folder / trial.name
        if trial.status == "failed":
            found.append(Entrant(trial.name, selection.target, None, student, trial, trial.reason))
        else:
            found.append(Entrant(trial.name, selection.target, place, student, trial))
    return found


def _arms(execution: Execution, figures: FigureTaker, target: str) -> list[Entrant]:
    """The distilled student and its control arm, both fp32, where the recipe asks for a control."""
    found = []
    for stage in execution.stages:
        control = execution.stage_folder(stage) / "control"
        if control.is_dir():
            for name, place in (("distilled, fp32", control.parent), ("control (no teacher), fp32", control)):
                model = Model.load(place)
                found.append(Entrant(name, target, figures.export(model, target), model))
    return found


def measure(
    teacher: Entrant, entrants: Sequence[Entrant], figures: FigureTaker, test: Features
) -> tuple[Row, list[Row]]:
    """Rows of the teacher and of every entrant, timed interleaved; one that fails is a row with its reason."""
    context = figures.context
    everyone = [teacher, *entrants]
    folders = {entrant.name: entrant.folder for entrant in everyone if entrant.folder is not None}
    cases = figures.cases(teacher.model)
    timed: Mapping[str, SubjectResult] = {}
    if load(teacher.target).probe().state == "available":
        timed = time_all(folders, cases, context, f"{context.stage}: timing {len(folders)} artifacts, interleaved")
    reference, _ = _logits(teacher, test, context)
    if reference is None:
        raise TargetError("the teacher's artifact gives no usable outputs on the test split")
    # All candidates of a target are exports of one model.
    macs = {key: figures.macs(model) for key, model in {id(each.model): each.model for each in everyone}.items()}
    rows = [_row(entrant, teacher, timed, reference, test, macs[id(entrant.model)], context) for entrant in everyone]
    return rows[0], rows[1:]


def _logits(entrant: Entrant, test: Features, context: Context) -> tuple[np.ndarray | None, str]:
    if entrant.folder is None:
        return None, entrant.failure
    try:
        return artifact_logits(entrant.folder, test, context, f"{context.stage}: testing {entrant.name}"), ""
    except EdgepressError as fault:
        return None, str(fault)


def _row(
    entrant: Entrant,
    teacher: Entrant,
    timed: Mapping[str, SubjectResult],
    reference: np.ndarray,
    test: Features,
    macs: int,
    context: Context,
) -> Row:
    trial = entrant.trial
    base = {
        "name": teacher_name(context.recipe.teacher) if entrant is teacher else entrant.name,
        "target": entrant.target,
        "chosen": bool(trial and trial.chosen),
        "parameters": entrant.model.parameters,
        "macs": macs,
        "validation_accuracy": trial.accuracy if trial else None,
    }
    logits, failure = (reference, "") if entrant is teacher else _logits(entrant, test, context)
    result = timed.get(entrant.name, SubjectResult(failure=entrant.failure))
    if logits is None or entrant.folder is None or (result.failure and not result.measurements):
        reason = failure or result.failure or entrant.failure
        precision = entrant.trial.precision if entrant.trial else "fp32"
        return Row.model_validate(base | {"precision": precision, "status": "failed", "reason": reason})
    artifact = Artifact.read(entrant.folder / "artifact.json")
    assert teacher.folder is not None
    teacher_bytes = Artifact.read(teacher.folder / "artifact.json").bytes
    fidelity = judge(test.labels, reference, logits)
    names = context.workspace.splits.label_names
    return Row.model_validate(
        base
        | {
            "precision": artifact.precision,
            "status": _status(artifact, result),
            "reason": "; ".join(filter(None, [result.failure, *_absence(artifact, result), *_doubt(trial)])),
            **_fidelity(fidelity, against_itself=entrant is teacher),
            "classes": class_accuracies(test.labels, None if entrant is teacher else reference, logits, names),
            "int8_mac_share": artifact.int8_mac_share,
            "bytes": artifact.bytes,
            "shrink": shrink(teacher_bytes, artifact.bytes),
            "latency": latency_rows(result.measurements, timed["teacher"].measurements if timed else None, True),
            "builds": artifact.builds,
            "numbers_from": "" if result.measurements else load(artifact.target).stand_in,
            "settings": artifact.settings,
            "candidate": None if entrant is teacher else artifact.candidate,
            "open_ms": result.open_ms,
            "first_inference_ms": result.first_inference_ms,
        }
    )


def _fidelity(fidelity: Fidelity, against_itself: bool) -> dict[str, float | int | None]:
    """What the test split says of a row; the teacher has no difference to itself."""
    low, high = wilson_interval(round(fidelity.accuracy * fidelity.samples), fidelity.samples)
    figures: dict[str, float | int | None] = {
        "accuracy": fidelity.accuracy,
        "accuracy_low": low,
        "accuracy_high": high,
        "agreement": fidelity.agreement,
        "flips_lost": fidelity.flips_lost,
        "flips_won": fidelity.flips_won,
        "mcnemar_p": fidelity.mcnemar_p,
    }
    if against_itself:
        return figures
    low, high = difference_interval(fidelity.flips_lost, fidelity.flips_won, fidelity.samples)
    difference = (fidelity.flips_won - fidelity.flips_lost) / fidelity.samples
    return figures | {
        "accuracy_difference": difference,
        "accuracy_difference_low": low,
        "accuracy_difference_high": high,
    }


def _status(artifact: Artifact, result: SubjectResult) -> Status:
    if result.measurements:
        return "measured"
    return "built" if artifact.estimated_ms() is None else "estimated"


def _absence(artifact: Artifact, result: SubjectResult) -> tuple[str, ...]:
    """Why an artifact was not run on its hardware, and where its accuracy is from."""
    if result.measurements:
        return ()
    return (f"not run here; accuracy from {load(artifact.target).stand_in}",)


def _doubt(trial: Trial | None) -> tuple[str, ...]:
    return (trial.reason,) if trial and trial.reason else ()


def _data(context: Context, test: Features) -> dict[str, object]:
    splits = context.workspace.splits
    return {
        "train": len(splits.train),
        "validation": len(splits.validation),
        "calibration": len(splits.calibration),
        "test": len(test),
        "classes": list(splits.label_names),
        "test_reads": splits.test_reads,
    }


def stage_rows(execution: Execution) -> list[StageRow]:
    """The rows that the finished stages left, in order."""
    paths = [execution.stage_folder(stage) / "row.json" for stage in execution.stages]
    return [StageRow.read(path) for path in paths if path.is_file()]
