"""What is done with artifacts: the shapes and inputs that are timed, the session settings, the logits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from safetensors.numpy import save_file

from edgepress import targets
from edgepress.benchmarks.measure.jobs import Case, Opened, Subject, SubjectResult
from edgepress.benchmarks.measure.latency import measure_latency
from edgepress.benchmarks.records.report import Measurement, Shape
from edgepress.compress.model.model import Model
from edgepress.compress.tasks.base import Features, batches
from edgepress.targets.device.turns import ENOUGH_S
from edgepress.targets.process.feeds import rounded_up
from edgepress.targets.progress import follow
from edgepress.targets.records import Artifact

if TYPE_CHECKING:
    from edgepress.compress.methods.context import Context
    from edgepress.compress.recipe.sections import Benchmark

STAND_IN_BATCH = 32


def shapes_of(benchmark: Benchmark, sequences: bool, bounds: Mapping[str, tuple[int, int]]) -> tuple[Shape, ...]:
    """Every shape of the recipe that the signature's bounds admit; the sequence is None for models without one."""
    lengths: list[int | None] = [None]
    if sequences:
        highest = bounds["sequence"][1]
        lengths = list(dict.fromkeys(min(length, highest) for length in benchmark.sequences))
    return tuple(
        Shape(batch=batch, sequence=length, threads=threads)
        for threads in benchmark.threads
        for batch in benchmark.batches
        for length in lengths
    )


def write_cases(context: Context, model: Model, folder: Path) -> list[Case]:
    """Each shape that is timed, its inputs made once for the run."""
    varies = any("sequence" in spec.shape for spec in model.signature.inputs)
    shapes = shapes_of(context.recipe.benchmark, varies, model.signature.bounds)
    return [write_case(context, shape, folder) for shape in shapes]


def write_case(context: Context, shape: Shape, folder: Path) -> Case:
    """Real calibration rows in one shape, in a safetensors file of `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"batch{shape.batch}{f'-sequence{shape.sequence}' if shape.sequence else ''}.safetensors"
    if not path.is_file():
        feeds = context.task.sample_feeds(context.calibration, shape.batch, shape.sequence)
        save_file({name: np.ascontiguousarray(value) for name, value in feeds.items()}, path)
    return Case(shape=shape, feeds=str(path))


def time_all(
    exported: Mapping[str, Path], cases: Sequence[Case], context: Context, title: str, enough_s: float = ENOUGH_S
) -> dict[str, SubjectResult]:
    """Latency of each artifact folder with its recorded settings, interleaved, in processes of their own; `enough_s` is
    that of `measure_latency`."""
    benchmark = context.recipe.benchmark
    subjects = [Subject(key=key, folder=str(folder), settings=None) for key, folder in exported.items()]
    with context.console.task(title) as advance:
        return measure_latency(
            subjects, cases, benchmark.samples, benchmark.warmup, context.seed, progress=follow(advance),
            silence_s=benchmark.time_limit_s, enough_s=enough_s,
        )  # fmt: skip


def settle_settings(folders: Mapping[str, Path], cases: Sequence[Case], context: Context) -> None:
    """Measure every artifact with each of its target's session settings and record the fastest in its `artifact.json`.

    The teacher's artifact goes through the same choice, so that no speed-up is inflated."""
    subjects, choices = [], {}
    for key, folder in folders.items():
        artifact = Artifact.read(folder / "artifact.json")
        for number, settings in enumerate(targets.of(artifact).session_settings()):
            subject = Subject(key=f"{key}#{number}", folder=str(folder), settings=settings)
            choices[subject.key] = (key, settings)
            subjects.append(subject)
    if len(subjects) == len(folders):
        return
    samples = max(11, context.recipe.benchmark.samples // 3)
    with context.console.task(f"{context.stage}: choosing session settings") as advance:
        results = measure_latency(
            subjects, cases, samples, context.recipe.benchmark.warmup, context.seed, progress=follow(advance),
            silence_s=context.recipe.benchmark.time_limit_s,
        )  # fmt: skip
    for key, folder in folders.items():
        mine = {name: settings for name, (owner, settings) in choices.items() if owner == key}
        timed = {name: geometric_mean(results[name].measurements) for name in mine if results[name].failure is None}
        if not timed:
            continue  # it fails with every setting: the row says why when it is measured
        artifact = Artifact.read(folder / "artifact.json")
        best = mine[min(timed, key=timed.__getitem__)]
        artifact.model_copy(update={"settings": best}).write(folder / "artifact.json")


def geometric_mean(measurements: Sequence[Measurement]) -> float:
    """Of the p50s over all shapes, in ms: no shape outweighs another."""
    return float(np.exp(np.mean([np.log(measurement.percentile(50)) for measurement in measurements])))


def artifact_logits(
    folder: Path,
    features: Features,
    context: Context,
    title: str,
    opened: Opened | None = None,
    size: int | None = None,
) -> np.ndarray:
    """Logits `[rows, classes]` of the artifact itself, with the settings, threads and batch size that are timed:
    dynamic quantization takes its ranges over the whole batch, so another batch size would be another model.

    `opened` is the session that was timed: this one must be the same. `size` asks for another batch size.

    Raises:
        TargetError, BenchmarkError: it cannot be opened, it is another session, or its outputs are not finite.
    """
    from edgepress.benchmarks.judge.fidelity import predict
    from edgepress.benchmarks.measure.provenance import check_same

    artifact, asked = Artifact.read(folder / "artifact.json"), context.recipe.benchmark
    here = targets.of(artifact).probe().state == "available"
    size = size or (asked.batches[0] if here else STAND_IN_BATCH)
    threads = asked.threads[0] if here else 1
    rows: np.ndarray | None = None
    with (
        context.console.task(title, total=len(features)) as advance,
        targets.open_numbers(artifact, folder, threads) as session,
    ):
        if opened is not None:
            check_same(opened, artifact, threads, session)
        for index, feeds in batches(features, size):
            taken = artifact.signature.select(feeds)
            taken = taken if here else rounded_up(taken, artifact.signature, size)
            output = predict(session, [taken])[: len(index)]
            rows = np.empty((len(features), output.shape[-1]), np.float32) if rows is None else rows
            rows[index] = output
            advance(len(index))
    assert rows is not None
    return rows
