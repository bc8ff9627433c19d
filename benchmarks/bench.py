"""Latency and loads of a run's artifacts beside its teacher, or of one artifact folder anywhere: `edgepress bench`."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from edgepress.benchmarks.desk import Task
from edgepress.benchmarks.judge.latency import latency_rows
from edgepress.benchmarks.judge.rows import TEACHER
from edgepress.benchmarks.measure.busy import load_notes, machine_load
from edgepress.benchmarks.measure.jobs import Case, Subject, SubjectResult
from edgepress.benchmarks.measure.latency import measure_latency
from edgepress.benchmarks.measure.scenarios import Load, run_scenario
from edgepress.benchmarks.records.places import Places
from edgepress.benchmarks.records.report import LatencyRow, Shape
from edgepress.benchmarks.records.scenarios import SCENARIOS, ScenarioName, ScenarioResult
from edgepress.benchmarks.report.wording import p50, percentile, scatter_text, speedup
from edgepress.targets.errors import ArtifactError, BenchmarkError, EdgepressError
from edgepress.targets.progress import follow
from edgepress.targets.records import Artifact, Signature


class Console(Protocol):
    """Who hears of progress and warnings."""

    @property
    def task(self) -> Task: ...

    def warn(self, text: str) -> None: ...


class Key(NamedTuple):
    """Which artifact: the target whose rows it is among, and its name there."""

    target: str
    name: str


@dataclass(frozen=True)
class Shapes:
    """What to time: every combination that an artifact's bounds admit."""

    batches: Sequence[int] = (1,)
    sequences: Sequence[int] = (32, 128)
    threads: Sequence[int] = (1,)
    samples: int = 100
    warmup: int = 10


@dataclass(frozen=True)
class Timed:
    """One artifact's rows, or why it has none: `absent` says that its target cannot run here."""

    name: str
    target: str
    rows: tuple[LatencyRow, ...]
    failure: str
    absent: bool = False

    @property
    def remark(self) -> str:
        """What is not here is no failure of the artifact."""
        return self.failure if self.absent or not self.failure else f"failed: {self.failure}"


def bench(path: Path, shapes: Shapes, console: Console) -> list[Timed]:
    """Time the artifacts found at `path` (a run, a release or an artifact folder), interleaved, the teacher first.

    Inputs are synthetic: full sequences without padding, pixels from a fixed seed. Values don't change the work done.

    Raises:
        ArtifactError: nothing to time is there.
        BenchmarkError: no shape fits.
    """
    folders = find_artifacts(path)
    for note in load_notes(machine_load()):
        console.warn(note)
    names = labels(folders)
    signature = common_signature(Artifact.read(folder / Artifact.FILE_NAME) for folder in folders.values())
    with tempfile.TemporaryDirectory(prefix="edgepress-bench-") as temporary:
        cases = synthetic_cases(signature, shapes, Path(temporary), console)
        subjects = [Subject(key=names[key], folder=str(folder)) for key, folder in folders.items()]
        with console.task(f"Timing {len(subjects)} artifacts, interleaved", total=None) as advance:
            results = measure_latency(subjects, cases, shapes.samples, shapes.warmup, progress=follow(advance))
    return [_timed(key, names, results) for key in folders]


def _timed(key: Key, names: Mapping[Key, str], results: Mapping[str, SubjectResult]) -> Timed:
    """The rows of one artifact against the teacher of its target, where that was timed too."""
    result = results[names[key]]
    teacher = results.get(names.get(Key(key.target, TEACHER), ""))
    rows = latency_rows(result.measurements, teacher.measurements if teacher else None)
    return Timed(names[key], key.target, rows, result.failure or "", result.absent)


def labels(keys: Iterable[Key]) -> dict[Key, str]:
    """What each artifact is called: its name, and its target before it where names repeat.

    >>> labels([Key("pytorch", "teacher"), Key("xla-tpu", "teacher")])[Key("xla-tpu", "teacher")]
    'xla-tpu/teacher'
    """
    keys = list(keys)
    alone = max(Counter(key.name for key in keys).values(), default=1) == 1
    return {key: key.name if alone else f"{key.target}/{key.name}" for key in keys}


def latency_texts(row: LatencyRow) -> tuple[str, str, str, str]:
    """p50 with its interval, p90 or how many samples it lacks, speed-up with its interval, and how steady it was."""
    return p50(row), percentile(row, 90), speedup(row), scatter_text(row)


def common_signature(artifacts: Iterable[Artifact]) -> Signature:
    """All inputs that any artifact takes, and the bounds that all of them hold."""
    signatures = [artifact.signature for artifact in artifacts]
    inputs = {spec.name: spec for signature in signatures for spec in signature.inputs}
    bounds: dict[str, tuple[int, int]] = {}
    for name, (low, high) in (pair for signature in signatures for pair in signature.bounds.items()):
        lowest, highest = bounds.get(name, (low, high))
        bounds[name] = (max(low, lowest), min(high, highest))
    return Signature(inputs=tuple(inputs.values()), outputs=signatures[0].outputs, bounds=bounds)


