"""The report's plots as plotly figures: data and layout here, colours and drawing in the page's script."""

from __future__ import annotations

import html
import math
from typing import Any, NamedTuple

from benchmarks.records import ClassAccuracy, Report, Row, Shape
from benchmarks.wording import chosen_row, human_bytes, ms, shape_words, share

MOST_CLASSES = 30
SMALLEST, LARGEST = 9.0, 34.0


class Plot(NamedTuple):
    """One figure: its element's id, its heading, what it says in words, and plotly's JSON (safe inside a script)."""

    key: str
    title: str
    label: str
    json: str


def pareto(report: Report) -> list[Plot]:
    """Accuracy against p50 in ms (log axis), one plot a shape with figures; marker areas are bytes."""
    plots = []
    for index, shape in enumerate(_shapes(report)):
        points = _points(report, shape)
        heaviest = max((row.bytes or 0 for _, row, *_ in points), default=0) or 1
        traces = [_mark(report, heaviest, *point) for point in points]
        title = f"Accuracy against p50 at {shape_words(shape)}"
        words = (f"{n}. {row.name}: accuracy {share(row.accuracy)}, p50 {ms(p50)} ms" for n, row, p50, *_ in points)
        layout = {"xaxis": {"type": "log", "title": "p50 in ms, log scale"}, "yaxis": {"title": "accuracy"}}
        if points:
            label = f"{title}. {'; '.join(words)}."
            plots.append(_plot(f"pareto-{index}", title, label, [_front(points), *traces], layout))
    return plots


def distributions(report: Report) -> list[Plot]:
    """Boxes of the raw samples in ms, one plot a shape; rows from before samples were kept are left out."""
    plots = []
    for index, shape in enumerate(_shapes(report)):
        boxes = [
            {"type": "box", "x": list(one.raw), "name": f"{n}. {_short(row.name)}", "meta": _kind(report, row)}
            for n, row in _numbered(report)
            for one in row.latency
            if one.shape == shape and one.raw
        ]
        layout = {"xaxis": {"type": "log", "title": "ms a call, log scale"}, "yaxis": {"autorange": "reversed"}}
        title = f"Latency at {shape_words(shape)}"
        if boxes:
            label = f"{title}: a box for each of {len(boxes)} artifacts; figures are in the latency table."
            plots.append(_plot(f"latency-{index}", title, label, boxes, layout))
    return plots


def waterfalls(report: Report) -> list[Plot]:
    """What each pass brought in accuracy, bytes and ms (first shape), each after - before; a dropped pass brings 0."""
    stages = report.stages
    if not stages:
        return []
    measures = [("accuracy", "accuracy points", 100.0), ("bytes", "megabytes", 1e-6), ("p50", "p50 in ms", 1.0)]
    plots = []
    for name, title, scale in measures:
        if name == "p50" and not all(one.before.latency and one.after.latency for one in stages):
            continue

        def value(figures: Any, name: str = name, scale: float = scale) -> float:
            return scale * float(figures.latency[0].p50 if name == "p50" else getattr(figures, name))

        steps = [0.0 if one.verdict == "dropped" else value(one.after) - value(one.before) for one in stages]
        trace = {
            "type": "waterfall", "measure": ["absolute", *["relative"] * len(steps), "total"],
            "x": ["before", *(_short(one.name) for one in stages), "after"], "y": [value(stages[0].before), *steps, 0],
        }  # fmt: skip
        label = f"{title}: " + "; ".join(f"{one.name} {step:+.3g}" for one, step in zip(stages, steps, strict=True))
        plots.append(_plot(f"waterfall-{name}", title, label, [trace], {"yaxis": {"title": title}}))
    return plots


def worst_classes(report: Report) -> tuple[ClassAccuracy, ...]:
    """The chosen row's classes, the least accurate first, at most 30."""
    chosen = chosen_row(report)
    return tuple(sorted(chosen.classes if chosen else (), key=lambda one: one.accuracy)[:MOST_CLASSES])


