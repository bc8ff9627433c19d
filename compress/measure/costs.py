"""What a measured row is told beside accuracy and latency: costs, limits, larger batches, other processors, loads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from edgepress.benchmarks.measure.environment import environment, lacks_vnni
from edgepress.benchmarks.measure.footprint import STARTS, measure_footprint
from edgepress.benchmarks.measure.jobs import Case
from edgepress.benchmarks.measure.roofline import roofline
from edgepress.benchmarks.measure.scenarios import Load, run_scenario
from edgepress.benchmarks.metrics import metric
from edgepress.benchmarks.metrics.base import value_of
from edgepress.benchmarks.records.costs import BatchCheck, IsaCheck, MachinePeak
from edgepress.benchmarks.records.report import LatencyRow, Row
from edgepress.benchmarks.records.scenarios import ScenarioName, ScenarioResult, Shape
from edgepress.compress.measure.answers import artifact_logits, write_case
from edgepress.compress.measure.rows import Entrant, Lineup
from edgepress.targets import load
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
    entrant: Entrant,
    logits: np.ndarray,
    cases: Sequence[Case],
    lineup: Lineup,
    peaks: Sequence[MachinePeak],
) -> Row:
    """`row` with all that is taken of an artifact that runs here. The teacher and the chosen one are started three
    times and bear the loads; the others are started once."""
    assert entrant.folder is not None  # it was measured
    artifact = Artifact.read(entrant.folder / Artifact.FILE_NAME)
    asked = lineup.context.recipe.benchmark
    shown = row.chosen or entrant is lineup.teacher
    found: dict[str, Any] = {
        "latency": _with_limits(row.latency, artifact, entrant.folder, cases, peaks),
        "footprint": measure_footprint(
            entrant.folder, Path(cases[0].feeds), cases[0].shape.threads, asked.time_limit_s, STARTS if shown else 1
        ),
        "batch_check": batch_check(entrant.folder, artifact, logits, lineup),
        "isa_checks": isa_checks(artifact, entrant.folder, row.primary.value if row.primary else None),
    }
    if shown:
        found["scenarios"] = tuple(_bear(name, entrant, cases[-1].shape, lineup) for name in asked.scenarios)
    return row.model_copy(update=found)


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
        return load(artifact.target).macs(artifact, folder, artifact.signature.select(load_file(feeds)))
    except EdgepressError:
        return None


def batch_check(folder: Path, artifact: Artifact, logits: np.ndarray, lineup: Lineup) -> BatchCheck | None:
    """The test rows in batches of 32, or one by one where 32 is what was measured; None where only one size fits."""
    measured = lineup.context.recipe.benchmark.batches[0]
    low, high = artifact.signature.bounds.get("batch", (measured, measured))
    other = min(LARGE_BATCH, high) if measured != min(LARGE_BATCH, high) else low
    if other == measured:
        return None
    context = lineup.context
    title = f"{context.stage}: testing {artifact.name} in batches of {other}"
    again = artifact_logits(folder, lineup.test, context, title, size=other)
    return BatchCheck(
        batch=other,
        value=_value(context.metrics[0], lineup.test.labels, again),
        agreement=_value("agreement", logits, again),
    )


def _value(key: str, truth: np.ndarray, answers: np.ndarray) -> float:
    return value_of(metric(key), metric(key).counts(truth, answers))


def isa_checks(artifact: Artifact, folder: Path, value: float | None) -> tuple[IsaCheck, ...]:
    """What the weights prove of processors without VNNI. No runtime here has a switch for its instruction set, so the
    `value` that was measured, of the primary metric, is that of such a processor only where this is one."""
    share = load(artifact.target).saturating(artifact, folder)
    if share is None:
        return ()
    note = "" if share == 0 else f"; {SWITCH}"
    if lacks_vnni(environment()["isa"]):
        note = f"measured: this processor is one{note}"
        return (IsaCheck(isa=NO_VNNI, saturating=share, value=value, note=note),)
    return (IsaCheck(isa=NO_VNNI, saturating=share, note=f"accuracy there is not measured{note}"),)


def _bear(name: ScenarioName, entrant: Entrant, shape: Shape, lineup: Lineup) -> ScenarioResult:
    """One load at the longest shape; a fault is its result."""
    context, asked = lineup.context, lineup.context.recipe.benchmark
    assert entrant.folder is not None
    if name == "offline":
        highest = entrant.model.signature.bounds.get("batch", (1, 1))[1]
        shape = shape.model_copy(update={"batch": min(asked.offline_batch, highest)})
    case = write_case(context, shape, context.cache_folder / "cases" / context.calibration.digest[:24])
    request = Load(
        scenario=name, folder=str(entrant.folder), feeds=case.feeds, shape=shape, seconds=asked.seconds,
        latency_bound_ms=asked.latency_bound_ms, seed=context.seed,
    )  # fmt: skip
    try:
        return run_scenario(request)
    except EdgepressError as fault:
        return ScenarioResult(
            scenario=name, shape=shape, value=None, unit="", samples=0, meaning="", failure=str(fault)
        )
