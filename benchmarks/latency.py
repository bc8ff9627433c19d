"""Latency of several artifacts side by side: the same process, the same minute, in turns, so that drift hits all.

Before each timed call the same model is called once uncounted: an app calls one model again and again, so its weights
are in the caches as far as they fit, and not those of whoever had its turn before. The teacher is primed like the rest.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import targets
from benchmarks.clock import monotonic, timed_ms
from benchmarks.records import Measurement, Shape
from benchmarks.turns import CallFailed, Calls, interleave, shared_out, warm_up
from targets.base import Artifact, Record, Session, Signature
from targets.errors import BenchmarkError
from targets.isolation import ChildCrash, Progress, one_line, run_isolated, tell_progress

CHILD = "benchmarks.latency:measure_here"
# Thread pools keep spinning for some ms after a call and would steal the next model's cores.
SETTLE_S = 0.01


class Subject(Record):
    """An exported artifact to measure: the `folder` that holds artifact.json. `settings` replace the artifact's own."""

    key: str
    folder: str
    settings: dict[str, Any] | None = None


class Case(Record):
    """One shape, and the .safetensors file of the input arrays that have it. A subject gets those inputs it takes."""

    shape: Shape
    feeds: str


class SubjectResult(Record):
    """Measurements in the order of the cases. `failure` says why some, or all, are missing.

    `open_ms`: opening the session, its files' checksums included, with the target's packages loaded before.
    `first_inference_ms`: the first call after that. Both are of the first thread count.
    """

    measurements: tuple[Measurement, ...] = ()
    failure: str | None = None
    open_ms: float | None = None
    first_inference_ms: float | None = None


class Job(Record):
    """What one child process measures; all cases have the same thread count. `warmup`: rounds in one window."""

    subjects: tuple[Subject, ...]
    cases: tuple[Case, ...]
    samples: int
    warmup: int
    seed: int


class Ticker:
    """Counts rounds and tells the parent twice a second, so that telling costs nothing beside the measurement."""

    def __init__(self, total: int) -> None:
        self.done, self.total, self.told = 0, total, 0.0

    def __call__(self) -> None:
        self.done += 1
        if time.monotonic() - self.told > 0.5:
            self.told = time.monotonic()
            tell_progress(self.done, self.total)


def measure_latency(
    subjects: Sequence[Subject],
    cases: Sequence[Case],
    samples: int,
    warmup: int,
    seed: int = 0,
    timeout_s: float = 1800.0,
    progress: Progress | None = None,
) -> dict[str, SubjectResult]:
    """Latency of each subject at each case, by key; up to five child processes for each thread count, `timeout_s` for
    each of them.

    `warmup` is the length of a window of the warm-up in rounds; 0 measures without one.

    A subject that cannot be opened, does not take a case, fails or even crashes the process gets a `failure`; the
    others are measured.

    Raises:
        BenchmarkError: no samples asked for, a key or shape twice, a feeds file missing, or the time is up.
    """
    _check_request(subjects, cases, samples)
    parts = []
    for threads in dict.fromkeys(case.shape.threads for case in cases):
        mine = tuple(case for case in cases if case.shape.threads == threads)
        for sitting, rounds in enumerate(shared_out(samples)):
            # The first to be opened has another memory than the last: the order changes with each sitting.
            order = tuple(subjects) if sitting % 2 == 0 else tuple(reversed(subjects))
            job = Job(subjects=order, cases=mine, samples=rounds, warmup=warmup, seed=seed + sitting)
            parts.append(_measure_apart(job, timeout_s, progress))
    shapes = [case.shape for case in cases]
    return {subject.key: _merge([part[subject.key] for part in parts], shapes) for subject in subjects}


def _check_request(subjects: Sequence[Subject], cases: Sequence[Case], samples: int) -> None:
    if samples < 1:
        raise BenchmarkError(f"latency needs at least 1 sample, got {samples}")
    keys = [subject.key for subject in subjects]
    if twice := sorted({key for key in keys if keys.count(key) > 1}):
        raise BenchmarkError(f"two subjects have the key {twice[0]!r}; give each row a key of its own")
    shapes = [case.shape for case in cases]
    if len(set(shapes)) < len(shapes):
        raise BenchmarkError("two cases have the same batch, sequence and threads; measure each shape once")
    for case in cases:
        if not Path(case.feeds).is_file():
            raise BenchmarkError(f"{case.feeds} is missing; write the inputs of {_words(case.shape)} there first")


def _merge(parts: list[SubjectResult], order: list[Shape]) -> SubjectResult:
    found = [measurement for part in parts for measurement in part.measurements]
    measurements = [_joined([one for one in found if one.shape == shape]) for shape in {one.shape for one in found}]
    reasons = dict.fromkeys(part.failure for part in parts if part.failure)
    return SubjectResult(
        measurements=tuple(sorted(measurements, key=lambda measurement: order.index(measurement.shape))),
        failure="; ".join(reasons) or None,
        open_ms=next((part.open_ms for part in parts if part.open_ms is not None), None),
        first_inference_ms=next((p.first_inference_ms for p in parts if p.first_inference_ms is not None), None),
    )


def _joined(sittings: list[Measurement]) -> Measurement:
    """The measurements of one shape in all sittings as one; stable where each sitting was."""
    verdicts = [one.stable for one in sittings]
    return sittings[0].model_copy(
        update={
            "samples": tuple(sample for one in sittings for sample in one.samples),
            "warmup_rounds": sum(one.warmup_rounds for one in sittings),
            "stable": None if None in verdicts else all(verdicts),
        }
    )


