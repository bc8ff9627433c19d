"""The last stage: the test split is read, once, and every artifact is measured beside the teacher."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepress.benchmarks.judge.costs import with_costs
from edgepress.benchmarks.judge.gates import judge_gates
from edgepress.benchmarks.judge.latency import OF_SPEED
from edgepress.benchmarks.judge.rows import TEACHER, RowSource, TargetRows
from edgepress.benchmarks.measure.busy import load_notes, machine_load
from edgepress.benchmarks.measure.environment import environment
from edgepress.benchmarks.measure.jobs import SubjectResult
from edgepress.benchmarks.measure.peaks import begin_peaks
from edgepress.benchmarks.measure.settings import time_all
from edgepress.benchmarks.records.costs import MachinePeak
from edgepress.benchmarks.records.files import write_report
from edgepress.benchmarks.records.places import Place, Places
from edgepress.benchmarks.records.report import ABSENT_HARDWARE, GateVerdict, Report, Row, StageRow, Status
from edgepress.benchmarks.report.sections.streaming import WINDOW
from edgepress.benchmarks.report.wording import unsteady_notes
from edgepress.compress.data.splits import digest_of_test
from edgepress.compress.methods.desk import desk_of
from edgepress.compress.pipeline.stages.base import Finished, Work, plain
from edgepress.compress.tasks import load_task
from edgepress.targets.errors import TargetError
from edgepress.targets.protocols import Target

if TYPE_CHECKING:
    from edgepress.compress.methods.figures import FigureTaker
    from edgepress.compress.methods.measuring import Measuring
    from edgepress.compress.methods.quantize.choice import Selection
    from edgepress.compress.model.model import Model
    from edgepress.compress.recipe.recipe import Data, Recipe, Teacher
    from edgepress.compress.recipe.sections import Benchmark, Gates
    from edgepress.compress.tasks.base import Features


BENCHMARK = "benchmark"


@dataclass(frozen=True)
class BenchmarkStage:
    """Measures everything and writes the report.

    Args:
        options: shapes, samples and loads.
        gates: what the chosen artifacts must hold.
        title: the report's name.
        rows: the recipe's section on data; the test rows count here alone, since no stage before has seen one.
        task: what the model does.
    """

    options: Benchmark
    gates: Gates
    title: str
    rows: Data
    task: str
    name: str = BENCHMARK

    def covers(self) -> Mapping[str, object]:
        asked = {"benchmark": plain(self.options), "gates": plain(self.gates), "name": self.title}
        return asked | {"test": digest_of_test(self.rows, load_task(self.task))}

    def run(self, work: Work, folder: Path) -> None:
        benchmark(work, folder)


def stages_of(recipe: Recipe) -> tuple[BenchmarkStage, ...]:
    return (BenchmarkStage(recipe.benchmark, recipe.gates, recipe.name, recipe.data, recipe.task),)


def benchmark(work: Work, folder: Path) -> None:
    """Measure the teacher and all candidates of every target; write the report into `folder`."""
    from edgepress.compress.methods.figures import FigureTaker

    measuring = work.measuring
    figures = FigureTaker(measuring)
    export_folder, student = work.before[-1].folder, work.model
    test = measuring.workspace.test()
    selections = _selections(export_folder, measuring.recipe.targets)
    teachers: dict[str, Row] = {}
    candidates: list[Row] = []
    notes = _fine_tuning(measuring)
    places: list[Place] = []
    load_before = machine_load()
    made = [target for target in measuring.recipe.targets if not selections[target].failure]
    with begin_peaks(_with_roofline(measuring, made), measuring.recipe.benchmark.threads) as measure_peaks:
        figures.export_for(measuring.data.teacher, made)
        with measuring.run.progress.task(f"{measuring.run.stage}: the machine's limits"):
            peaks = measure_peaks()
    for target in measuring.recipe.targets:
        selection = selections[target]
        if selection.failure:
            candidates.append(_without_artifact(selection))
            continue
        sources = _candidates(selection, export_folder / "artifacts" / target, student, figures)
        sources += _arms(work.before, figures, target) if target == measuring.clock_target else []
        teacher = _teacher(figures, measuring, target, notes)
        row, rows = measure(teacher, sources, figures, test, peaks)
        for source in (teacher, *sources):
            if source.folder is not None:
                folder_name = source.folder.relative_to(work.root).as_posix()
                places.append(Place(target=target, name=source.name, folder=folder_name))
        # The report's teacher is that of the first target; those of the others stand before their candidates.
        candidates += rows if not teachers else [row, *rows]
        teachers[target] = row
    first = next(iter(teachers))
    chosen = [row for row in candidates if row.chosen]
    notes += [
        *_unjudged(measuring, chosen),
        *load_notes(load_before),
        *unsteady_notes([*teachers.values(), *candidates]),
    ]
    report = Report(
        name=measuring.recipe.name,
        task=measuring.recipe.task,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        recipe_digest=measuring.recipe.digest,
        environment=environment() | {"load_before_measuring": load_before.model_dump()},
        data=_data(measuring, test),
        teacher=teachers[first],
        candidates=tuple(candidates),
        stages=tuple(stage_rows(work.before)),
        gates=_judged(measuring, teachers, chosen),
        notes=tuple(notes),
        peaks=peaks,
    )
    write_report(report, folder)
    # Where each row's artifact lies, for `edgepress bench`.
    Places(artifacts=tuple(places)).write(folder / Places.FILE_NAME)


def _selections(folder: Path, targets: Sequence[str]) -> dict[str, Selection]:
    """What was chosen for each target, as the stage of the artifacts left it."""
    from edgepress.compress.methods.quantize.choice import Selection

    return {name: Selection.read(folder / f"selection-{name}.json") for name in targets}


def _with_roofline(measuring: Measuring, names: Sequence[str]) -> list[Target]:
    """Those of the targets whose limits on this machine the recipe asks for: they run here."""
    asked = names if measuring.recipe.benchmark.roofline else ()
    return [target for target in map(measuring.target, asked) if target.probe().state == "available"]


def _without_artifact(selection: Selection) -> Row:
    """The row of a target that made nothing of the model."""
    status: Status = "unavailable" if selection.unavailable else "failed"
    return Row(name="no artifact", target=selection.target, precision="–", status=status, reason=selection.failure)


def _fine_tuning(measuring: Measuring) -> list[str]:
    """How the teacher came to be, where this run has trained on a model that was given to it."""
    if not measuring.recipe.teacher.fine_tuned:
        return []
    return [
        f"The teacher was fine-tuned in this run: {'; '.join(step.summary for step in measuring.data.teacher.lineage)}."
    ]


def _judged(measuring: Measuring, teachers: Mapping[str, Row], chosen: Sequence[Row]) -> tuple[GateVerdict, ...]:
    """What the chosen artifacts had to hold, each against the teacher on its own target."""
    asked = measuring.recipe.gates
    return tuple(
        gate
        for row in chosen
        for gate in judge_gates(asked.of(row.target), teachers[row.target], row, asked.confidence)
    )


def _unjudged(measuring: Measuring, chosen: Sequence[Row]) -> list[str]:
    """What a reader must know of the targets whose hardware is not here."""
    found = []
    for row in chosen:
        if row.status in ABSENT_HARDWARE:
            asked = measuring.recipe.gates.of(row.target)
            found.append(f"{row.target} was built, not run: {measuring.target(row.target).probe().reason}")
            unjudged = [f"{name} ({asked[name]:g})" for name in OF_SPEED if asked[name] is not None]
            found += [f"{', '.join(unjudged)} is not judged on {row.target}"] if unjudged else []
    return found


def _source(name: str, target: str, model: Model, figures: FigureTaker, folder: Path | None, **more: Any) -> RowSource:
    return RowSource(name, target, folder, parameters=model.parameters, macs=figures.macs(model), **more)


def _teacher(figures: FigureTaker, measuring: Measuring, target: str, notes: list[str]) -> RowSource:
    """The teacher in fp32 on this target, or on pytorch where the target refuses it."""
    model = measuring.data.teacher
    try:
        return _source(TEACHER, target, model, figures, figures.export(model, target))
    except TargetError as fault:
        notes.append(f"{target} cannot run the teacher ({fault}); its rows are compared with the teacher on pytorch")
        return _source(TEACHER, "pytorch", model, figures, figures.export(model, "pytorch"))


def _candidates(selection: Selection, folder: Path, student: Model, figures: FigureTaker) -> list[RowSource]:
    found = []
    # All candidates of a target are exports of one model.
    macs = figures.macs(student)
    for result in selection.results:
        failed = result.status == "failed"
        found.append(
            RowSource(
                result.name,
                selection.target,
                None if failed else folder / result.name,
                parameters=student.parameters,
                macs=macs,
                precision=result.precision,
                chosen=result.chosen,
                validation=result.primary.value if result.primary else None,
                remark=result.reason,
                failure=result.reason if failed else "",
            )
        )
    return found


def _arms(stages: Sequence[Finished], figures: FigureTaker, target: str) -> list[RowSource]:
    """The distilled student and its control arm, both fp32, where the recipe asks for a control."""
    from edgepress.compress.model.model import Model

    found = []
    for stage in stages:
        control = stage.folder / "control"
        if control.is_dir():
            for name, place in (("distilled, fp32", control.parent), ("control (no teacher), fp32", control)):
                model = Model.load(place)
                found.append(_source(name, target, model, figures, figures.export(model, target)))
    return found


def measure(
    teacher: RowSource, sources: Sequence[RowSource], figures: FigureTaker, test: Features, peaks: Sequence[MachinePeak]
) -> tuple[Row, list[Row]]:
    """Rows of the teacher and of every other artifact of a target, timed interleaved.

    Args:
        teacher: the teacher's artifact, which all others are compared with.
        sources: the others; one that fails is a row with its reason.
        figures: gives the inputs that are timed.
        test: the test rows.
        peaks: limits of this machine.
    """
    measuring, desk = figures.measuring, desk_of(figures.measuring)
    everyone = [teacher, *sources]
    folders = {source.name: source.folder for source in everyone if source.folder is not None}
    cases = figures.cases(measuring.data.teacher)
    timed: Mapping[str, SubjectResult] = {}
    if measuring.target(teacher.target).probe().state == "available":
        timed = time_all(folders, cases, desk, f"{measuring.run.stage}: timing {len(folders)} artifacts, interleaved")
    shared = TargetRows.of(teacher, teacher_name(measuring.recipe.teacher), test, timed, desk)
    rows = []
    with measuring.run.progress.task(f"{measuring.run.stage}: costs and loads", total=len(everyone)) as advance:
        for source in everyone:
            row, logits = shared.row(source)
            if logits is not None and row.status == "measured":
                row = with_costs(row, source, logits, cases, shared, peaks)
            rows.append(row)
            advance(1, note=source.name)
    return rows[0], rows[1:]


def teacher_name(teacher: Teacher) -> str:
    """What people call it: the last part of its folder or hub id, or the kind of model that was trained in the run."""
    if teacher.model is not None:
        return teacher.model.rstrip("/").rsplit("/", 1)[-1]
    if teacher.code is not None:
        return teacher.code.rsplit("/", 1)[-1]
    return str((teacher.config or {}).get("model_type"))


def _data(measuring: Measuring, test: Features) -> dict[str, object]:
    splits, rows = measuring.workspace.splits, measuring.recipe.data
    heard: dict[str, object] = {WINDOW: rows.window_seconds} if splits.train.content == "recordings" else {}
    return heard | {
        "train": len(splits.train),
        "validation": len(splits.validation),
        "calibration": len(splits.calibration),
        "test": len(test),
        "classes": list(splits.label_names),
        "test_reads": splits.test_reads,
    }


def stage_rows(stages: Sequence[Finished]) -> list[StageRow]:
    """The rows that the finished stages left, in order."""
    paths = [stage.folder / "row.json" for stage in stages]
    return [StageRow.read(path) for path in paths if path.is_file()]
