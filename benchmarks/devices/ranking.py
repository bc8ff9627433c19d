"""The hardware report's rankings: devices among one another, artifacts among one another, and each pair of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgepress.benchmarks.devices.intervals import p50_interval
from edgepress.benchmarks.devices.outcomes import Outcome
from edgepress.benchmarks.devices.shipping import Shape, Standing, choices, shape_of, slowness
from edgepress.benchmarks.report.sections.base import Line, Section
from edgepress.benchmarks.report.wording import MISSING, human_bytes, ms, share, with_interval
from edgepress.benchmarks.statistics import wilson_interval

GEOMETRIC = "Time is the geometric mean of p50 over what all of them were measured at, in parts of the first one's."


def shape_words(shape: Shape) -> str:
    """Rows, tokens and threads of a call: 'batch 1, sequence 32, 1 thread'."""
    batch, sequence, threads = shape
    length = [] if sequence is None else [f"sequence {sequence}"]
    several = [] if threads is None else [f"{threads} thread{'s' if threads > 1 else ''}"]
    return ", ".join([f"batch {batch}", *length, *several])


def ship_section(found: Sequence[Standing], outcomes: Sequence[Outcome] = ()) -> Section:
    """Which artifact to ship on which device, and why; a device without figures has a line too."""
    lines: list[Line] = []
    for device, standing, reason in choices(found):
        size = human_bytes(standing.bytes) if standing else MISSING
        lines.append((device, standing.name if standing else "none", size, reason))
    there = {line[0] for line in lines}
    without = {one.device: one for one in outcomes if one.state != "measured" and one.device not in there}
    lines += [(device, "not measured", MISSING, one.reason or MISSING) for device, one in sorted(without.items())]
    heads = ("device", "ship", "size", "why")
    note = (
        "The fastest on the device of those whose gates hold there: latency by what the device measured, accuracy by "
        "the release unless the whole 95 % interval of the device's rows is beyond the limit, all else by the release."
    )
    return Section("ship", "Which artifact to ship", heads, lines, ("device", "ship", "why"), (note,))


def device_ranking(found: Sequence[Standing]) -> Section:
    """Devices by their time for the same artifacts and shapes."""
    return _ranking("devices", "Devices, fastest first", "device", _cells(found, by_device=True))


def artifact_ranking(found: Sequence[Standing]) -> Section:
    """Artifacts by their time on the same devices and shapes."""
    return _ranking("artifacts", "Artifacts, fastest first", "artifact", _cells(found, by_device=False))


def pair_ranking(found: Sequence[Standing]) -> Section:
    """Every artifact on every device by its p50, shape by shape."""
    lines: list[Line] = []
    rows = [(shape_of(row), one, row) for one in found for row in one.record.latency if row.p50 is not None]
    for shape in dict.fromkeys(shape for shape, *_ in rows):
        mine = sorted((row.p50 or 0.0, one.record.device, one.name, one, row) for at, one, row in rows if at == shape)
        for rank, (p50, device, name, one, row) in enumerate(mine, 1):
            time = with_interval(ms(p50), p50_interval(row), ms)
            figures = (time, f"{p50 / mine[0][0]:.2f}", _accuracy(one), human_bytes(one.bytes))
            lines.append((f"{rank}", device, name, shape_words(shape), *figures))
    heads = ("rank", "device", "artifact", "shape", "p50 ms [95 %]", "time", "accuracy [95 %]", "size")
    notes = ("Ranks are within a shape. Accuracy is on the rows that travel with the release.",)
    return Section(
        "pairs", "Every artifact on every device", heads, lines, ("rank", "device", "artifact", "shape"), notes
    )


def _accuracy(one: Standing) -> str:
    accuracy = one.record.accuracy
    if accuracy is None:
        return MISSING
    return with_interval(share(accuracy.value), wilson_interval(accuracy.right, accuracy.rows), share)


def _cells(found: Sequence[Standing], by_device: bool) -> dict[str, dict[Any, float]]:
    """p50 of each group at each other thing and shape."""
    groups: dict[str, dict[Any, float]] = {}
    for one in found:
        group, other = (one.record.device, one.name) if by_device else (one.name, one.record.device)
        mine = groups.setdefault(group, {})
        mine.update({(other, *shape): p50 for shape, p50 in one.p50s.items()})
    return groups


def _ranking(key: str, title: str, head: str, groups: Mapping[str, Mapping[Any, float]]) -> Section:
    times = slowness(groups)
    common = set.intersection(*(set(one) for one in groups.values())) if groups else set()
    ranked = sorted(times, key=lambda name: (times[name], name))
    lines: list[Line] = [
        (f"{rank}", name, f"{times[name]:.2f}", f"{len(common)} of {len(groups[name])}")
        for rank, name in enumerate(ranked, 1)
    ]
    heads = ("rank", head, "time", "measurements compared")
    absent = "Not ranked: they were not all measured at anything that they have in common." if len(groups) > 1 else ""
    return Section(key, title, heads, lines if len(groups) > 1 else [], ("rank", head), (GEOMETRIC,), absent)
