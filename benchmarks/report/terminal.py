"""The report's tables in the terminal: made for 100 columns, and they fold at 80."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from edgepress.benchmarks.records.costs import Footprint
from edgepress.benchmarks.records.report import LatencyRow, Report, Row, Shape, StageRow
from edgepress.benchmarks.report.columns import Column, columns, primary
from edgepress.benchmarks.report.verdicts import difference_alone
from edgepress.benchmarks.report.wording import (
    FLAG,
    MISSING,
    all_shapes,
    common_shape,
    count,
    duration,
    fine_percent,
    human_bytes,
    interval_text,
    metric_cells,
    ms,
    p50,
    percentile,
    shape_names,
    stage_findings,
    status_notes,
    times,
)
from edgepress.benchmarks.statistics import Interval

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

# A longer name of a shape has a line of its own, so that the table fits into 80 columns.
LONGEST_NAME = 4
UNSTEADY = f"{FLAG} these times scatter by more than 2.5 % (coefficient of variation)"
STATUS_STYLE = {"measured": "green", "built": "cyan", "estimated": "yellow", "unavailable": "yellow", "failed": "red"}
VERDICT_STYLE = {"kept": "green", "kept although it did not pay": "yellow", "dropped": "red"}


def answer_table(report: Report) -> Table:
    """What a run came to: the teacher, and of each target the chosen artifact, or why it has none."""
    rows = (report.teacher, *report.answers)
    shapes = list(dict.fromkeys(latency.shape for row in rows for latency in row.latency))
    table = _table(f"{report.name}: teacher and chosen artifacts", common_shape(shapes))
    metric = primary(report)
    for heading in (f"{metric.name}\ndifference", "p50 ms", "speed-up", "bytes\nshrink"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("status\nprecision", no_wrap=True)
    names = shape_names(shapes)
    for row in rows:
        _add_answer(table, row, metric, names, report)
    notes = status_notes(rows)
    if any(latency.unsteady for row in rows for latency in row.latency):
        notes.insert(0, UNSTEADY)
    table.caption = _caption(notes)
    return table


def _add_answer(table: Table, row: Row, metric: Column, names: dict[Shape, str], report: Report) -> None:
    from rich.text import Text

    weight = "bold" if row.chosen else ""
    label = "teacher " if row is report.teacher else "★ " if row.chosen else ""
    medians = [
        f"{names[one.shape]} {percentile(one, 50)} {FLAG if one.unsteady else ''}".strip() for one in row.latency
    ]
    factors = [times(one.speedup) for one in row.latency]
    change = difference_alone(report, row)
    table.add_row(
        Text.assemble((f"{label}{row.name}", weight), "\n", (row.target, "dim")),
        "\n".join([metric.text(row), *([] if row is report.teacher else [change])]).rstrip(),
        "\n".join(medians) or MISSING,
        "\n".join(factors) or MISSING,
        f"{human_bytes(row.bytes)}\n{times(row.shrink)}",
        Text.assemble((row.status, STATUS_STYLE[row.status]), "\n", (row.precision, "dim")),
        style=weight,
    )


def summary_table(report: Report) -> Table:
    """Teacher first, then the candidates, the chosen one with a star; reasons stand below the table."""
    shapes = all_shapes(report)
    table = _table(f"{report.name}: teacher and candidates", common_shape(shapes))
    metrics = columns(report)
    first, *others = (column.name for column in metrics)
    for heading in ("\n".join([first, "[95 %]", *others]), "p50 ms [95 %]\np90", "speed-up\n[95 %]", "bytes\nshrink"):
        table.add_column(heading, justify="right", no_wrap=True)
    names = shape_names(shapes)
    rows = (report.teacher, *report.candidates)
    for row in rows:
        _add_row(table, row, metrics, shapes, names, report.is_teacher(row))
    notes = [line for row in report.candidates if row.chosen and (line := _cost_line(row))]
    if any(latency.unsteady for row in rows for latency in row.latency):
        notes.insert(0, UNSTEADY)
    table.caption = _caption([*notes, *status_notes(rows)])
    return table


def _cost_line(row: Row) -> str:
    """What of a chosen artifact's costs is worth a line in the terminal; all of them are in report.html."""
    taken = row.footprint or Footprint()
    shares = [one.roofline.share for one in row.latency if one.roofline]
    parts = [
        f"cold start {ms(taken.cold_start_ms)} ms" if taken.cold_start_ms is not None else "",
        f"peak memory {human_bytes(taken.peak_memory_bytes)}" if taken.peak_memory_bytes is not None else "",
        f"{fine_percent(min(shares))} of the machine's limit or more" if shares else "",
    ]
    return f"{row.target} {row.name}: {', '.join(text for text in parts if text)}" if any(parts) else ""


