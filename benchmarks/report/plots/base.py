"""The report's plots of rows as plotly figures: data and layout here, colours and drawing in the page's script."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from edgepress.benchmarks.records.report import Report, Row, Shape
from edgepress.benchmarks.report.columns import Column, primary
from edgepress.benchmarks.report.sections.base import all_rows
from edgepress.benchmarks.report.wording import capital, human_bytes, ms, shape_words

SMALLEST, LARGEST = 9.0, 34.0
HEIGHT, BAR = 360, 26
# Series that are told apart by colour have a symbol and a dash of their own too: colour alone is not for everybody.
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "star", "hexagon", "cross")
SERIES = 6
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
# Numbers of neighbours go to different sides of their marks.
SIDES = ("top center", "bottom center", "middle right", "middle left")
PARETO_NOTE = (
    "Numbers are those of the first table, marker areas are shipped bytes, bars are 95 % intervals, the dotted line is "
    "the Pareto front. Violet: teacher; blue: chosen."
)
LEGEND = {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "xanchor": "left"}


class Plot(NamedTuple):
    """One figure: its element's id, its heading, what it says in words, and plotly's JSON (safe inside a script)."""

    key: str
    title: str
    label: str
    json: str


def pareto(report: Report) -> list[Plot]:
    """The primary metric against p50 in ms (log axis), one plot a shape with figures; marker areas are bytes."""
    plots = []
    symbols, metric = target_symbols(report), primary(report)
    name = capital(metric.name)
    for index, shape in enumerate(shapes(report)):
        points = _points(report, metric, shape)
        heaviest = max((row.bytes or 0 for _, row, *_ in points), default=0) or 1
        # Bars of the metric stand above and below the marks.
        sides = spread_sides([(p50, metric.value(row) or 0) for _, row, p50, *_ in points], SIDES[2:])
        traces = [
            _mark(report, metric, symbols, heaviest, side, *point) for side, point in zip(sides, points, strict=True)
        ]
        title = f"{name} against p50 at {shape_words(shape)}"
        words = (f"{n}. {row.name}: {metric.name} {metric.text(row)}, p50 {ms(p50)} ms" for n, row, p50, *_ in points)
        layout = {"xaxis": log_axis("p50 in ms", [p50 for _, _, p50, *_ in points]), "yaxis": {"title": metric.name}}
        if points:
            label = f"{title}. {'; '.join(words)}."
            plots.append(plot(f"pareto-{index}", title, label, [_front(metric, points), *traces], layout))
    return plots


def target_symbols(report: Report) -> dict[str, str]:
    """Each target that was timed, with the symbol of its marks."""
    targets = dict.fromkeys(row.target for row in all_rows(report) if row.latency)
    return {target: SYMBOLS[index % len(SYMBOLS)] for index, target in enumerate(targets)}


def pareto_note(report: Report) -> str:
    """How the plot is read; symbols are told where several targets have marks."""
    symbols = target_symbols(report)
    legend = ", ".join(f"{symbol} {target}" for target, symbol in symbols.items())
    return f"{PARETO_NOTE} Symbols: {legend}." if len(symbols) > 1 else PARETO_NOTE


def distributions(report: Report) -> list[Plot]:
    """Boxes of the raw samples in ms, one plot a shape; rows from before samples were kept are left out."""
    plots = []
    for index, shape in enumerate(shapes(report)):
        boxes: list[dict[str, Any]] = [
            {"type": "box", "x": list(one.raw), "name": numbered(n, row), "meta": kind(report, row)}
            for n, row in enumerate(all_rows(report))
            for one in row.latency
            if one.shape == shape and one.raw
        ]
        times = [time for box in boxes for time in box["x"]]
        layout: dict[str, Any] = {"xaxis": log_axis("ms a call", times), "yaxis": {"autorange": "reversed"}}
        title = f"Latency at {shape_words(shape)}"
        if boxes:
            label = f"{title}: a box for each of {len(boxes)} artifacts; figures are in the latency table."
            layout["height"] = max(HEIGHT, 100 + BAR * len(boxes))
            plots.append(plot(f"latency-{index}", title, label, boxes, layout))
    return plots


def shapes(report: Report) -> list[Shape]:
    """Shapes that any row was timed at, in order of appearance."""
    return list(dict.fromkeys(one.shape for row in all_rows(report) for one in row.latency))


def spread_sides(places: Sequence[tuple[float, float]], sides: Sequence[str] = SIDES) -> list[str]:
    """On which side of each mark its number stands: in turns from left to right, so that neighbours' do not meet.

    >>> spread_sides([(2.0, 0.9), (1.0, 0.8)])
    ['bottom center', 'top center']
    """
    order = sorted(range(len(places)), key=lambda index: places[index])
    ranks = {index: rank for rank, index in enumerate(order)}
    return [sides[ranks[index] % len(sides)] for index in range(len(places))]


def log_axis(title: str, values: Sequence[float]) -> dict[str, Any]:
    """Over more than a factor of four 1, 2 and 5 are marks enough; all digits would run into each other."""
    wide = bool(values) and max(values) > 4 * min(values)
    return {"type": "log", "title": f"{title}, log scale", **({"dtick": "D2"} if wide else {})}


def kind(report: Report, row: Row) -> str:
    """Name of the CSS variable whose colour the row has."""
    return "teacher" if report.is_teacher(row) else "accent" if row.chosen else "soft"


def short(name: str, longest: int = 22) -> str:
    """A name for an axis, escaped: plotly reads some HTML."""
    return html.escape(name if len(name) <= longest else f"{name[: longest - 1]}…")


def numbered(number: int, row: Row) -> str:
    """The row's number in the first table and its name, for an axis or a legend."""
    return f"{number}. {short(row.name)}"


