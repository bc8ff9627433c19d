"""Latency of artifacts with the settings of their sessions, and which settings are the fastest here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from edgepress import targets
from edgepress.benchmarks.desk import Desk
from edgepress.benchmarks.measure.jobs import Case, Subject, SubjectResult
from edgepress.benchmarks.measure.latency import measure_latency
from edgepress.benchmarks.records.report import Measurement
from edgepress.targets.device.turns import ENOUGH_S
from edgepress.targets.progress import follow
from edgepress.targets.records import Artifact


def time_all(
    exported: Mapping[str, Path], cases: Sequence[Case], desk: Desk, title: str, enough_s: float = ENOUGH_S
) -> dict[str, SubjectResult]:
    """Latency of each artifact with its recorded settings, interleaved, in processes of their own.

    Args:
        exported: key of each artifact -> its folder.
        cases: the shapes, with their inputs.
        desk: says how many samples, and hears of progress.
        title: of the task that the user sees.
        enough_s: seconds that a process gives cheap models for more samples than are asked for; 0: none.

    Returns:
        What each key gave; a failed one says why.
    """
    options = desk.options
    subjects = [Subject(key=key, folder=str(folder), settings=None) for key, folder in exported.items()]
    with desk.task(title) as advance:
        return measure_latency(
            subjects, cases, options.samples, options.warmup, desk.seed, progress=follow(advance),
            silence_s=options.time_limit_s, enough_s=enough_s,
        )  # fmt: skip


def choose_settings(folders: Mapping[str, Path], cases: Sequence[Case], desk: Desk) -> None:
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
    samples = max(11, desk.options.samples // 3)
    with desk.task(f"{desk.stage}: choosing session settings") as advance:
        results = measure_latency(
            subjects, cases, samples, desk.options.warmup, desk.seed, progress=follow(advance),
            silence_s=desk.options.time_limit_s,
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
