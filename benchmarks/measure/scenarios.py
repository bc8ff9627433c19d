"""How applications load an artifact, by the names of MLPerf's LoadGen (arXiv 1911.02549).

Queries of several samples, everything at once, or arrivals by chance; and a long run that shows throttling.

Every function takes the call, the clock and, where it waits, the waiting as arguments; tests pass simulated ones.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np

from edgepress import targets
from edgepress.benchmarks.measure.provenance import check_answer
from edgepress.benchmarks.records.scenarios import Point, ScenarioName, ScenarioResult, Shape
from edgepress.targets.device.clock import Clock, monotonic, timed_ms
from edgepress.targets.errors import BenchmarkError
from edgepress.targets.process.isolation import run_isolated
from edgepress.targets.protocols import Session
from edgepress.targets.records import Artifact, Feeds, Record

CHILD = "edgepress.benchmarks.measure.scenarios:run_here"
QUERY = 8
TAIL = 99.0
# LoadGen's rule: so many samples give the 99th percentile with 99 % confidence.
TAIL_SAMPLES = 662
WARMUP = 20
# Six halvings leave an interval of 1/64 of the highest rate that is possible.
RATE_STEPS = 6
# Opening, warm-up and the search for a rate come on top of the seconds that were asked for.
SPARE_S = 600.0

Call = Callable[[], object]


class ScenarioJob(Record):
    """What is asked: a scenario, the artifact's folder, the file of its inputs, and the limits."""

    scenario: ScenarioName
    folder: str
    feeds: str
    shape: Shape
    seconds: float
    latency_bound_ms: float | None = None
    seed: int = 0


def multi_stream(query: Call, count: int, clock: Clock = monotonic) -> tuple[float, ...]:
    """Wall times in ms of `count` queries, each begun when the one before it is done.

    Args:
        query: computes one query.
        clock: gives the time in nanoseconds; a test passes one of its own.
    """
    return tuple(timed_ms(query, clock) for _ in range(count))


def offline(call: Call, rows: int, seconds: float, clock: Clock = monotonic) -> tuple[float, int]:
    """(samples per second, calls) when all data is there at once; `call` computes `rows` samples.

    Args:
        seconds: how long to go on; at least one call is made.
        clock: gives the time in nanoseconds; a test passes one of its own.
    """
    start, calls = clock(), 0
    while (elapsed := (clock() - start) / 1e9) < seconds or not calls:
        call()
        calls += 1
    return calls * rows / elapsed, calls


def server(
    call: Call,
    rate: float,
    count: int,
    seed: int,
    clock: Clock = monotonic,
    wait: Callable[[float], object] = time.sleep,
) -> tuple[float, ...]:
    """Latencies in ms, queueing included, of `count` queries that arrive by chance (Poisson), `rate` a second.

    Args:
        call: answers one query.
        seed: of the times between arrivals.
        clock: gives the time in nanoseconds; a test passes one of its own.
        wait: sleeps the seconds until the next arrival; a test passes one of its own.
    """
    numbers = random.Random(seed)
    start, arrival, latencies = clock(), 0.0, []
    for _ in range(count):
        arrival += numbers.expovariate(rate)
        ahead = arrival - (clock() - start) / 1e9
        if ahead > 0:
            wait(ahead)
        call()
        latencies.append(((clock() - start) / 1e9 - arrival) * 1e3)
    return tuple(latencies)


def highest_rate(
    call: Call,
    bound_ms: float,
    count: int,
    seed: int,
    clock: Clock = monotonic,
    wait: Callable[[float], object] = time.sleep,
) -> float:
    """The highest rate in queries a second at which the 99th percentile of the latency stays within `bound_ms`; 0 where
    a single query takes longer. Found by halving the interval up to the rate at which the queue never empties.

    Args:
        call: answers one query.
        count: queries for each rate that is tried.
        seed: of the arrivals, the same at every rate.
        clock: gives the time in nanoseconds; a test passes one of its own.
        wait: sleeps the seconds until the next arrival; a test passes one of its own.
    """
    alone = float(np.median([timed_ms(call, clock) for _ in range(WARMUP)]))
    low, high = 0.0, 1e3 / alone
    if alone > bound_ms:
        return 0.0
    for _ in range(RATE_STEPS):
        rate = (low + high) / 2
        holds = float(np.percentile(server(call, rate, count, seed, clock, wait), TAIL)) <= bound_ms
        low, high = (rate, high) if holds else (low, rate)
    return low


