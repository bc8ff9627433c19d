"""Latency of several artifacts side by side: the same process, the same minute, in turns, so that drift hits all.

Before each timed call the same model is called once uncounted: an app calls one model again and again, so its weights
are in the caches as far as they fit, and not those of whoever had its turn before. The teacher is primed like the rest.
"""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

import targets
from benchmarks.clock import Clock, monotonic, timed_ms
from benchmarks.isolation import ChildCrash, Progress, one_line, run_isolated, tell_progress
from benchmarks.records import Measurement, Shape
from targets.base import Artifact, Record, Session, Signature
from targets.errors import BenchmarkError

CHILD = "benchmarks.latency:measure_here"
# Thread pools keep spinning for some ms after a call and would steal the next model's cores.
SETTLE_S = 0.01

Calls = Mapping[str, Callable[[], object]]


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
    """Measurements in the order of the cases. `failure` says why some, or all, are missing."""

    measurements: tuple[Measurement, ...] = ()
    failure: str | None = None


class Job(Record):
    """What one child process measures; all cases have the same thread count."""

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


class _CallFailed(Exception):
    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


def _nothing(key: str) -> None:
    pass


def interleave(
    calls: Calls,
    samples: int,
    warmup: int,
    clock: Clock = monotonic,
    seed: int = 0,
    prepare: Callable[[str], object] = _nothing,
    tick: Callable[[], object] = lambda: None,
) -> dict[str, tuple[float, ...]]:
    """`samples` wall times of each call, in ms, after `warmup` rounds that don't count.

    Each round runs every call once, in an order drawn anew from `seed`, so that neither drift nor a neighbour favours
    one. `prepare(key)` runs before each call and `tick()` after each round, outside of the timed span.
    """
    order = list(calls)
    shuffle = random.Random(seed).shuffle
    times: dict[str, list[float]] = {key: [] for key in calls}
    for round_index in range(warmup + samples):
        shuffle(order)
        for key in order:
            try:
                prepare(key)
                elapsed = timed_ms(calls[key], clock)
            except Exception as fault:
                raise _CallFailed(key) from fault
            if round_index >= warmup:
                times[key].append(elapsed)
        tick()
    return {key: tuple(values) for key, values in times.items()}


def measure_latency(
    subjects: Sequence[Subject],
    cases: Sequence[Case],
    samples: int,
    warmup: int,
    seed: int = 0,
    timeout_s: float = 1800.0,
    progress: Progress | None = None,
) -> dict[str, SubjectResult]:
    """Latency of each subject at each case, by key; one child process for each thread count, `timeout_s` for each.

    A subject that cannot be opened, does not take a case, fails or even crashes the process gets a `failure`; the
    others are measured.

    Raises:
        BenchmarkError: no samples asked for, a key or shape twice, a feeds file missing, or the time is up.
    """
    _check_request(subjects, cases, samples)
    parts = []
    for threads in dict.fromkeys(case.shape.threads for case in cases):
        mine = tuple(case for case in cases if case.shape.threads == threads)
        job = Job(subjects=tuple(subjects), cases=mine, samples=samples, warmup=warmup, seed=seed)
        parts.append(_measure_apart(job, timeout_s, progress))
    order = [case.shape for case in cases]
    return {subject.key: _merge([part[subject.key] for part in parts], order) for subject in subjects}


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
    measurements = [measurement for part in parts for measurement in part.measurements]
    reasons = dict.fromkeys(part.failure for part in parts if part.failure)
    return SubjectResult(
        measurements=tuple(sorted(measurements, key=lambda measurement: order.index(measurement.shape))),
        failure="; ".join(reasons) or None,
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
    ticker = Ticker(len(job.cases) * (job.warmup + job.samples))
    with ExitStack() as stack:
        opened, failures = _open_all(job, stack)
        for case in job.cases:
            times, faults = _measure_case(job, case, opened, ticker)
            for key, fault in faults.items():
                failures.setdefault(key, f"{_words(case.shape)}: {fault}")
            for key, values in times.items():
                measurements[key].append(
                    Measurement(metric="latency", unit="ms", samples=values, shape=case.shape),
                )
    results = {
        key: SubjectResult(measurements=tuple(taken), failure=failures.get(key)) for key, taken in measurements.items()
    }
    return {key: result.model_dump(mode="json") for key, result in results.items()}


Opened = dict[str, tuple[Session, Signature]]


def _open_all(job: Job, stack: ExitStack) -> tuple[Opened, dict[str, str]]:
    opened: Opened = {}
    failures: dict[str, str] = {}
    for subject in job.subjects:
        folder = Path(subject.folder)
        try:
            artifact = Artifact.read(folder / "artifact.json")
            if subject.settings is not None:
                artifact = artifact.model_copy(update={"settings": subject.settings})
            context = targets.load(artifact.target).open(artifact, folder, threads=job.cases[0].shape.threads)
            opened[subject.key] = (stack.enter_context(context), artifact.signature)
        except Exception as fault:  # any backend, any fault: it is this row's failure, and the report shows it
            failures[subject.key] = one_line(fault)
    return opened, failures


def _measure_case(
    job: Job, case: Case, opened: Opened, tick: Callable[[], object]
) -> tuple[dict[str, tuple[float, ...]], dict[str, str]]:
    from safetensors.numpy import load_file

    arrays: dict[str, np.ndarray] = load_file(case.feeds)
    faults: dict[str, str] = {}
    calls: dict[str, Callable[[], object]] = {}
    for key, (session, signature) in opened.items():
        feeds = signature.select(arrays)
        try:
            signature.check(feeds)
        except Exception as fault:
            faults[key] = one_line(fault)
            continue
        calls[key] = _call(session, feeds)
    while calls:
        try:
            return _without_collector(job, calls, case.shape.threads, tick), faults
        except _CallFailed as failed:
            faults[failed.key] = one_line(failed.__cause__ or failed)
            del calls[failed.key]
    return {}, faults


def _call(session: Session, feeds: dict[str, np.ndarray]) -> Callable[[], object]:
    return lambda: session.infer(feeds)


def _without_collector(
    job: Job, calls: Calls, threads: int, tick: Callable[[], object]
) -> dict[str, tuple[float, ...]]:
    """A collection of Python's garbage inside a timed call would be charged to whoever runs just then."""
    gc.collect()
    gc.disable()

    def prime(key: str) -> None:
        """An uncounted call fills the caches and wakes this model's threads; the other pools go to sleep before."""
        if threads > 1:
            time.sleep(SETTLE_S)
        calls[key]()

    try:
        return interleave(calls, job.samples, job.warmup, seed=job.seed, prepare=prime, tick=tick)
    finally:
        gc.enable()


def _words(shape: Shape) -> str:
    sequence = "" if shape.sequence is None else f", sequence {shape.sequence}"
    return f"batch {shape.batch}{sequence}, {shape.threads} thread{'s' if shape.threads > 1 else ''}"
