"""What changed from one report to another: targets, stages and gates, regressions first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal

from pydantic import Field

from edgepress.benchmarks.judge.conditions import remarks, same_machine
from edgepress.benchmarks.metrics.base import Unit as MetricUnit
from edgepress.benchmarks.records.costs import Footprint
from edgepress.benchmarks.records.figures import Figure, primary_of
from edgepress.benchmarks.records.report import (
    WITH_ARTIFACT,
    Figures,
    GateVerdict,
    LatencyRow,
    Report,
    Row,
    Shape,
    StageRow,
)
from edgepress.benchmarks.report.wording import gate_text
from edgepress.targets.records import Record

Unit = MetricUnit | Literal["ms", "bytes", "count", "text"]
Effect = Literal["regression", "not judged", "changed", "improvement", "within limits", "unchanged"]
ORDER: tuple[Effect, ...] = ("regression", "not judged", "changed", "improvement", "within limits", "unchanged")
# A threshold that is met exactly is kept: 0.9 - 0.895 is more than 0.005 in binary.
ROUNDING = 1e-9
ABSENT = "absent"


class RegressionLimits(Record):
    """By how much a figure may get worse; what is more is a regression."""

    drop: float = Field(default=0.005, ge=0, description="loss of the primary metric, in its unit; 0.005: half a point")
    latency_rise: float = Field(default=0.05, ge=0, description="rise of p50, as a share of the old one")
    bytes_rise: float = Field(default=0.01, ge=0, description="rise of the bytes, as a share of the old ones")


class Change(Record):
    """One figure in both reports; `before` or `after` is None where it was not taken."""

    place: str = Field(description="target and artifact, or stage, that the figure belongs to")
    figure: str = Field(description="name of the figure, with its shape")
    unit: Unit = Field(description="how before and after are written; a share is 0..1")
    before: float | str | None = Field(description="in the first report")
    after: float | str | None = Field(description="in the second report")
    effect: Effect = Field(description="what the change means, by the limits")


class Difference(Record):
    """Two reports side by side."""

    before: str = Field(description="what the first report is called")
    after: str = Field(description="what the second report is called")
    limits: RegressionLimits = Field(description="what counted as a regression")
    metric: Figure | None = Field(default=None, description="a figure of the primary metric, for its name and unit")
    remarks: tuple[str, ...] = Field(description="machines, packages or data that differ, one line each")
    changes: tuple[Change, ...] = Field(description="every figure that either has, regressions first")

    @property
    def regressions(self) -> tuple[Change, ...]:
        return tuple(change for change in self.changes if change.effect == "regression")


def difference(
    before: Report, after: Report, limits: RegressionLimits | None = None, names: tuple[str, str] = ("", "")
) -> Difference:
    """Compare two reports: chosen artifact of each target, other rows, teacher, stages and gates.

    p50 is judged only where both reports are of the same machine.

    Args:
        before: the report that is held to be good.
        after: the report that is judged.
        limits: what counts as a regression.
        names: what to call the two; empty ones become the names of the runs.
    """
    limits = limits or RegressionLimits()
    judge = _Judge(limits, same_machine=same_machine(before, after))
    changes = [
        *_targets(before, after, judge),
        *_gates(before.gates, after.gates),
        *_stages(before.stages, after.stages, judge),
        *_teacher(before.teacher, after.teacher),
        *_other_rows(before, after),
    ]
    taken = [change for change in changes if change.before is not None or change.after is not None]
    return Difference(
        before=names[0] or before.name,
        after=names[1] or after.name,
        limits=limits,
        metric=before.primary or after.primary,
        remarks=tuple(remarks(before, after)),
        changes=tuple(sorted(taken, key=lambda change: ORDER.index(change.effect))),
    )


class _Judge:
    """Turns two values into a Change."""

    def __init__(self, limits: RegressionLimits, same_machine: bool) -> None:
        self._limits = limits
        self._same_machine = same_machine

    def metrics(self, place: str, before: Iterable[Figure], after: Iterable[Figure]) -> Iterator[Change]:
        """Every metric that either side has; the primary one is judged, where it is primary in both."""
        old, new = ({figure.key: figure for figure in figures} for figures in (before, after))
        for key in dict.fromkeys((*old, *new)):
            one, other = old.get(key), new.get(key)
            kind = one or other
            assert kind is not None  # the key is of one of them
            judged = kind.primary and (one is None or other is None or one.primary == other.primary)
            effect = _drop(one, other, self._limits.drop) if judged else "changed"
            yield _judged(place, kind.name, kind.unit, _value(one), _value(other), effect)

    def bytes(self, place: str, before: float | None, after: float | None) -> Change:
        return _judged(place, "bytes", "bytes", before, after, _rise(before, after, self._limits.bytes_rise))

    def latency(self, place: str, before: Iterable[LatencyRow], after: Iterable[LatencyRow]) -> Iterator[Change]:
        """p50 of each shape. A shape that only one report has is a change; no shape at all any more is a loss."""
        old, new = ({row.shape: row.p50 for row in rows} for rows in (before, after))
        for shape in dict.fromkeys((*old, *new)):
            one, other = old.get(shape), new.get(shape)
            effect = _rise(one, other, self._limits.latency_rise)
            if (one is None or other is None) and new:
                effect = "changed"
            elif not self._same_machine and one is not None and other is not None:
                effect = "not judged"
            yield _judged(place, f"p50, {shape_text(shape)}", "ms", one, other, effect)


def shape_text(shape: Shape) -> str:
    """
    >>> shape_text(Shape(batch=1, sequence=32, threads=1))
    'batch 1, sequence 32, threads 1'
    """
    parts = (("batch", shape.batch), ("sequence", shape.sequence), ("threads", shape.threads))
    return ", ".join(f"{name} {value}" for name, value in parts if value is not None)


def _value(figure: Figure | None) -> float | None:
    return None if figure is None else figure.value


def _drop(before: Figure | None, after: Figure | None, limit: float) -> Effect:
    if before is None or after is None:
        return _presence(before, after)
    loss = before.loss_to(after.value)
    if loss > limit + ROUNDING:
        return "regression"
    return "improvement" if loss < -limit - ROUNDING else "within limits"


def _rise(before: float | None, after: float | None, limit: float) -> Effect:
    if before is None or after is None:
        return _presence(before, after)
    if after > before * (1 + limit + ROUNDING):
        return "regression"
    return "improvement" if after < before * (1 - limit - ROUNDING) else "within limits"


def _presence(before: object, after: object) -> Effect:
    """As with gates: what is not measured any more has not held."""
    return "regression" if after is None and before is not None else "changed"


def _judged(
    place: str, figure: str, unit: Unit, before: float | str | None, after: float | str | None, effect: Effect
) -> Change:
    effect = "unchanged" if before == after else effect
    return Change(place=place, figure=figure, unit=unit, before=before, after=after, effect=effect)


def _plain(place: str, figure: str, unit: Unit, before: float | str | None, after: float | str | None) -> Change:
    return _judged(place, figure, unit, before, after, "changed")


def _targets(before: Report, after: Report, judge: _Judge) -> Iterator[Change]:
    """Status and chosen artifact of every target, and the figures of the chosen ones."""
    old, new = _chosen(before), _chosen(after)
    for target in dict.fromkeys(row.target for report in (before, after) for row in report.candidates):
        one, other = old.get(target), new.get(target)
        yield _target_status(target, _state(before, target, one), _state(after, target, other))
        if one is None or other is None:
            continue
        name = one.name if one.name == other.name else f"{one.name} → {other.name}"
        place = f"{target} {name}"
        yield _plain(target, "chosen artifact", "text", one.name, other.name)
        yield from judge.metrics(place, one.metrics, other.metrics)
        yield from judge.latency(place, one.latency, other.latency)
        yield judge.bytes(place, one.bytes, other.bytes)
        yield _plain(place, "parameters", "count", one.parameters, other.parameters)
        yield from _footprint(place, one.footprint or Footprint(), other.footprint or Footprint())
        yield from _estimates(place, one, other)


def _footprint(place: str, before: Footprint, after: Footprint) -> Iterator[Change]:
    """Said and not judged: one process each, so a rise can be chance."""
    yield _plain(place, "zstd bytes", "bytes", before.zstd_bytes, after.zstd_bytes)
    yield _plain(place, "peak memory", "bytes", before.peak_memory_bytes, after.peak_memory_bytes)
    yield _plain(place, "cold start", "ms", before.cold_start_ms, after.cold_start_ms)


def _chosen(report: Report) -> dict[str, Row]:
    return {row.target: row for row in report.candidates if row.chosen}


def _state(report: Report, target: str, chosen: Row | None) -> str:
    """Status of the chosen artifact; without one, that of the target's other rows."""
    if chosen is not None:
        return chosen.status
    rows = dict.fromkeys(row.status for row in report.candidates if row.target == target)
    return f"none chosen: {', '.join(rows)}" if rows else ABSENT