def plot(key: str, title: str, label: str, traces: list[dict[str, Any]], layout: dict[str, Any]) -> Plot:
    """A figure in plotly's JSON; `meta` of a trace names its CSS colour, and the page's script does the rest.

    Args:
        key: names the figure on its page.
        title: its heading.
        label: what it shows in words, for those who don't see it.
        traces: plotly's traces.
        layout: plotly's layout; overrules height, legend and template.
    """
    import plotly.graph_objects as go

    figure = go.Figure(traces, {"showlegend": False, "height": HEIGHT, "template": "none", **layout})
    # "<" would let a name end the script element that holds the JSON.
    return Plot(key, title, label, str(figure.to_json()).replace("<", "\\u003c"))


def library() -> str:
    """plotly.js as shipped with the package, for a script element."""
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs()).replace("</script", "<\\/script")


def _points(report: Report, metric: Column, shape: Shape) -> list[tuple[int, Row, float, float, float]]:
    """Number, row, p50, and how far its interval reaches down and up, ms."""
    found = []
    for n, row in enumerate(all_rows(report)):
        for one in row.latency:
            if one.shape == shape and metric.value(row) is not None:
                low, high = one.p50_interval or (one.p50, one.p50)
                found.append((n, row, one.p50, max(0.0, one.p50 - low), max(0.0, high - one.p50)))
    return found


def _mark(
    report: Report, metric: Column, symbols: dict[str, str], heaviest: int, side: str, n: int, row: Row, p50: float,
    down: float, up: float,
) -> dict[str, Any]:  # fmt: skip
    figure, value = row.figure(metric.key), metric.value(row) or 0.0
    low, high = (figure.interval if figure else None) or (value, value)
    size = max(SMALLEST, LARGEST * math.sqrt((row.bytes or 0) / heaviest))
    name = f"{n}. {html.escape(row.name)}"
    return {
        "type": "scatter", "mode": "markers+text", "x": [p50], "y": [value], "text": [str(n)], "name": name,
        "textposition": side, "marker": {"size": size, "opacity": 0.6, "symbol": symbols[row.target]},
        "meta": kind(report, row),
        "hovertemplate": f"{name}<br>{metric.name} %{{y:.4f}}<br>p50 %{{x:.3g}} ms<br>{human_bytes(row.bytes)}",
        "error_x": {"type": "data", "symmetric": False, "array": [up], "arrayminus": [down]},
        "error_y": {"type": "data", "symmetric": False, "array": [high - value], "arrayminus": [value - low]},
    }  # fmt: skip


def _front(metric: Column, points: list[tuple[int, Row, float, float, float]]) -> dict[str, Any]:
    """The rows that no other one beats in both the metric and p50, as a line of steps."""
    sign = 1 if metric.higher_is_better else -1
    front: list[tuple[float, float]] = []
    for p50, value in sorted(
        ((p50, metric.value(row) or 0.0) for _, row, p50, *_ in points), key=lambda point: (point[0], -sign * point[1])
    ):
        if not front or sign * value > sign * front[-1][1]:
            front.append((p50, value))
    x, y = [one for one, _ in front], [one for _, one in front]
    line = {"shape": "hv", "dash": "dot"}
    return {"type": "scatter", "mode": "lines", "x": x, "y": y, "line": line, "meta": "soft", "hoverinfo": "skip"}