def classes(report: Report) -> list[Plot]:
    """Accuracy by class of the chosen row as bars."""
    found = worst_classes(report)
    if not found:
        return []
    names = [f"{n}. {_short(one.name)}" for n, one in enumerate(found, 1)]
    trace = {"type": "bar", "orientation": "h", "y": names, "x": [one.accuracy for one in found], "meta": "accent"}
    layout = {"xaxis": {"title": "accuracy", "range": [0, 1]}, "yaxis": {"autorange": "reversed"}}
    layout |= {"height": 110 + 24 * len(found)}
    label = f"Accuracy of {len(found)} classes, the worst first; the figures are in the table below."
    return [_plot("classes", "Accuracy by class, worst first", label, [trace], layout)]


def _numbered(report: Report) -> list[tuple[int, Row]]:
    return list(enumerate((report.teacher, *report.candidates)))


def _shapes(report: Report) -> list[Shape]:
    return list(dict.fromkeys(one.shape for _, row in _numbered(report) for one in row.latency))


def _points(report: Report, shape: Shape) -> list[tuple[int, Row, float, float, float]]:
    """Number, row, p50, and how far its interval reaches down and up, ms."""
    found = []
    for n, row in _numbered(report):
        for one in row.latency:
            if one.shape == shape and row.accuracy is not None:
                low, high = one.p50_interval or (one.p50, one.p50)
                found.append((n, row, one.p50, max(0.0, one.p50 - low), max(0.0, high - one.p50)))
    return found


def _mark(report: Report, heaviest: int, n: int, row: Row, p50: float, down: float, up: float) -> dict[str, Any]:
    accuracy = row.accuracy or 0.0
    low, high = row.accuracy_interval or (accuracy, accuracy)
    size = max(SMALLEST, LARGEST * math.sqrt((row.bytes or 0) / heaviest))
    name = f"{n}. {html.escape(row.name)}"
    return {
        "type": "scatter", "mode": "markers+text", "x": [p50], "y": [accuracy], "text": [str(n)], "name": name,
        "textposition": "top center", "marker": {"size": size, "opacity": 0.6}, "meta": _kind(report, row),
        "hovertemplate": f"{name}<br>accuracy %{{y:.4f}}<br>p50 %{{x:.3g}} ms<br>{human_bytes(row.bytes)}",
        "error_x": {"type": "data", "symmetric": False, "array": [up], "arrayminus": [down]},
        "error_y": {"type": "data", "symmetric": False, "array": [high - accuracy], "arrayminus": [accuracy - low]},
    }  # fmt: skip


def _front(points: list[tuple[int, Row, float, float, float]]) -> dict[str, Any]:
    """The rows that no other one beats in both accuracy and p50, as a line of steps."""
    front: list[tuple[float, float]] = []
    for _, row, p50, *_ in sorted(points, key=lambda point: (point[2], -(point[1].accuracy or 0))):
        if row.accuracy is not None and (not front or row.accuracy > front[-1][1]):
            front.append((p50, row.accuracy))
    x, y = [one for one, _ in front], [one for _, one in front]
    line = {"shape": "hv", "dash": "dot"}
    return {"type": "scatter", "mode": "lines", "x": x, "y": y, "line": line, "meta": "soft", "hoverinfo": "skip"}


def _kind(report: Report, row: Row) -> str:
    """Name of the CSS variable whose colour the row has."""
    return "teacher" if row is report.teacher else "accent" if row.chosen else "soft"


def _short(name: str) -> str:
    """A name for an axis, escaped: plotly reads some HTML."""
    return html.escape(name if len(name) <= 22 else f"{name[:21]}…")


def _plot(key: str, title: str, label: str, traces: list[dict[str, Any]], layout: dict[str, Any]) -> Plot:
    import plotly.graph_objects as go

    figure = go.Figure(traces, {"showlegend": False, "height": 340, "template": "none", **layout})
    # "<" would let a name end the script element that holds the JSON.
    return Plot(key, title, label, str(figure.to_json()).replace("<", "\\u003c"))


def library() -> str:
    """plotly.js as shipped with the package, for a script element."""
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs()).replace("</script", "<\\/script")