def _target_status(target: str, before: str, after: str) -> Change:
    ranks: dict[str, int] = {status: rank for rank, status in enumerate(reversed(WITH_ARTIFACT), start=1)}
    old, new = ranks.get(before, 0), ranks.get(after, 0)
    effect: Effect = "regression" if new < old else "improvement" if new > old else "changed"
    return _judged(target, "status", "text", before, after, effect)


def _estimates(place: str, before: Row, after: Row) -> Iterator[Change]:
    """What the compilers estimate, by hardware and size: said, never judged, because it is not measured."""

    def known(row: Row) -> dict[str, float | None]:
        named = (
            (", ".join((build.hardware, *(f"{k} {v}" for k, v in build.sizes.items()))), build) for build in row.builds
        )
        return {f"estimated, {name}": build.estimated_ms for name, build in named}

    old, new = known(before), known(after)
    for name in dict.fromkeys((*old, *new)):
        one, other = old.get(name), new.get(name)
        if one is not None or other is not None:
            yield _plain(place, name, "ms", one, other)


def _gates(before: Iterable[GateVerdict], after: Iterable[GateVerdict]) -> Iterator[Change]:
    old, new = ({(gate.target, gate.gate): gate for gate in gates} for gates in (before, after))
    for key in dict.fromkeys((*old, *new)):
        one, other = old.get(key), new.get(key)
        effect: Effect = "changed"
        if one is not None and other is not None and one.passed != other.passed:
            effect = "regression" if one.passed else "improvement"
        target, gate = key
        yield _judged(target or "all targets", f"gate {gate}", "text", _gate_text(one), _gate_text(other), effect)


