"""Latency, the side of the child process: open every subject, warm up, and time them in turns."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edgepress import targets
from edgepress.benchmarks.measure.jobs import Case, LatencyJob, Opened, SubjectResult, identity
from edgepress.benchmarks.measure.provenance import check_answer, kept
from edgepress.benchmarks.records.report import Measurement, Shape
from edgepress.benchmarks.report.wording import shape_words
from edgepress.targets.device.clock import monotonic, timed_ms
from edgepress.targets.device.pinning import pin
from edgepress.targets.device.turns import CallFailed, Calls, Enough, take
from edgepress.targets.errors import TargetUnavailable, told
from edgepress.targets.process.isolation import tell_progress
from edgepress.targets.protocols import Session
from edgepress.targets.records import Artifact, Signature

# Thread pools keep spinning for some ms after a call and would steal the next model's cores.
SETTLE_S = 0.01


class Ticker:
    """Counts rounds and tells the parent twice a second, so that telling costs nothing beside the measurement."""

    def __init__(self, total: int) -> None:
        self.done, self.total, self.reported_at = 0, total, 0.0

    def __call__(self) -> None:
        """One more round. Those beyond what was asked for are not counted."""
        self.done = min(self.done + 1, self.total)
        self.alive()

    def alive(self) -> None:
        """A sign of life: opening a session and warming up take their time, too."""
        if time.monotonic() - self.reported_at > 0.5:
            self.reported_at = time.monotonic()
            tell_progress(self.done, self.total)


def measure_pinned(request: dict[str, Any]) -> dict[str, Any]:
    """`measure_here` of a process that does nothing else: it stays pinned."""
    threads = LatencyJob.model_validate(request).cases[0].shape.threads
    return measure_here(request, pin(threads))


def measure_here(request: dict[str, Any], pinned: tuple[int, ...] = ()) -> dict[str, Any]:
    """A LatencyJob as JSON in, SubjectResults by key as JSON out."""
    job = LatencyJob.model_validate(request)
    measurements: dict[str, list[Measurement]] = {subject.key: [] for subject in job.subjects}
    ticker = Ticker(len(job.cases) * job.samples)
    with ExitStack() as stack:
        opened, failures, absent = _open_all(job, stack, ticker)
        for case in job.cases:
            taken, faults = _measure_case(job, case, opened, ticker)
            for key, fault in faults.items():
                failures.setdefault(key, f"{shape_words(case.shape)}: {fault}")
            for key, measurement in taken.items():
                measurements[key].append(measurement.model_copy(update={"pinned": pinned}))
    results = {}
    for key, mine in measurements.items():
        facts = opened[key].facts() if key in opened else {}
        results[key] = SubjectResult(measurements=tuple(mine), failure=failures.get(key), absent=key in absent, **facts)
    return {key: result.model_dump(mode="json") for key, result in results.items()}


@dataclass
class _Subject:
    """A session that is open, its cold start in ms, and what it is known by."""

    session: Session
    signature: Signature
    open_ms: float
    identity: str
    first_ms: float | None = None
    feeds: str = ""
    answer: tuple[float, ...] = field(default=())

    def facts(self) -> dict[str, Any]:
        opened = Opened(identity=self.identity, feeds=self.feeds, answer=self.answer)
        return {"open_ms": self.open_ms, "first_inference_ms": self.first_ms, "opened": opened}

    def first_call(self, feeds: dict[str, np.ndarray], path: str) -> dict[str, np.ndarray]:
        """The first call after opening; its answer is kept, and returned."""
        outputs: list[dict[str, np.ndarray]] = []
        self.first_ms = timed_ms(lambda: outputs.append(self.session.infer(feeds)))
        self.feeds, self.answer = path, kept(outputs[0])
        return outputs[0]


def _open_all(
    job: LatencyJob, stack: ExitStack, ticker: Ticker
) -> tuple[dict[str, _Subject], dict[str, str], set[str]]:
    """The sessions, why others could not be opened, and those of them whose target cannot run here at all."""
    opened: dict[str, _Subject] = {}
    absent: set[str] = set()
    failures: dict[str, str] = {}
    loaded: set[str] = set()
    for subject in job.subjects:
        folder = Path(subject.folder)
        try:
            artifact = Artifact.read(folder / "artifact.json")
            if subject.settings is not None:
                artifact = artifact.model_copy(update={"settings": subject.settings})
            threads = job.cases[0].shape.threads
            open_session = _opener(artifact, folder, threads)
            if artifact.target not in loaded:
                # The first session of a target loads its packages, which is no property of the artifact.
                with open_session():
                    loaded.add(artifact.target)
            start = monotonic()
            session = stack.enter_context(open_session())
            open_ms = (monotonic() - start) / 1e6
            opened[subject.key] = _Subject(session, artifact.signature, open_ms, identity(artifact, threads))
            ticker.alive()
        except Exception as fault:  # any backend, any fault: it is this row's failure, and the report shows it
            failures[subject.key] = told(fault)
            if isinstance(fault, TargetUnavailable):
                absent.add(subject.key)
    return opened, failures, absent


def _opener(artifact: Artifact, folder: Path, threads: int) -> Callable[[], AbstractContextManager[Session]]:
    target = targets.of(artifact)
    return lambda: target.open(artifact, folder, threads=threads)


def _measure_case(
    job: LatencyJob, case: Case, opened: dict[str, _Subject], ticker: Ticker
) -> tuple[dict[str, Measurement], dict[str, str]]:
    from safetensors.numpy import load_file

    arrays: dict[str, np.ndarray] = load_file(case.feeds)
    faults: dict[str, str] = {}
    calls: dict[str, Callable[[], object]] = {}
    for key, one in opened.items():
        feeds = one.signature.select(arrays)
        try:
            one.signature.check(feeds)
            call = _call(one.session, feeds)
            outputs = one.first_call(feeds, case.feeds) if one.first_ms is None else one.session.infer(feeds)
            check_answer(outputs)
            ticker.alive()
        except Exception as fault:
            faults[key] = told(fault)
            continue
        calls[key] = call
    while calls:
        try:
            return _taken(job, calls, case.shape, ticker), faults
        except CallFailed as failed:
            faults[failed.key] = told(failed.__cause__ or failed)
            del calls[failed.key]
    return {}, faults


def _call(session: Session, feeds: dict[str, np.ndarray]) -> Callable[[], object]:
    return lambda: session.infer(feeds)


def _taken(job: LatencyJob, calls: Calls, shape: Shape, ticker: Ticker) -> dict[str, Measurement]:
    def prime(key: str) -> None:
        """An uncounted call fills the caches and wakes this model's threads; the other pools go to sleep before."""
        if shape.threads > 1:
            time.sleep(SETTLE_S)
        calls[key]()
        ticker.alive()

    more = Enough(job.seconds, job.most)
    warm, times = take(calls, job.samples, job.warmup, job.seed, prime, ticker, more)
    return {
        key: Measurement(
            metric="latency", unit="ms", samples=values, shape=shape,
            warmup_rounds=warm.rounds, stable=warm.stable[key] if job.warmup else None,
        )
        for key, values in times.items()
    }  # fmt: skip
