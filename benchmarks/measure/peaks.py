"""The machine's limits for a runtime, measured through it: large matrix products, exported like any other model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from edgepress.benchmarks.measure.jobs import Case, Subject
from edgepress.benchmarks.measure.latency import measure_latency
from edgepress.benchmarks.measure.roofline import bandwidth, measured_peak
from edgepress.benchmarks.records.costs import MachinePeak
from edgepress.benchmarks.records.report import Shape
from edgepress.targets.errors import EdgepressError
from edgepress.targets.graph.products import product_feeds, products
from edgepress.targets.process.scratch import scratch
from edgepress.targets.protocols import Target
from edgepress.targets.records import Artifact, MacCount

# A peak needs its fastest calls, not a narrow interval.
SAMPLES, WARMUP = 11, 3
INT8_METHODS = 1
FEEDS = "feeds.safetensors"


@contextmanager
def begin_peaks(targets: Sequence[Target], threads: Sequence[int]) -> Iterator[Callable[[], tuple[MachinePeak, ...]]]:
    """Peaks of fp32 and int8 products through each target and the bandwidth of memory, for each number of threads.

    The conversions begin at once; calling what is yielded waits for them and measures, so nothing else may run then.
    Args:
        targets: those that run here; none: nothing is measured.
        threads: numbers of threads, one peak each.

    Where a target cannot export or run the products its peaks have no figures and their note says why.
    """
    feeds, model = product_feeds(), products()
    with ExitStack() as stack:
        begun: dict[str, tuple[Path, Iterator[object]] | EdgepressError] = {}
        for target in targets:
            folder = stack.enter_context(scratch("peaks-"))
            # fp32 and the first method of int8
            candidates = [*target.candidates(model, "fp32")[:1], *target.candidates(model, "int8")[:INT8_METHODS]]
            try:
                results = stack.enter_context(target.begin_export(model, [feeds], candidates, folder))
                begun[target.name] = folder, results
            except EdgepressError as fault:
                begun[target.name] = fault

        def measure() -> tuple[MachinePeak, ...]:
            speeds = {count: bandwidth(count) for count in threads} if targets else {}
            return tuple(peak for target in targets for peak in _peaks(target, begun[target.name], speeds, feeds))

        yield measure


def _peaks(
    target: Target,
    begun: tuple[Path, Iterator[object]] | EdgepressError,
    speeds: Mapping[int, float],
    feeds: Mapping[str, np.ndarray],
) -> tuple[MachinePeak, ...]:
    """One for each number of threads of `speeds`, {threads: GB/s}."""
    try:
        if isinstance(begun, EdgepressError):
            raise begun
        folder, results = begun
        for _ in results:  # a candidate that the target refuses is left out
            pass
        save_file(dict(feeds), folder / FEEDS)
        return tuple(_peak(target, count, speed, folder, feeds) for count, speed in speeds.items())
    except EdgepressError as fault:
        return tuple(
            MachinePeak(
                target=target.name, threads=count, fp32_gops=None, int8_gops=None, bandwidth_gb_s=None, note=str(fault)
            )
            for count in speeds
        )


def _peak(target: Target, threads: int, speed: float, folder: Path, feeds: Mapping[str, np.ndarray]) -> MachinePeak:
    case = Case(shape=Shape(batch=1, sequence=None, threads=threads), feeds=str(folder / FEEDS))
    artifacts = {path.parent.name: Artifact.read(path) for path in sorted(folder.glob(f"*/{Artifact.FILE_NAME}"))}
    counts: dict[str, MacCount] = {}
    for name, artifact in artifacts.items():
        if (count := target.macs(artifact, folder / name, feeds)) is not None:
            counts[name] = count
    subjects = [Subject(key=name, folder=str(folder / name)) for name in counts]
    results = measure_latency(subjects, [case], SAMPLES, WARMUP, enough_s=0.0) if subjects else {}
    return measured_peak(target.name, threads, results, counts, speed)
