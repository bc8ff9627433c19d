"""Which artifact to ship on which device: the fastest there of those whose gates hold there.

Latency is judged by what the device measured. Accuracy was judged by the release, on the whole test split; the rows
that travelled with it can only contradict that: a gate is missed where their whole 95 % interval is beyond its limit.
All other gates are the release's: a device has no teacher to be compared with.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from edgepress.benchmarks.devices.intervals import p50_interval
from edgepress.benchmarks.devices.record import DeviceAccuracy, DeviceLatency, DeviceRecord
from edgepress.benchmarks.judge.latency import PERCENTILES, ROUNDING
from edgepress.benchmarks.metrics.base import ACCURACY
from edgepress.benchmarks.records.report import GateVerdict
from edgepress.benchmarks.report.wording import gate_text
from edgepress.benchmarks.statistics import difference_interval, wilson_interval

Shape = tuple[int, int | None, int | None]


@dataclass(frozen=True)
class Standing:
    """The newest record of a device and target that is of the release, with the shipped bytes of its artifact."""

    record: DeviceRecord
    bytes: int | None
    missed: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.record.target} {self.record.artifact}"

    @property
    def p50s(self) -> dict[Shape, float]:
        """ms of each shape that has one."""
        return {shape_of(row): row.p50 for row in self.record.latency if row.p50 is not None}


class Choice(NamedTuple):
    """What to ship on a device; None where nothing fits, and why."""

    device: str
    standing: Standing | None
    reason: str


def shape_of(row: DeviceLatency) -> Shape:
    """Rows, tokens in a row and threads of a call."""
    return row.batch, row.sequence, row.threads


def standings(
    records: Iterable[DeviceRecord],
    current: Collection[str],
    gates: Sequence[GateVerdict] = (),
    sizes: Mapping[str, int] | None = None,
) -> list[Standing]:
    """The newest record of each device and target.

    Args:
        records: all records.
        current: the record_sha256 of those that are of the release.
        gates: the release's gates with its own verdicts.
        sizes: bytes of the artifact of each target.
    """
    newest: dict[tuple[str, str], DeviceRecord] = {}
    for record in records:  # the one that was added last is the newest, whatever a device's clock says
        if record.record_sha256 in current:
            newest[record.device, record.target] = record
    return [
        Standing(record, (sizes or {}).get(record.target), tuple(missed(record, gates))) for record in newest.values()
    ]


def missed(record: DeviceRecord, gates: Sequence[GateVerdict]) -> list[str]:
    """The gates of its target that do not hold on a device, each in words."""
    return [words for gate in gates if gate.target == record.target and (words := gate_fault(record, gate))]


def gate_fault(record: DeviceRecord, gate: GateVerdict) -> str:
    """Why a gate does not hold on a device; empty where it does."""
    if gate.gate in PERCENTILES:
        return _latency_fault(record, gate)
    name, limit = _words(gate), ACCURACY.get(gate.gate, gate.gate).removeprefix("accuracy.")
    best = _best_likely(record.accuracy, limit) if record.accuracy is not None else None
    if best is not None and (best > gate.limit + ROUNDING if limit.startswith("max") else best < gate.limit - ROUNDING):
        return f"{name}, and the rows that travel with the release have {best:.4g} at best"
    return "" if gate.passed else f"{name}, which the release missed already"


def _latency_fault(record: DeviceRecord, gate: GateVerdict) -> str:
    values = [_percentile(row, PERCENTILES[gate.gate], gate.judged == "bound") for row in record.latency]
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return f"{_words(gate)}, and there are too few samples to tell"
    return "" if max(known) <= gate.limit + ROUNDING else f"{_words(gate)}, and it takes {max(known):.3g}"


def _percentile(row: DeviceLatency, share: float, at_bound: bool) -> float | None:
    """In ms; of a p50 the upper end of its interval where a gate is judged there."""
    value: float | None = getattr(row, f"p{share:g}")
    ends = p50_interval(row) if share == 50 and at_bound else None
    return value if ends is None else ends[1]


def _best_likely(accuracy: DeviceAccuracy, limit: str) -> float | None:
    """The end of a figure's 95 % interval that speaks best for it; None for a limit that is not of accuracy."""
    low, high = wilson_interval(accuracy.right, accuracy.rows)
    if limit == "max_drop":
        rows = list(zip(accuracy.predicted, accuracy.labels, accuracy.teacher, strict=True))
        lost = sum(teacher == label != got for got, label, teacher in rows)
        won = sum(got == label != teacher for got, label, teacher in rows)
        return -difference_interval(lost, won, accuracy.rows)[1]
    teacher = sum(a == b for a, b in zip(accuracy.teacher, accuracy.labels, strict=True)) / accuracy.rows
    ratio = high / teacher if teacher else None
    return {"min": high, "max": low, "min_ratio": ratio}.get(limit)


