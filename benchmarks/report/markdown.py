"""The report as Markdown: the same tables, for pull requests and model cards."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from edgepress.benchmarks.records.report import Report, Row
from edgepress.benchmarks.report import verdicts
from edgepress.benchmarks.report.columns import columns, primary
from edgepress.benchmarks.report.plots import curves as curve_plots
from edgepress.benchmarks.report.sections import base as sections
from edgepress.benchmarks.report.sections import classes as class_views
from edgepress.benchmarks.report.sections import costs, waterfalls
from edgepress.benchmarks.report.sections.base import Section, all_rows
from edgepress.benchmarks.report.sections.metrics import metrics
from edgepress.benchmarks.report.sections.streaming import streaming
from edgepress.benchmarks.report.wording import (
    MISSING,
    all_shapes,
    count,
    duration,
    gate_text,
    human_bytes,
    p50,
    percent,
    shape_words,
    speedup,
    spread,
    stage_cells,
    stage_findings,
    times,
)
from edgepress.targets.text import visible


def markdown(report: Report) -> str:
    """Verdict, gates, all rows, stages and environment."""
    parts = [
        f"# {escape(report.name)}",
        _verdict(report),
        _section("Gates", _gates(report)),
        _section("Teacher and candidates", rows_table(report)),
        *(_table_of(one) for one in _tables(report)),
        _section("What each pass brought, on validation data", _stages(report)),
        _table_of(waterfalls.steps_table(report)),
        _section("Data", _pairs(report.data)),
        _section("Environment", _pairs(report.environment)),
        _section("Notes", "\n".join(f"- {escape(note)}" for note in report.notes)),
        f"{escape(report.task)}, {escape(report.created)}, recipe `{escape(report.recipe_digest[:16])}`",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def rows_table(report: Report) -> str:
    """Teacher and every candidate, one line each, with p50 ms and speed-up of each shape."""
    shapes = all_shapes(report)
    first, *others = columns(report)
    heads = ["name", "target", "precision", f"{escape(first.name)} [95 %]", *(escape(one.name) for one in others)]
    for shape in shapes:
        heads += [f"p50 ms, {shape_words(shape)}", "speed-up"]
    heads += ["parameters", "MACs", "int8 MACs", "bytes", "shrink", "status"]
    lines = []
    for row in all_rows(report):
        name = f"**{escape(row.name)}** ★" if row.chosen else escape(row.name)
        name += " (teacher)" if report.is_teacher(row) else ""
        cells = [name, escape(row.target), escape(row.precision), first.full(row)]
        cells += [one.text(row) for one in others]
        by_shape = {one.shape: one for one in row.latency}
        for shape in shapes:
            one = by_shape.get(shape)
            cells += [p50(one), speedup(one)] if one else [MISSING, MISSING]
        cells += [count(row.parameters), count(row.macs), percent(row.int8_mac_share), human_bytes(row.bytes)]
        lines.append([*cells, times(row.shrink), _status(row)])
    return table(heads, lines)


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; the cells are escaped already."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def escape(text: str) -> str:
    """`text` as literal text inside a Markdown table cell: no markup, no HTML, no line break, nothing unseen."""
    text = visible(" ".join(text.split())).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    for character in "\\`*_[]|~":
        text = text.replace(character, f"\\{character}")
    return text


def _status(row: Row) -> str:
    return f"{row.status}: {escape(row.reason)}" if row.reason else row.status


def _section(title: str, body: str) -> str:
    return f"## {title}\n\n{body}" if body else ""


def _verdict(report: Report) -> str:
    """Gates that do not hold first; then a sentence, or a table where there are several targets."""
    failed = verdicts.alarm(report)
    parts = [f"**{escape(failed)}**" if failed else ""]
    chosen = verdicts.chosen_rows(report)
    if not chosen:
        parts.append("**No artifact was chosen.** The table says what became of each candidate.")
    if len(chosen) == 1:
        parts.append(_sentence(report, chosen[0]))
    if len({row.target for row in report.candidates}) > 1:
        parts.append(_body(verdicts.verdict(report)))
    return "\n\n".join(part for part in parts if part)


def _sentence(report: Report, row: Row) -> str:
    text = f"Chosen: **{escape(row.name)}** on {escape(row.target)}, {escape(row.precision)}"
    if change := verdicts.difference(report, row):
        metric = primary(report)
        values = f"{metric.text(row)}, teacher {metric.text(report.teacher)}"
        text += f"; {escape(metric.name)} {values} ({escape(change)})"
    return f"{text}; {spread(one.speedup for one in row.latency)} faster, {times(row.shrink)} smaller."


def _gates(report: Report) -> str:
    rows = []
    for verdict in verdicts.gates_in_order(report):
        demand, limit, measured = gate_text(verdict)
        rows.append([escape(demand), limit, measured, "passed" if verdict.passed else "**failed**"])
    return table(["gate", "limit", "measured", "verdict"], rows) if rows else ""


def _tables(report: Report) -> list[Section]:
    heard = streaming(report)
    return [
        metrics(report),
        sections.latency(report),
        *([heard] if heard is not None else []),
        costs.scenarios(report),
        curve_plots.curves_table(report),
        costs.footprint(report),
        costs.limits(report),
        costs.peaks(report),
        class_views.classes_table(report),
        costs.steadiness(report),
        sections.builds(report),
    ]


def _table_of(one: Section) -> str:
    return _section(one.title, _body(one) if one.lines else one.absent)


def _body(one: Section) -> str:
    rows = [[escape(cell) for cell in cells] for cells in one.lines]
    return "\n\n".join([table([escape(head) for head in one.heads], rows), *(escape(note) for note in one.notes)])


def _stages(report: Report) -> str:
    if not report.stages:
        return ""
    names = {shape: f"at {shape_words(shape)}" for shape in all_shapes(report)}
    all_cells = [stage_cells(stage, names) for stage in report.stages]
    labels = list(dict.fromkeys(label for cells in all_cells for label, _, _ in cells))
    rows = []
    for stage, row in zip(report.stages, all_cells, strict=True):
        cells = {label: f"{before} → {after}" for label, before, after in row}
        reasons = "<br>".join(escape(reason) for reason in (stage.summary, *stage_findings(stage)) if reason)
        rows.append(
            [
                escape(stage.name),
                stage.verdict,
                *(cells.get(label, MISSING) for label in labels),
                duration(stage.seconds),
                reasons,
            ]
        )
    return table(["stage", "verdict", *labels, "took", "what was done, and reasons"], rows)


def _pairs(values: dict[str, object]) -> str:
    rows = [[escape(name), escape(value_text(value))] for name, value in values.items()]
    return table(["", ""], rows) if rows else ""


def value_text(value: object) -> str:
    """A value of a free-form mapping in one line: lists with commas, mappings as name and value."""
    if value is None:
        return MISSING
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return ", ".join(f"{name} {value_text(inner)}" for name, inner in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(value_text(inner) for inner in value)
    return json.dumps(value)
