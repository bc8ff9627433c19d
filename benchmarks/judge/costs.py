"""What a measured row is told beside metrics and latency: costs, limits, larger batches, other processors, loads."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from edgepress import targets
from edgepress.benchmarks.judge.answers import artifact_logits
from edgepress.benchmarks.judge.rows import RowSource, TargetRows
from edgepress.benchmarks.measure.cases import write_case
from edgepress.benchmarks.measure.environment import environment, lacks_vnni
from edgepress.benchmarks.measure.footprint import STARTS, measure_footprint
from edgepress.benchmarks.measure.jobs import Case
from edgepress.benchmarks.measure.roofline import roofline
from edgepress.benchmarks.measure.scenarios import ScenarioJob, run_scenario
from edgepress.benchmarks.metrics import metric
from edgepress.benchmarks.metrics.base import value_of
from edgepress.benchmarks.records.costs import BatchCheck, Footprint, IsaCheck, MachinePeak
from edgepress.benchmarks.records.report import LatencyRow, Row
from edgepress.benchmarks.records.scenarios import ScenarioName, ScenarioResult, Shape
from edgepress.targets.errors import EdgepressError
from edgepress.targets.records import Artifact, MacCount

LARGE_BATCH = 32
NO_VNNI = "AVX2 without VNNI"
SWITCH = (
    "our sessions keep their sums whole by session.x64quantprecision (settings.saturate is false): give it to your own "
    "InferenceSession, or the sums are cut off"
)


def with_costs(
    row: Row,
    source: RowSource,
    logits: np.ndarray,
    cases: Sequence[Case],
    shared: TargetRows,
    peaks: Sequence[MachinePeak],
) -> Row:
    """`row` with all that is taken of an artifact that runs here. The teacher and the chosen one are started three
    times and run under the loads that are asked for; the others are started once.

    Args:
        row: the artifact's row so far.
        source: where the artifact lies.
        logits: its answers to the test rows, `[rows, classes]`.
        cases: the shapes that were timed, with their inputs; loads run at the last one.
        shared: what the rows of its target have in common.
        peaks: limits of this machine by target and threads.
    """
    assert source.folder is not None  # it was measured
    artifact = Artifact.read(source.folder / Artifact.FILE_NAME)
    asked = shared.desk.options
    shown = row.chosen or source is shared.teacher
    found: dict[str, Any] = {
        "latency": _with_limits(row.latency, artifact, source.folder, cases, peaks),
        "footprint": measure_footprint(
            source.folder, Path(cases[0].feeds), cases[0].shape.threads, asked.time_limit_s, STARTS if shown else 1
        ),
        "batch_check": batch_check(source.folder, artifact, logits, shared),
        "isa_checks": isa_checks(artifact, source.folder, row.primary.value if row.primary else None),
    }
    if shown:
        found["footprint"] = with_zeros(found["footprint"], artifact, source.folder)
        found["scenarios"] = tuple(_under_load(name, source, cases[-1].shape, shared) for name in asked.scenarios)
    return row.model_copy(update=found)


def with_zeros(footprint: Footprint, artifact: Artifact, folder: Path) -> Footprint:
    """The footprint with the zeros among the artifact's weights, and what they bring in time on its target."""
    target = targets.of(artifact)
    return footprint.model_copy(update={"weights": target.zeros(artifact, folder), "zeros_note": target.zeros_note})


def _with_limits(
    latency: Sequence[LatencyRow], artifact: Artifact, folder: Path, cases: Sequence[Case], peaks: Sequence[MachinePeak]
) -> tuple[LatencyRow, ...]:
    """Each shape with the machine's limit for it, where target and peaks tell one."""
    feeds = {case.shape: case.feeds for case in cases}
    counts: dict[str, MacCount | None] = {}
    rows = []
    for one in latency:
        peak = next((p for p in peaks if (p.target, p.threads) == (artifact.target, one.threads)), None)
        path, limit = feeds[one.shape], None
        if peak is not None:
            if path not in counts:
                counts[path] = _macs(artifact, folder, path)
            if (count := counts[path]) is not None:
                limit = roofline(count, peak, one.p50)
        rows.append(one.model_copy(update={"roofline": limit}))
    return tuple(rows)


