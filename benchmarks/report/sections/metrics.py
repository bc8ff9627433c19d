"""All metrics of the artifacts as a table: value, difference to the teacher and how sure both are."""

from __future__ import annotations

from edgepress.benchmarks.records.figures import Figure
from edgepress.benchmarks.records.report import Report, Row
from edgepress.benchmarks.report.columns import Column, columns
from edgepress.benchmarks.report.sections.base import Line, Section, all_rows, artifact
from edgepress.benchmarks.report.wording import MISSING, metric_text


def metrics(report: Report) -> Section:
    """One line for each artifact and metric, where a report has metrics that the first table has no column for."""
    heads = ("artifact", "metric", "value [95 %]", "to the teacher [95 %]", "p", "better")
    shown = {column.key for column in columns(report)}
    rows = [row for row in all_rows(report) if row.chosen or report.is_teacher(row)]
    lines = [_line(row, figure) for row in rows for figure in row.metrics]
    more = any(figure.key not in shown for row in rows for figure in row.metrics)
    notes = ("The teacher and what was chosen; the figures of all candidates are in report.json and report.csv.",)
    return Section("metrics", "Metrics", heads, lines if more else [], ("artifact", "metric", "better"), notes)


def _line(row: Row, figure: Figure) -> Line:
    column = Column(figure.key, figure.name, figure.unit, figure.higher_is_better)
    name = f"{figure.name} (primary)" if figure.primary else figure.name
    sure = MISSING if figure.p is None else f"{figure.p:.3g}"
    better = "higher" if figure.higher_is_better else "lower"
    return artifact(row), name, metric_text(figure), column.change(row) or MISSING, sure, better