def _gate_text(gate: GateVerdict | None) -> str:
    if gate is None:
        return ABSENT
    _, limit, measured = gate_text(gate)
    return f"{'passed' if gate.passed else 'failed'}: {measured}, limit {limit}"


def _stages(before: Iterable[StageRow], after: Iterable[StageRow], judge: _Judge) -> Iterator[Change]:
    """Stages of one kind are matched in their order: a stage more or less moves the numbers in the names."""
    old, new = _by_kind(before), _by_kind(after)
    for key in dict.fromkeys((*old, *new)):
        one, other = old.get(key), new.get(key)
        place = f"stage {key[0]}" + (f" {key[1]}" if key[1] > 1 else "")
        yield _plain(place, "verdict", "text", one.verdict if one else ABSENT, other.verdict if other else ABSENT)
        if one is not None and other is not None:
            yield from _stage_figures(place, one.after, other.after, judge)


def _by_kind(stages: Iterable[StageRow]) -> dict[tuple[str, int], StageRow]:
    counts: dict[str, int] = {}
    found = {}
    for stage in stages:
        counts[stage.kind] = counts.get(stage.kind, 0) + 1
        found[stage.kind, counts[stage.kind]] = stage
    return found


def _stage_figures(place: str, before: Figures, after: Figures, judge: _Judge) -> Iterator[Change]:
    yield from judge.metrics(place, before.metrics, after.metrics)
    yield from judge.latency(place, before.latency, after.latency)
    yield judge.bytes(place, before.bytes, after.bytes)
    yield _plain(place, "parameters", "count", before.parameters, after.parameters)


def _teacher(before: Row, after: Row) -> Iterator[Change]:
    """Nobody's regression, but it tells a slower machine or another teacher from a slower artifact."""
    place = "teacher" if before.name == after.name else f"teacher {before.name} → {after.name}"
    pairs: list[tuple[str, Unit, float | None, float | None]] = []
    first, second = primary_of(before.metrics), primary_of(after.metrics)
    if (kind := first or second) is not None:
        pairs.append((kind.name, kind.unit, _value(first), _value(second)))
    old, new = ({row.shape: row.p50 for row in one.latency} for one in (before, after))
    pairs += [(f"p50, {shape_text(s)}", "ms", old.get(s), new.get(s)) for s in dict.fromkeys((*old, *new))]
    for figure, unit, one, other in pairs:
        yield _judged(place, figure, unit, one, other, "not judged")


def _other_rows(before: Report, after: Report) -> Iterator[Change]:
    """Rows that only one report has, and candidates that were not chosen whose status is another now."""
    old, new = ({(row.target, row.name): row for row in report.candidates} for report in (before, after))
    for key in dict.fromkeys((*old, *new)):
        one, other = old.get(key), new.get(key)
        if one is None or other is None or (one.status != other.status and not (one.chosen and other.chosen)):
            states = (one.status if one else ABSENT, other.status if other else ABSENT)
            yield _plain(" ".join(key), "row", "text", *states)