def _table(title: str, subtitle: str) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    heading = Text.assemble((title, "bold"), (f"  ({subtitle})" if subtitle else "", "dim"))
    table = Table(title=heading, title_justify="left", caption_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("", overflow="fold", min_width=14)
    return table


def _add_row(
    table: Table,
    row: Row,
    metrics: tuple[Column, ...],
    shapes: list[Shape],
    names: dict[Shape, str],
    is_teacher: bool,
) -> None:
    from rich.text import Text

    weight = "bold" if row.chosen else ""
    label = "teacher " if is_teacher else "★ " if row.chosen else ""
    by_shape = {latency.shape: latency for latency in row.latency}
    taken = [(names[shape], by_shape[shape]) for shape in shapes if shape in by_shape]
    latency = [line for name, one in taken for line in _latency_lines(name, one)]
    factors = [line for name, one in taken for line in _speedup_lines(name, one)]
    first, *others = metrics
    figure = row.figure(first.key)
    answers = "\n".join(_lines(first.text(row), figure.interval if figure else None, lambda end: _short(end, first)))
    beside = [column.text(row) for column in others]
    status = (row.status, STATUS_STYLE[row.status])
    table.add_row(
        Text.assemble((f"{label}{row.name}", weight), "\n", (f"{row.target} {row.precision} ", "dim"), status),
        "\n".join([answers.rstrip(), *beside]),
        "\n".join(latency) or MISSING,
        "\n".join(factors) or MISSING,
        f"{human_bytes(row.bytes)}\n{times(row.shrink)}",
        style=weight,
    )


def _short(value: float, column: Column) -> str:
    """An end of an interval: .853 for shares, which leaves room for the other columns."""
    return f"{value:.3f}".lstrip("0") if column.unit == "share" else column.written(value)


def _latency_lines(name: str, row: LatencyRow) -> list[str]:
    """p50 with its interval, and below it p90, flagged where the samples scatter by more than 2.5 %."""
    flag = FLAG if row.unsteady else ""
    first = [name, p50(row)] if len(name) > LONGEST_NAME else [f"{name} {p50(row)}".strip()]
    return [*first, f"p90 {percentile(row, 90)} {flag}".strip()]


def _speedup_lines(name: str, row: LatencyRow) -> list[str]:
    """The lines beside those of the latency."""
    above = [""] if len(name) > LONGEST_NAME else []
    return [*above, *_lines(times(row.speedup), row.speedup_interval, times)]


def _lines(text: str, interval: Interval | None, write: Callable[[float], str]) -> tuple[str, str]:
    """A figure, and below it its interval."""
    return text, interval_text(interval, write) if interval else ""


def stages_table(report: Report) -> Table:
    """What each pass brought, before → after; reasons stand below the table."""
    shapes = [figures.shape for stage in report.stages for figures in (*stage.before.latency, *stage.after.latency)]
    shapes = list(dict.fromkeys(shapes))
    table = _table(f"{report.name}: what each pass brought, on validation data", common_shape(shapes))
    metrics = dict.fromkeys(name for stage in report.stages for name, *_ in metric_cells(stage.before, stage.after))
    for heading in ("\n".join(metrics), "parameters, MACs\nbytes", "p50 ms"):
        table.add_column(heading, justify="right", no_wrap=True)
    names = shape_names(shapes)
    for stage in report.stages:
        _add_stage(table, stage, names)
    table.caption = _caption([f"{stage.name}: {reason}" for stage in report.stages for reason in stage_findings(stage)])
    return table


def _add_stage(table: Table, stage: StageRow, names: dict[Shape, str]) -> None:
    from rich.text import Text

    before, after = stage.before, stage.after
    old = {row.shape: ms(row.p50) for row in before.latency}
    new = {row.shape: ms(row.p50) for row in after.latency}
    latency = [
        f"{names[shape]} {old.get(shape, MISSING)} → {new.get(shape, MISSING)}".strip()
        for shape in dict.fromkeys((*old, *new))
    ]
    verdict = (stage.verdict, VERDICT_STYLE[stage.verdict])
    table.add_row(
        Text.assemble(stage.name, "\n", verdict, "\n", (duration(stage.seconds), "dim")),
        "\n".join(f"{old} → {new}" for _, old, new in metric_cells(before, after)),
        f"{count(before.parameters)} → {count(after.parameters)}\n{count(before.macs)} → {count(after.macs)}\n"
        f"{human_bytes(before.bytes)} → {human_bytes(after.bytes)}",
        "\n".join(latency) or MISSING,
    )


def _caption(lines: list[str]) -> Text | None:
    from rich.text import Text

    # Text and not str: a name such as "[red]" is the user's and no markup.
    return Text("\n".join(f"· {line}" for line in lines), style="not italic dim") if lines else None
