"""`edgepress bench`: latency of a run's artifacts beside its teacher, or of one artifact folder anywhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pydantic import ValidationError

from edgepress.benchmarks.judge.latency import latency_rows
from edgepress.benchmarks.judge.rows import TEACHER
from edgepress.benchmarks.measure.busy import load_notes, machine_load
from edgepress.benchmarks.measure.jobs import Case, Subject, SubjectResult
from edgepress.benchmarks.measure.latency import measure_latency
from edgepress.benchmarks.records.checked import check_size, read_artifact, unknown_files
from edgepress.benchmarks.records.places import Places
from edgepress.benchmarks.records.report import LatencyRow, Shape
from edgepress.benchmarks.report.wording import p50, percentile, scatter_text, speedup
from edgepress.targets.bundle.sums import MANIFEST, check_sums
from edgepress.targets.device.sitting import synthetic
from edgepress.targets.errors import ArtifactError, BenchmarkError
from edgepress.targets.files import within
from edgepress.targets.process.scratch import scratch
from edgepress.targets.progress import follow
from edgepress.targets.records import MAIN, Artifact, Signature

if TYPE_CHECKING:
    from edgepress.compress.cli.console import Console


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
    artifacts = read_all(folders, console)
    names, signature = labels(folders), common_signature(artifacts.values())
    with scratch("bench-") as temporary:
        cases = synthetic_cases(signature, shapes, temporary, console)
        subjects = [Subject(key=names[key], folder=str(folder)) for key, folder in folders.items()]
        with console.task(f"Timing {len(subjects)} artifacts, interleaved", total=None) as advance:
            results = measure_latency(subjects, cases, shapes.samples, shapes.warmup, progress=follow(advance))
    return [_timed(key, names, results) for key in folders]


def read_all(folders: Mapping[Key, Path], console: Console) -> dict[Key, Artifact]:
    """Each artifact's record; files in its folder that it does not name are told.

    Raises:
        ArtifactError: one of them is damaged, or cannot be timed.
    """
    artifacts = {name: read_artifact(folder) for name, folder in folders.items()}
    for name, folder in folders.items():
        if unknown := unknown_files(artifacts[name], folder):
            console.warn(unknown)
    return artifacts


def told_failures(timed: Sequence[tuple[str, str]], count: int) -> str:
    """The one line of a command that could not do all it was asked for; `timed`: (name, why) of what failed."""
    first = "; ".join(f"{name}: {reason}" for name, reason in timed[:3])
    more = f"; and {len(timed) - 3} more" if len(timed) > 3 else ""
    return f"{len(timed)} of {count} failed. {first}{more}"


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
    try:
        found = _found(path)
    except OSError as fault:
        raise ArtifactError(
            f"{path} cannot be read ({fault.strerror}). Give a folder that this user may read."
        ) from None
    if not found:
        what = "does not exist" if not path.exists() else "holds no artifact"
        raise ArtifactError(f"{path} {what}. Give a run (runs/<name>), a release or a folder with artifact.json.")
    return found


def _found(path: Path) -> dict[Key, Path]:
    for release in (path, path.resolve().parent):
        if (release / MANIFEST).is_file() and (release == path or (path / Artifact.FILE_NAME).is_file()):
            check_sums(release)  # before anything of it is opened
    if (path / Artifact.FILE_NAME).is_file():
        return {_key(path.resolve()): path}
    if (measured := _places_of(path)) is not None:
        return _measured(path, measured)
    return {_key(record.parent): record.parent for record in sorted(path.glob(f"*/{Artifact.FILE_NAME}"))}


def _key(folder: Path) -> Key:
    return Key(read_artifact(folder).target, folder.name)


def _places_of(run: Path) -> Path | None:
    """Where the benchmark of a run says which artifacts it measured; None where `run` is none, or not finished."""
    from edgepress.compress.pipeline.store import INDEX_FILE, RunFolder

    if not (run / INDEX_FILE).is_file():
        return None
    stage = RunFolder.at(run.resolve()).latest_stage()
    found = stage / Places.FILE_NAME if stage is not None else None
    return found if found is not None and found.is_file() else None


def _measured(run: Path, path: Path) -> dict[Key, Path]:
    """Target and name -> folder of what the benchmark of a run compared."""
    try:
        places = Places.model_validate_json(path.read_bytes()).artifacts
    except ValidationError as fault:
        raise ArtifactError(f"{path} is damaged: {fault.errors()[0]['msg']}. Run the benchmark stage again.") from None
    return {Key(place.target, place.name): within(run, place.folder) for place in places}


def synthetic_cases(signature: Signature, shapes: Shapes, folder: Path, console: Console) -> list[Case]:
    """Inputs for each shape that the signature's bounds admit, as safetensors files in `folder`."""
    from safetensors.numpy import save_file

    facts = {"programs": {MAIN: signature.model_dump(mode="json")}}
    varies = any("sequence" in spec.shape for spec in signature.inputs)
    lengths: Sequence[int | None] = shapes.sequences if varies else (None,)
    cases: list[Case] = []
    left_out: dict[str, None] = {}
    for threads in shapes.threads:
        for batch in shapes.batches:
            for length in lengths:
                sizes = {"batch": batch} | ({"sequence": length} if length is not None else {})
                if all(low <= sizes.get(name, low) <= high for name, (low, high) in signature.bounds.items()):
                    check_size(signature, sizes)
                    path = folder / f"{batch}-{length}.safetensors"
                    save_file(synthetic(facts, sizes), path)
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