def sustained(call: Call, seconds: float, clock: Clock = monotonic) -> tuple[Point, ...]:
    """Medians over a hundredth of the time each, one call after the other without a break.

    Args:
        call: is timed again and again.
        seconds: how long to go on.
        clock: gives the time in nanoseconds; a test passes one of its own.
    """
    start, window = clock(), seconds / 100
    points: list[Point] = []
    times: list[float] = []
    opened = 0.0
    while (now := (clock() - start) / 1e9) < seconds:
        if times and now - opened >= window:
            points.append(Point(seconds=(opened + now) / 2, p50_ms=float(np.median(times)), calls=len(times)))
            times, opened = [], now
        times.append(timed_ms(call, clock))
    if times:
        points.append(Point(seconds=(opened + now) / 2, p50_ms=float(np.median(times)), calls=len(times)))
    return tuple(points)


def slowdown(curve: Sequence[Point]) -> float:
    """Median of the last tenth of a curve over that of the first: 1.3 is a device that got 30 % slower.

    >>> points = [Point(seconds=second, p50_ms=1.0 + (second > 5), calls=9) for second in range(20)]
    >>> slowdown(points)
    2.0

    Raises:
        BenchmarkError: there are no points.
    """
    if not curve:
        raise BenchmarkError("the sustained run has no window. Run it for longer.")
    tenth = max(1, len(curve) // 10)
    first, last = (np.median([point.p50_ms for point in part]) for part in (curve[:tenth], curve[-tenth:]))
    return float(last / first)


def run_scenario(load: ScenarioJob, timeout_s: float | None = None) -> ScenarioResult:
    """The scenario in a process of its own.

    Raises:
        BenchmarkError: the artifact cannot be opened or fails, the time is up, or "server" has no latency bound.
    """
    if load.scenario == "server" and load.latency_bound_ms is None:
        raise BenchmarkError("the scenario 'server' needs a latency bound in ms: give --latency-bound")
    limit = load.seconds + SPARE_S if timeout_s is None else timeout_s
    answer = run_isolated(CHILD, load.model_dump(mode="json"), limit, load.shape.threads)
    return ScenarioResult.model_validate(answer)


def run_here(request: dict[str, Any]) -> dict[str, Any]:
    """The child's side of `run_scenario`: a ScenarioJob as JSON in, a ScenarioResult as JSON out."""
    from safetensors.numpy import load_file

    load = ScenarioJob.model_validate(request)
    artifact = Artifact.read(Path(load.folder) / Artifact.FILE_NAME)
    feeds = artifact.signature.select(load_file(load.feeds))
    artifact.signature.check(feeds)
    opened: AbstractContextManager[Session] = targets.of(artifact).open(
        artifact, Path(load.folder), threads=load.shape.threads
    )
    with opened as session:
        check_answer(session.infer(feeds))
        for _ in range(WARMUP - 1):
            session.infer(feeds)
        return _measure(load, session, feeds).model_dump(mode="json")


def _measure(load: ScenarioJob, session: Session, feeds: Feeds) -> ScenarioResult:
    def call() -> None:
        session.infer(feeds)

    if load.scenario == "offline":
        rate, calls = offline(call, load.shape.batch, load.seconds)
        return _result(load, rate, "samples/s", calls, f"throughput at batch {load.shape.batch}")
    if load.scenario == "multi-stream":
        calls = -(-QUERY // load.shape.batch)

        def query() -> None:
            for _ in range(calls):
                call()

        times = multi_stream(query, TAIL_SAMPLES)
        return _result(load, float(np.percentile(times, TAIL)), "ms", len(times), f"p99 of queries of {QUERY} samples")
    if load.scenario == "server":
        assert load.latency_bound_ms is not None  # `run_scenario` asked for it
        rate = highest_rate(call, load.latency_bound_ms, TAIL_SAMPLES, load.seed)
        meaning = f"highest rate with a p99 within {load.latency_bound_ms:g} ms, Poisson arrivals"
        return _result(load, rate, "queries/s", TAIL_SAMPLES, meaning)
    curve = sustained(call, load.seconds)
    calls = sum(point.calls for point in curve)
    meaning = f"last tenth against the first tenth of {load.seconds:g} s without a break"
    return _result(load, slowdown(curve), "x", calls, meaning).model_copy(update={"curve": curve})


def _result(load: ScenarioJob, value: float, unit: str, samples: int, meaning: str) -> ScenarioResult:
    return ScenarioResult(
        scenario=load.scenario, shape=load.shape, value=value, unit=unit, samples=samples, meaning=meaning
    )
