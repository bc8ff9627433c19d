"""Accuracy by class: the teacher beside the chosen artifact of each target, the worst classes first."""

from __future__ import annotations

from typing import Any

from edgepress.benchmarks.records.report import ClassAccuracy, Report, Row
from edgepress.benchmarks.report.plots.base import BAR, LEGEND, SERIES, SYMBOLS, Plot, plot, short
from edgepress.benchmarks.report.sections.base import Line, Reasons, Section, artifact
from edgepress.benchmarks.report.verdicts import chosen_rows
from edgepress.benchmarks.report.wording import points, share

MOST_CLASSES = 30
NOTE = "On the test split; violet circles: the teacher. Figures are in the table below."


def worst_first(report: Report) -> list[str]:
    """Names of the classes, at most 30, by the lowest accuracy that any chosen artifact has on them."""
    lowest: dict[str, float] = {}
    for row in chosen_rows(report):
        for one in row.classes:
            lowest[one.name] = min(one.accuracy, lowest.get(one.name, 1.0))
    return sorted(lowest, key=lambda name: lowest[name])[:MOST_CLASSES]


def classes(report: Report) -> list[Plot]:
    """Dots of the teacher and of each chosen artifact that has accuracies by class, one line a class."""
    names = worst_first(report)
    if not names:
        return []
    rows = (report.teacher, *chosen_rows(report))
    traces = [trace for index, row in enumerate(rows) if (trace := _dots(index, row, names))]
    layout = {
        "xaxis": {"title": "accuracy"}, "yaxis": {"autorange": "reversed", "type": "category"},
        "height": 170 + BAR * len(names), "showlegend": True, "legend": LEGEND,
    }  # fmt: skip
    label = f"Accuracy of {len(names)} classes, the worst first; the figures are in the table below."
    return [plot("classes", "Accuracy by class, worst first", label, traces, layout)]


def _dots(index: int, row: Row, names: list[str]) -> dict[str, Any] | None:
    """The dots of one row; index 0 is the teacher. None where it has no accuracy by class."""
    known = {one.name: one.accuracy for one in row.classes}
    drawn = [(f"{n}. {short(name)}", known[name]) for n, name in enumerate(names, 1) if name in known]
    if not drawn:
        return None
    labels, accuracies = zip(*drawn, strict=True)
    return {
        "type": "scatter", "mode": "markers", "y": labels, "x": accuracies, "name": short(_name(index, row), 34),
        "marker": {"symbol": f"{SYMBOLS[index % len(SYMBOLS)]}-open", "size": 11, "line": {"width": 2}},
        "meta": "teacher" if index == 0 else f"series-{(index - 1) % SERIES}",
    }  # fmt: skip


def classes_table(report: Report) -> Section:
    """Rows of each class, and the accuracy of the teacher and of each chosen artifact with its difference."""
    rows, names, reasons = (report.teacher, *chosen_rows(report)), worst_first(report), Reasons()
    heads = ("class", "rows", *(_name(index, row) for index, row in enumerate(rows)))
    known = [{one.name: one for one in row.classes} for row in rows]
    lines: list[Line] = []
    for name in names:
        counts = {column[name].samples for column in known if name in column}
        cells = (_cell(row, column.get(name), reasons) for row, column in zip(rows, known, strict=True))
        lines.append((name, " or ".join(map(str, sorted(counts))), *cells))
    total = len({one.name for row in rows for one in row.classes})
    cut = (f"The {len(names)} worst of {total} classes.",) if total > len(names) else ()
    absent = "Not measured: this report holds no accuracy by class."
    return Section("classes", "Accuracy by class", heads, lines, ("class",), (*reasons.notes, *cut), absent)


def _cell(row: Row, one: ClassAccuracy | None, reasons: Reasons) -> str:
    if one is None:
        return reasons.cell(artifact(row), row.reason or "no accuracy by class was taken")
    return share(one.accuracy) if one.difference is None else f"{share(one.accuracy)} ({points(one.difference)})"


def _name(index: int, row: Row) -> str:
    return f"{row.target} {row.name}" if index else f"teacher {row.name}"