def _macs(artifact: Artifact, folder: Path, feeds: str) -> MacCount | None:
    """None where the graph multiplies in an operator that cannot be counted: the row then has no limit."""
    try:
        return targets.of(artifact).macs(artifact, folder, artifact.signature.select(load_file(feeds)))
    except EdgepressError:
        return None


AGREEMENTS = ("token-agreement", "next-token-agreement", "pixel-agreement", "span-agreement")
"""Metrics that compare the classes of a row's parts: tokens, pixels, windows."""


def batch_check(folder: Path, artifact: Artifact, logits: np.ndarray, shared: TargetRows) -> BatchCheck | None:
    """The test rows in batches of 32, or one by one where 32 is what was measured; None where only one size fits.

    Args:
        folder: of the artifact.
        artifact: what the folder says of itself.
        logits: its answers on the test rows in the batch that was measured, `[rows, classes]`.
        shared: the test rows and the desk, which all rows of the target share.
    """
    measured = shared.desk.options.batches[0]
    low, high = artifact.signature.bounds.get("batch", (measured, measured))
    other = min(LARGE_BATCH, high) if measured != min(LARGE_BATCH, high) else low
    if other == measured:
        return None
    desk = shared.desk
    title = f"{desk.stage}: testing {artifact.name} in batches of {other}"
    again = artifact_logits(folder, shared.test, desk, title, size=other)
    by_part = next((key for key in AGREEMENTS if key in desk.metrics), None)
    return BatchCheck(
        batch=other,
        value=_known(_value(desk.metrics[0], shared.test.labels, again)),
        agreement=same_answers(logits, again, "agreement" if desk.class_names else by_part),
    )


def _known(value: float) -> float | None:
    """None where the metric has no value."""
    return None if math.isnan(value) else value


def same_answers(outputs: np.ndarray, again: np.ndarray, agreement: str | None) -> float:
    """The share of rows, tokens or places with the same class; or of rows whose numbers are within 1 % of their
    deviation.

    Args:
        outputs: `[rows, ...]`.
        again: of the same rows.
        agreement: the metric that compares classes; None where the outputs are no classes.

    >>> same_answers(np.array([[0.0], [10.0]]), np.array([[0.01], [11.0]]), None)
    0.5
    """
    if agreement is not None:
        return _value(agreement, outputs, again)
    near = np.abs(outputs - again) <= 0.01 * outputs.std()
    return float(near.reshape(len(near), -1).all(-1).mean())


def _value(key: str, truth: np.ndarray, answers: np.ndarray) -> float:
    return value_of(metric(key), metric(key).counts(truth, answers))


def isa_checks(artifact: Artifact, folder: Path, value: float | None) -> tuple[IsaCheck, ...]:
    """What the weights prove of processors without VNNI. No runtime here has a switch for its instruction set, so the
    `value` that was measured, of the primary metric, is that of such a processor only where this is one."""
    share = targets.of(artifact).saturating(artifact, folder)
    if share is None:
        return ()
    note = "" if share == 0 else f"; {SWITCH}"
    if lacks_vnni(environment()["isa"]):
        note = f"measured: this processor is one{note}"
        return (IsaCheck(isa=NO_VNNI, saturating=share, value=value, note=note),)
    return (IsaCheck(isa=NO_VNNI, saturating=share, note=f"accuracy there is not measured{note}"),)


def _under_load(name: ScenarioName, source: RowSource, shape: Shape, shared: TargetRows) -> ScenarioResult:
    """One load at the longest shape; a fault is its result."""
    desk, asked = shared.desk, shared.desk.options
    assert source.folder is not None
    if name == "offline":
        artifact = Artifact.read(source.folder / Artifact.FILE_NAME)
        highest = artifact.signature.bounds.get("batch", (1, 1))[1]
        shape = shape.model_copy(update={"batch": min(asked.offline_batch, highest)})
    case = write_case(desk, shape, desk.cases)
    request = ScenarioJob(
        scenario=name, folder=str(source.folder), feeds=case.feeds, shape=shape, seconds=asked.seconds,
        latency_bound_ms=asked.latency_bound_ms, seed=desk.seed,
    )  # fmt: skip
    try:
        return run_scenario(request)
    except EdgepressError as fault:
        return ScenarioResult(
            scenario=name, shape=shape, value=None, unit="", samples=0, meaning="", failure=str(fault)
        )
