"""The metrics that tables have columns for: the primary one, and the first that compares with the teacher."""

from __future__ import annotations

from typing import NamedTuple

from edgepress.benchmarks.metrics.base import Unit
from edgepress.benchmarks.records.report import Report, Row
from edgepress.benchmarks.report.wording import headline, metric_change, metric_text, metric_value


class Column(NamedTuple):
    """One metric of all rows: how it is named, and how each row's figure is written."""

    key: str
    name: str
    unit: Unit
    higher_is_better: bool

    def value(self, row: Row) -> float | None:
        """The row's figure; None where it was not taken."""
        figure = row.figure(self.key)
        return None if figure is None else figure.value

    def text(self, row: Row) -> str:
        """0.8761, or a dash."""
        return metric_value(self.value(row), self.unit)

    def written(self, value: float) -> str:
        """Any value of this metric."""
        return metric_value(value, self.unit)

    def full(self, row: Row) -> str:
        """With its 95 % interval: 0.8761 [0.8526, 0.8964]."""
        return metric_text(row.figure(self.key))

    def change_of(self, difference: float) -> str:
        """Any difference of this metric: -2.0 points."""
        return metric_change(difference, self.unit)

    def change(self, row: Row) -> str:
        """Against the teacher: -2.0 points [-3.5, -0.5]; empty where it is not known."""
        figure = row.figure(self.key)
        if figure is None or figure.difference is None:
            return ""
        text = metric_change(figure.difference, self.unit)
        if (interval := figure.difference_interval) is None:
            return text
        unit = text.rpartition(" ")[2] if " " in text else ""
        ends = (metric_change(end, self.unit).removesuffix(unit).rstrip() for end in interval)
        return f"{text} [{', '.join(ends)}]"


# Of a report in which nothing was taken.
NOTHING = Column("", "primary metric", "1", True)


def columns(report: Report) -> tuple[Column, ...]:
    """The primary metric of a report, and the first one that compares with the teacher, if there is one."""
    for row in (report.teacher, *report.candidates):
        if found := headline(row.metrics):
            return tuple(Column(one.key, one.name, one.unit, one.higher_is_better) for one in found)
    return (NOTHING,)


def primary(report: Report) -> Column:
    """The metric that choices and verdicts rest on."""
    return columns(report)[0]