def _words(gate: GateVerdict) -> str:
    demand, limit, _ = gate_text(gate.model_copy(update={"target": ""}))
    return f"{demand} {limit}"


# --- choice ---


def choices(found: Sequence[Standing]) -> list[Choice]:
    """One for each device, in the order of their names."""
    devices = sorted({one.record.device for one in found})
    return [choose_artifact(device, [one for one in found if one.record.device == device]) for device in devices]


def choose_artifact(device: str, found: Sequence[Standing]) -> Choice:
    """The fastest whose gates hold, over the shapes that all of those were timed at; of two that are as fast within
    95 % at every shape the smaller one."""
    good = [one for one in found if not one.missed]
    if not good:
        return Choice(device, None, "; ".join(f"{one.name}: {one.missed[0]}" for one in found))
    times = slowness({one.record.target: one.p50s for one in good})
    if len(good) == 1 or not times:
        rest = f"; {_lost(found)}" if len(found) > len(good) else ""
        return Choice(device, good[0], f"the only one that was measured{'' if not rest else ' and holds'}{rest}")
    first, second, *_ = sorted(good, key=lambda one: times[one.record.target])
    if as_fast(first, second) and None not in (first.bytes, second.bytes) and second.bytes < first.bytes:  # type: ignore[operator]
        return Choice(device, second, f"as fast as {first.name} within 95 %, and smaller")
    ratio = times[second.record.target] / times[first.record.target]
    speed = "as fast as" if as_fast(first, second) else f"{ratio:.2f} times as fast as"
    return Choice(device, first, f"{speed} {second.name}{' within 95 %' if as_fast(first, second) else ''}")


def _lost(found: Sequence[Standing]) -> str:
    return "; ".join(f"{one.name}: {one.missed[0]}" for one in found if one.missed)


def as_fast(one: Standing, other: Standing) -> bool:
    """Whether the 95 % intervals of the medians overlap at every shape that both have."""
    rows = {shape_of(row): row for row in one.record.latency}
    pairs = [(rows[shape_of(row)], row) for row in other.record.latency if shape_of(row) in rows]
    ends = [tuple(p50_interval(row) for row in pair) for pair in pairs]
    return all(a is None or b is None or (a[0] <= b[1] and b[0] <= a[1]) for a, b in ends)


def slowness(groups: Mapping[str, Mapping[Shape, float]]) -> dict[str, float]:
    """How many times as long as the fastest each group takes: the geometric mean over what all groups have; empty where
    they have nothing in common.

    >>> slowness({"a": {(1, None, 1): 2.0}, "b": {(1, None, 1): 2.0, (8, None, 1): 9.0}})
    {'a': 1.0, 'b': 1.0}
    """
    common = set.intersection(*(set(one) for one in groups.values())) if groups else set()
    if not common:
        return {}
    logs = {name: sum(math.log(one[cell]) for cell in sorted(common, key=str)) for name, one in groups.items()}
    least = min(logs.values())
    return {name: math.exp((log - least) / len(common)) for name, log in logs.items()}
