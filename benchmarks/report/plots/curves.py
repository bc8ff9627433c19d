"""Sustained runs over time: whether a device gets slower while it works."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from edgepress.benchmarks.measure.scenarios import slowdown
from edgepress.benchmarks.records.report import Report, Row, Shape
from edgepress.benchmarks.records.scenarios import Point
from edgepress.benchmarks.report.plots.base import DASHES, LEGEND, SERIES, SYMBOLS, Plot, numbered, plot
from edgepress.benchmarks.report.sections.base import Section, all_rows, artifact
from edgepress.benchmarks.report.wording import duration, ms, shape_words, times

NOTE = (
    "p50 of each window / the median of the first tenth of the windows: 1.2 is a device that got 20 % slower. "
    "Figures are in the table below."
)


class Curve(NamedTuple):
    """One sustained run that was taken."""

    number: int
    row: Row
    shape: Shape
    points: tuple[Point, ...]

    @property
    def reference(self) -> float:
        """Median p50 of the first tenth of the windows, ms: one window alone can be a hiccup."""
        return float(np.median([point.p50_ms for point in self.points[: max(1, len(self.points) // 10)]]))


def curves(report: Report) -> Iterator[Curve]:
    """Every sustained run with windows, in the order of the rows."""
    for number, row in enumerate(all_rows(report)):
        for one in row.scenarios:
            if one.scenario == "sustained" and one.curve:
                yield Curve(number, row, one.shape, one.curve)


def sustained(report: Report) -> list[Plot]:
    """One plot a shape, one line an artifact, relative to its own first tenth."""
    plots, found = [], list(curves(report))
    for index, shape in enumerate(dict.fromkeys(one.shape for one in found)):
        mine = [one for one in found if one.shape == shape]
        traces = [
            {
                "type": "scatter", "mode": "lines+markers", "name": numbered(one.number, one.row),
                "x": [point.seconds for point in one.points],
                "y": [point.p50_ms / one.reference for point in one.points],
                "meta": "teacher" if one.number == 0 else f"series-{(rank - 1) % SERIES}",
                "marker": {"symbol": SYMBOLS[rank % len(SYMBOLS)], "size": 8, "maxdisplayed": 8},
                "line": {"dash": DASHES[rank % len(DASHES)], "width": 2},
            }
            for rank, one in enumerate(mine)
        ]  # fmt: skip
        title = f"Sustained run at {shape_words(shape)}"
        words = (f"{one.number}. {one.row.name} ends at {times(slowdown(one.points))}" for one in mine)
        layout = {
            "xaxis": {"title": "seconds after the start"}, "yaxis": {"title": "p50 / p50 of the first tenth"},
            "showlegend": True, "legend": LEGEND, "height": 420,
        }  # fmt: skip
        plots.append(plot(f"sustained-{index}", title, f"{title}. {'; '.join(words)}.", traces, layout))
    return plots


def curves_table(report: Report) -> Section:
    """The figures behind the lines: where each begins, its extremes, and where it ends."""
    heads = (
        "artifact", "shape", "windows", "took", "first tenth ms", "lowest ms", "highest ms", "last tenth / first",
    )  # fmt: skip
    lines = []
    for one in curves(report):
        medians = [point.p50_ms for point in one.points]
        figures = (ms(value) for value in (one.reference, min(medians), max(medians)))
        place = (artifact(one.row), shape_words(one.shape), str(len(medians)), duration(one.points[-1].seconds))
        lines.append((*place, *figures, times(slowdown(one.points))))
    return Section("curves", "Figures of the sustained runs", heads, lines, ("artifact", "shape"))