def _measure_apart(job: Job, timeout_s: float, progress: Progress | None = None) -> dict[str, SubjectResult]:
    try:
        return _in_child(job, timeout_s, progress)
    except ChildCrash as crash:
        # Some subject took the process down. Each runs once alone, then the sound ones are measured together.
        trial = job.model_copy(update={"samples": 1, "warmup": 0})
        crashes = {subject.key: _crash_alone(trial, subject, timeout_s) for subject in job.subjects}
        sound = tuple(subject for subject in job.subjects if crashes[subject.key] is None)
        if len(sound) == len(job.subjects):
            raise crash
    results = {key: SubjectResult(failure=reason) for key, reason in crashes.items() if reason is not None}
    return results | (_measure_apart(job.model_copy(update={"subjects": sound}), timeout_s, progress) if sound else {})


def _crash_alone(trial: Job, subject: Subject, timeout_s: float) -> str | None:
    try:
        _in_child(trial.model_copy(update={"subjects": (subject,)}), timeout_s)
    except ChildCrash as crash:
        return str(crash)
    return None


def _in_child(job: Job, timeout_s: float, progress: Progress | None = None) -> dict[str, SubjectResult]:
    answer = run_isolated(CHILD, job.model_dump(mode="json"), timeout_s, job.cases[0].shape.threads, progress)
    return {key: SubjectResult.model_validate(value) for key, value in answer.items()}


def measure_here(request: dict[str, Any]) -> dict[str, Any]:
    """The child's side of `measure_latency`: a Job as JSON in, SubjectResults by key as JSON out."""
    job = Job.model_validate(request)
    measurements: dict[str, list[Measurement]] = {subject.key: [] for subject in job.subjects}
    ticker = Ticker(len(job.cases) * job.samples)
    with ExitStack() as stack:
        opened, failures = _open_all(job, stack)
        for case in job.cases:
            taken, faults = _measure_case(job, case, opened, ticker)
            for key, fault in faults.items():
                failures.setdefault(key, f"{_words(case.shape)}: {fault}")
            for key, measurement in taken.items():
                measurements[key].append(measurement)
    results = {}
    for key, mine in measurements.items():
        times = {"open_ms": opened[key].open_ms, "first_inference_ms": opened[key].first_ms} if key in opened else {}
        results[key] = SubjectResult(measurements=tuple(mine), failure=failures.get(key), **times)
    return {key: result.model_dump(mode="json") for key, result in results.items()}


@dataclass
class _Opened:
    """A session that is open, and its cold start in ms."""

    session: Session
    signature: Signature
    open_ms: float
    first_ms: float | None = None


def _open_all(job: Job, stack: ExitStack) -> tuple[dict[str, _Opened], dict[str, str]]:
    opened: dict[str, _Opened] = {}
    failures: dict[str, str] = {}
    loaded: set[str] = set()
    for subject in job.subjects:
        folder = Path(subject.folder)
        try:
            artifact = Artifact.read(folder / "artifact.json")
            if subject.settings is not None:
                artifact = artifact.model_copy(update={"settings": subject.settings})
            open_session = _opener(artifact, folder, job.cases[0].shape.threads)
            if artifact.target not in loaded:
                # The first session of a target loads its packages, which is no property of the artifact.
                with open_session():
                    loaded.add(artifact.target)
            start = monotonic()
            session = stack.enter_context(open_session())
            opened[subject.key] = _Opened(session, artifact.signature, (monotonic() - start) / 1e6)
        except Exception as fault:  # any backend, any fault: it is this row's failure, and the report shows it
            failures[subject.key] = one_line(fault)
    return opened, failures


def _opener(artifact: Artifact, folder: Path, threads: int) -> Callable[[], AbstractContextManager[Session]]:
    target = targets.load(artifact.target)
    return lambda: target.open(artifact, folder, threads=threads)


def _measure_case(
    job: Job, case: Case, opened: dict[str, _Opened], tick: Callable[[], object]
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
            if one.first_ms is None:
                one.first_ms = timed_ms(call)
        except Exception as fault:
            faults[key] = one_line(fault)
            continue
        calls[key] = call
    while calls:
        try:
            return _without_collector(job, calls, case.shape, tick), faults
        except CallFailed as failed:
            faults[failed.key] = one_line(failed.__cause__ or failed)
            del calls[failed.key]
    return {}, faults


def _call(session: Session, feeds: dict[str, np.ndarray]) -> Callable[[], object]:
    return lambda: session.infer(feeds)


def _without_collector(job: Job, calls: Calls, shape: Shape, tick: Callable[[], object]) -> dict[str, Measurement]:
    """A collection of Python's garbage inside a timed call would be charged to whoever runs just then."""
    gc.collect()
    gc.disable()

    def prime(key: str) -> None:
        """An uncounted call fills the caches and wakes this model's threads; the other pools go to sleep before."""
        if shape.threads > 1:
            time.sleep(SETTLE_S)
        calls[key]()

    try:
        warm = warm_up(calls, job.warmup, seed=job.seed, prepare=prime)
        times = interleave(calls, job.samples, seed=job.seed, prepare=prime, tick=tick)
    finally:
        gc.enable()
    return {
        key: Measurement(
            metric="latency", unit="ms", samples=values, shape=shape,
            warmup_rounds=warm.rounds, stable=warm.stable[key] if job.warmup else None,
        )
        for key, values in times.items()
    }  # fmt: skip


def _words(shape: Shape) -> str:
    sequence = "" if shape.sequence is None else f", sequence {shape.sequence}"
    return f"batch {shape.batch}{sequence}, {shape.threads} thread{'s' if shape.threads > 1 else ''}"
