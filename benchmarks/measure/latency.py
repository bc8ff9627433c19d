"""Latency of several artifacts side by side: the same process, the same minute, in turns, so that drift hits all.

Before each timed call the same model is called once uncounted: an app calls one model again and again, so its weights
are in the caches as far as they fit, and not those of whoever had its turn before. The teacher is primed like the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from edgepress.benchmarks.measure.jobs import Case, LatencyJob, Subject, SubjectResult
from edgepress.benchmarks.records.report import Measurement, Shape
from edgepress.benchmarks.report.wording import shape_words
from edgepress.targets.device.turns import ENOUGH_S, MOST, shared_out
from edgepress.targets.errors import BenchmarkError
from edgepress.targets.process.isolation import ChildCrash, ChildHang, Progress, run_isolated

CHILD = "edgepress.benchmarks.measure.timing:measure_pinned"
# No call of a model for the edge takes so long; one that does not answer for so long hangs.
SILENCE_S = 120.0


class TimeLimits(NamedTuple):
    """How long one process may take in all, and how long without finishing a round, in s."""

    timeout_s: float
    silence_s: float


def measure_latency(
    subjects: Sequence[Subject],
    cases: Sequence[Case],
    samples: int,
    warmup: int,
    seed: int = 0,
    timeout_s: float = 1800.0,
    progress: Progress | None = None,
    silence_s: float = SILENCE_S,
    enough_s: float = ENOUGH_S,
) -> dict[str, SubjectResult]:
    """Latency of each subject at each case, by key; up to six child processes for each thread count, `timeout_s` for
    each of them, `silence_s` for a call in it.

    `warmup` is the length of a window of the warm-up in rounds; 0 measures without one. `samples` are the least: where
    calls are cheap, each process goes on until `enough_s` are over, up to 2,000 samples in all.

    A subject that cannot be opened, does not take a case, fails, hangs or even crashes the process gets a `failure`;
    the others are measured.

    Args:
        subjects: artifacts to time, each with a key of its own.
        cases: shapes, thread counts and the files of their inputs.
        seed: of the order of the calls in each round.
        progress: is told how far it is; None tells nobody.

    Raises:
        BenchmarkError: no samples asked for, a key or shape twice, a feeds file missing, or the time is up.
    """
    _check_request(subjects, cases, samples)
    parts = []
    for threads in dict.fromkeys(case.shape.threads for case in cases):
        mine = tuple(case for case in cases if case.shape.threads == threads)
        sittings = shared_out(samples)
        for sitting, rounds in enumerate(sittings):
            # The first to be opened has another memory than the last: the order changes with each sitting.
            order = tuple(subjects) if sitting % 2 == 0 else tuple(reversed(subjects))
            job = LatencyJob(
                subjects=order, cases=mine, samples=rounds, warmup=warmup, seed=seed + sitting, seconds=enough_s,
                most=MOST // len(sittings),
            )  # fmt: skip
            parts.append(_measure_apart(job, TimeLimits(timeout_s, silence_s), progress))
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
            raise BenchmarkError(f"{case.feeds} is missing; write the inputs of {shape_words(case.shape)} there first")


def _merge(parts: list[SubjectResult], order: list[Shape]) -> SubjectResult:
    found = [measurement for part in parts for measurement in part.measurements]
    measurements = [_joined([one for one in found if one.shape == shape]) for shape in {one.shape for one in found}]
    reasons = dict.fromkeys(part.failure for part in parts if part.failure)
    return SubjectResult(
        measurements=tuple(sorted(measurements, key=lambda measurement: order.index(measurement.shape))),
        failure="; ".join(reasons) or None,
        absent=any(part.absent for part in parts),
        open_ms=next((part.open_ms for part in parts if part.open_ms is not None), None),
        first_inference_ms=next((p.first_inference_ms for p in parts if p.first_inference_ms is not None), None),
        opened=next((part.opened for part in parts if part.opened is not None), None),
    )


def _joined(sittings: list[Measurement]) -> Measurement:
    """The measurements of one shape in all sittings as one; stable where each sitting was."""
    verdicts = [one.stable for one in sittings]
    return sittings[0].model_copy(
        update={
            "samples": tuple(sample for one in sittings for sample in one.samples),
            "sittings": tuple(len(one.samples) for one in sittings) if len(sittings) > 1 else (),
            "warmup_rounds": sum(one.warmup_rounds for one in sittings),
            "stable": None if None in verdicts else all(verdicts),
        }
    )


def _measure_apart(job: LatencyJob, limits: TimeLimits, progress: Progress | None = None) -> dict[str, SubjectResult]:
    try:
        return _in_child(job, limits, progress)
    except (ChildCrash, ChildHang) as fault:
        # Some subject took the process down. Each runs once alone, then the sound ones are measured together.
        trial = job.model_copy(update={"samples": 1, "warmup": 0, "seconds": 0.0})
        faults = {subject.key: _fault_alone(trial, subject, limits) for subject in job.subjects}
        sound = tuple(subject for subject in job.subjects if faults[subject.key] is None)
        if len(sound) == len(job.subjects):
            raise fault
    results = {key: SubjectResult(failure=reason) for key, reason in faults.items() if reason is not None}
    return results | (_measure_apart(job.model_copy(update={"subjects": sound}), limits, progress) if sound else {})


def _fault_alone(trial: LatencyJob, subject: Subject, limits: TimeLimits) -> str | None:
    try:
        _in_child(trial.model_copy(update={"subjects": (subject,)}), limits)
    except (ChildCrash, ChildHang) as fault:
        return str(fault)
    return None


def _in_child(job: LatencyJob, limits: TimeLimits, progress: Progress | None = None) -> dict[str, SubjectResult]:
    request, threads = job.model_dump(mode="json"), job.cases[0].shape.threads
    answer = run_isolated(CHILD, request, limits.timeout_s, threads, progress, silence_s=limits.silence_s)
    return {key: SubjectResult.model_validate(value) for key, value in answer.items()}