def find_artifacts(path: Path) -> dict[Key, Path]:
    """Target and name -> folder: the artifact itself, those of a release, or a run's candidates with the teacher first.

    Raises:
        ArtifactError: `path` is none of them.
    """
    if (path / Artifact.FILE_NAME).is_file():
        return {_key(path.resolve()): path}
    if lists := sorted(path.glob(f"*-benchmark/{Places.FILE_NAME}")):
        places = Places.read(lists[-1]).artifacts
        found = {Key(place.target, place.name): path / place.folder for place in places}
    else:
        found = {_key(record.parent): record.parent for record in sorted(path.glob(f"*/{Artifact.FILE_NAME}"))}
    if not found:
        what = "does not exist" if not path.exists() else "holds no artifact"
        raise ArtifactError(f"{path} {what}. Give a run (runs/<name>), a release or a folder with artifact.json.")
    return found


def _key(folder: Path) -> Key:
    return Key(Artifact.read(folder / Artifact.FILE_NAME).target, folder.name)


def synthetic_cases(signature: Signature, shapes: Shapes, folder: Path, console: Console) -> list[Case]:
    """Inputs for each shape that the signature's bounds admit, as safetensors files in `folder`."""
    from safetensors.numpy import save_file

    varies = any("sequence" in spec.shape for spec in signature.inputs)
    lengths: Sequence[int | None] = shapes.sequences if varies else (None,)
    cases: list[Case] = []
    left_out: dict[str, None] = {}
    for threads in shapes.threads:
        for batch in shapes.batches:
            for length in lengths:
                sizes = {"batch": batch} | ({"sequence": length} if length is not None else {})
                if all(low <= sizes.get(name, low) <= high for name, (low, high) in signature.bounds.items()):
                    path = folder / f"{batch}-{length}.safetensors"
                    save_file(_inputs(signature, sizes), path)
                    shape = Shape(batch=batch, sequence=length, threads=threads)
                    cases.append(Case(shape=shape, feeds=str(path)))
                else:
                    left_out[", ".join(f"{name} {size}" for name, size in sizes.items())] = None
    bounds = ", ".join(f"{name} {low} to {high}" for name, (low, high) in signature.bounds.items())
    if not cases:
        raise BenchmarkError(
            f"no shape to time fits; these artifacts take {bounds}. Choose with --batch and --sequence."
        )
    for sizes_told in left_out:
        console.warn(f"{sizes_told} is not timed: these artifacts take {bounds}")
    return cases


def _inputs(signature: Signature, sizes: Mapping[str, int]) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    feeds = {}
    for spec in signature.inputs:
        shape = tuple(sizes[size] if isinstance(size, str) else size for size in spec.shape)
        if np.issubdtype(np.dtype(spec.dtype), np.integer):
            value = 0 if spec.name == "token_type_ids" else 1
            feeds[spec.name] = np.full(shape, value, spec.dtype)
        else:
            feeds[spec.name] = random.standard_normal(shape).astype(spec.dtype)
    return feeds


@dataclass(frozen=True)
class ScenarioRow:
    """One artifact at one shape: what the scenario found, or why it found nothing."""

    name: str
    case: Case
    result: ScenarioResult | None
    failure: str = ""


def bench_scenario(
    path: Path, scenario: str, shapes: Shapes, seconds: float, latency_bound_ms: float | None, console: Console
) -> list[ScenarioRow]:
    """Every artifact at `path` in the scenario at every shape, one after the other; a failed one is a row.

    Raises:
        ArtifactError: nothing to load is there.
        BenchmarkError: an unknown scenario, no shape fits, or "server" has no latency bound.
    """
    name = known(scenario)
    if name == "server" and latency_bound_ms is None:
        raise BenchmarkError("the scenario 'server' needs a latency bound in ms: give --latency-bound")
    folders = find_artifacts(path)
    names = labels(folders)
    signature = common_signature([Artifact.read(folder / Artifact.FILE_NAME) for folder in folders.values()])
    found = []
    with tempfile.TemporaryDirectory(prefix="edgepress-bench-") as temporary:
        cases = synthetic_cases(signature, shapes, Path(temporary), console)
        with console.task(f"Scenario {name}", total=len(folders) * len(cases)) as advance:
            for label, folder in ((names[key], folder) for key, folder in folders.items()):
                for case in cases:
                    load = Load(
                        scenario=name, folder=str(folder), feeds=case.feeds, shape=case.shape, seconds=seconds,
                        latency_bound_ms=latency_bound_ms,
                    )  # fmt: skip
                    found.append(_scenario_row(label, case, load))
                    advance(1, note=label)
    return found


def known(scenario: str) -> ScenarioName:
    for name in SCENARIOS:
        if name == scenario:
            return name
    raise BenchmarkError(f"unknown scenario {scenario!r}; there are {', '.join(SCENARIOS)}")


def _scenario_row(key: str, case: Case, load: Load) -> ScenarioRow:
    try:
        return ScenarioRow(key, case, run_scenario(load))
    except EdgepressError as fault:
        return ScenarioRow(key, case, None, str(fault))
