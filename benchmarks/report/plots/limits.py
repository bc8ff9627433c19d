"""The rooflines of the machine: each artifact's place under the peaks of its runtime."""

from __future__ import annotations

import html
from collections.abc import Iterator
from typing import Any, NamedTuple

from edgepress.benchmarks.records.costs import MachinePeak
from edgepress.benchmarks.records.report import LatencyRow, Report, Row, Shape
from edgepress.benchmarks.report.plots.base import LEGEND, SYMBOLS, Plot, kind, log_axis, numbered, plot, spread_sides
from edgepress.benchmarks.report.sections.base import all_rows
from edgepress.benchmarks.report.wording import fine_percent, ms, shape_words

NOTE = (
    "Log-log; numbers are those of the first table. Bandwidth is of main memory: a model that fits the caches can lie "
    "above the slope. Figures are in the table below."
)


class Mark(NamedTuple):
    """One artifact at one shape: operations for each byte of weights, and 1e9 operations a second at its p50."""

    number: int
    row: Row
    shape: Shape
    intensity: float
    gops: float
    share: float


def rooflines(report: Report) -> list[Plot]:
    """One plot for each runtime and number of threads whose peaks were measured and that has marks under them."""
    plots = []
    for index, peak in enumerate(report.peaks):
        marks = list(_marks(report, peak))
        if not marks:
            continue
        title = f"Roofline of {peak.target} at {peak.threads} thread{'' if peak.threads == 1 else 's'}"
        words = (
            f"{mark.number}. {mark.row.name} at {shape_words(mark.shape)}: {mark.intensity:.3g} operations a byte, "
            f"{ms(mark.gops)}e9 operations/s, {fine_percent(mark.share)} of the limit"
            for mark in marks
        )
        roofs = list(_roofs(peak, marks))
        traces = [*roofs, *_by_shape(report, marks)]
        heights = [value for roof in roofs for value in roof["y"]] + [mark.gops for mark in marks]
        layout = {
            "xaxis": log_axis("operations / byte of weights", [mark.intensity for mark in marks]),
            "yaxis": log_axis("1e9 operations/s", heights),
            "showlegend": True, "legend": LEGEND, "height": 420,
        }  # fmt: skip
        plots.append(plot(f"roofline-{index}", title, f"{title}. {'; '.join(words)}.", traces, layout))
    return plots


def mark_of(number: int, row: Row, one: LatencyRow) -> Mark | None:
    """Where an artifact stands; None where its operations or bytes are not known, or are none.

    Two operations for each MAC: 1e6 MACs in 0.5 ms are 4e9 operations a second.
    """
    roof = one.roofline
    if roof is None or not roof.macs or not roof.bytes:
        return None
    return Mark(number, row, one.shape, 2 * roof.macs / roof.bytes, 2e-6 * roof.macs / one.p50, roof.share)


def _marks(report: Report, peak: MachinePeak) -> Iterator[Mark]:
    for number, row in enumerate(all_rows(report)):
        for one in row.latency:
            found = mark_of(number, row, one)
            if found and (row.target, one.threads) == (peak.target, peak.threads):
                yield found


def _roofs(peak: MachinePeak, marks: list[Mark]) -> Iterator[dict[str, Any]]:
    """A line for each precision: up the slope of the bandwidth to the peak, then level."""
    low, high = min(mark.intensity for mark in marks), max(mark.intensity for mark in marks)
    peaks = {"fp32": peak.fp32_gops, "int8": peak.int8_gops}
    known = {name: gops for name, gops in peaks.items() if gops}
    bandwidth = peak.bandwidth_gb_s
    ridges = [gops / bandwidth for gops in known.values()] if bandwidth else []
    left, right = min([low, *ridges]) / 3, max([high, *ridges]) * 3
    dashes = {"fp32": "solid", "int8": "dash"}
    for name, gops in known.items():
        x = [left, gops / bandwidth, right] if bandwidth else [left, right]
        y = [min(gops, bandwidth * one) if bandwidth else gops for one in x]
        yield {
            "type": "scatter", "mode": "lines", "x": x, "y": y, "name": f"{name} peak {ms(gops)}",
            "line": {"dash": dashes[name], "width": 2}, "meta": "ink", "hoverinfo": "name",
        }  # fmt: skip
    if bandwidth and not known:
        yield {
            "type": "scatter", "mode": "lines", "x": [left, right], "y": [bandwidth * left, bandwidth * right],
            "name": f"memory {ms(bandwidth)} GB/s", "line": {"width": 2}, "meta": "ink", "hoverinfo": "name",
        }  # fmt: skip


def _by_shape(report: Report, marks: list[Mark]) -> Iterator[dict[str, Any]]:
    """One trace a shape, and an empty one for the legend, which tells which symbol is which and no colour."""
    sides = spread_sides([(mark.intensity, mark.gops) for mark in marks])
    for index, shape in enumerate(dict.fromkeys(mark.shape for mark in marks)):
        mine = [(side, mark) for side, mark in zip(sides, marks, strict=True) if mark.shape == shape]
        name, symbol = html.escape(shape_words(shape)), SYMBOLS[index % len(SYMBOLS)]
        yield {
            "type": "scatter", "mode": "markers", "x": [None], "y": [None], "name": name, "meta": "ink",
            "marker": {"symbol": symbol, "size": 10},
        }  # fmt: skip
        yield {
            "type": "scatter", "mode": "markers+text", "name": name, "showlegend": False,
            "x": [mark.intensity for _, mark in mine], "y": [mark.gops for _, mark in mine],
            "text": [str(mark.number) for _, mark in mine], "textposition": [side for side, _ in mine],
            "marker": {"symbol": symbol, "size": 10},
            "meta": [kind(report, mark.row) for _, mark in mine],
            "hovertext": [f"{numbered(mark.number, mark.row)}: {fine_percent(mark.share)}" for _, mark in mine],
            "hoverinfo": "text+x+y",
        }  # fmt: skip
