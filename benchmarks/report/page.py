"""The report as one HTML page: opens offline, asks for nothing, follows the reader's light or dark mode."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NamedTuple

from edgepress.benchmarks.records.figures import Figure
from edgepress.benchmarks.records.report import Report, Row, Shape
from edgepress.benchmarks.report import verdicts, wording
from edgepress.benchmarks.report.columns import columns, primary
from edgepress.benchmarks.report.environment import templates
from edgepress.benchmarks.report.markdown import value_text
from edgepress.benchmarks.report.methods import METHODS
from edgepress.benchmarks.report.plots import base as plots
from edgepress.benchmarks.report.plots import curves as curve_plots
from edgepress.benchmarks.report.plots import limits as limit_plots
from edgepress.benchmarks.report.plots.base import Plot
from edgepress.benchmarks.report.sections import base as sections
from edgepress.benchmarks.report.sections import classes as class_views
from edgepress.benchmarks.report.sections import costs, waterfalls
from edgepress.benchmarks.report.sections.base import Section, all_rows
from edgepress.benchmarks.report.sections.metrics import metrics
from edgepress.benchmarks.report.sections.streaming import streaming
from edgepress.targets.text import all_visible

BOXES_NOTE = "Boxes are quartiles of all timed calls. The percentiles are in the table below."
NO_POINTS = "Not drawn: no row has both a figure of the primary metric and a latency."
NO_SAMPLES = "Not drawn: this report holds no raw samples."


class Part(NamedTuple):
    """One heading of the page: its plots with a note, and the tables with their figures; `absent` where no plot is."""

    key: str
    title: str
    plots: list[Plot]
    note: str
    tables: tuple[Section, ...]
    absent: str = ""

    @property
    def shown(self) -> bool:
        """Compilers' estimates are nothing that a report without them lacks."""
        return bool(self.plots or self.absent or any(one.lines or one.absent for one in self.tables))


def page(report: Report) -> str:
    """The whole page; every text of the report is escaped, and what cannot be seen in it is made visible."""
    return (
        templates()
        .get_template("report.html.j2")
        .render(_view(Report.model_validate(all_visible(report.model_dump()))))
    )


def _view(report: Report) -> dict[str, object]:
    shapes = wording.all_shapes(report)
    chosen = verdicts.chosen_rows(report)
    rows = all_rows(report)
    several = len({row.target for row in report.candidates}) > 1
    return {
        "report": report,
        "chosen": chosen,
        "tiles": verdicts.tiles(report, chosen[0]) if len(chosen) == 1 else [],
        "verdict": verdicts.verdict(report) if several else None,
        "gates": [(*wording.gate_text(gate), gate.passed) for gate in verdicts.gates_in_order(report)],
        "shapes": [wording.shape_words(shape) for shape in shapes],
        "common": wording.common_shape(shapes),
        "names": wording.shape_names(shapes),
        "rows": rows,
        "columns": columns(report),
        "parts": _parts(report),
        "library": plots.library(),
        "waterfalls": waterfalls.waterfalls(report),
        "steps": waterfalls.steps_table(report),
        "environment": _pairs(report.environment),
        "data": _pairs(report.data),
        "methods": METHODS,
        "w": wording,
        "details": lambda row: _details(report, row),
        "pretty": lambda value: json.dumps(value, indent=1, ensure_ascii=False, default=str),
        **_stages(report, wording.shape_names(shapes)),
    }


def _parts(report: Report) -> list[Part]:
    """What stands between the rows and the passes: plots first, tables behind them."""
    latency, classes = sections.latency(report), class_views.classes_table(report)
    loads, limits, curves = costs.scenarios(report), costs.limits(report), curve_plots.curves_table(report)
    footprint, heard = costs.footprint(report), streaming(report)
    no_samples = "" if latency.lines else "Not measured: no row of this report has a latency."
    return [
        Part(
            "tradeoff",
            f"{wording.capital(primary(report).name)}, latency and size",
            plots.pareto(report),
            plots.pareto_note(report),
            (),
            NO_POINTS,
        ),
        Part("metrics", metrics(report).title, [], "", (metrics(report),)),
        Part("latency", "Latency", plots.distributions(report), BOXES_NOTE, (latency,), no_samples or NO_SAMPLES),
        *([Part("streaming", heard.title, [], "", (heard,))] if heard is not None else []),
        Part("scenarios", loads.title, curve_plots.sustained(report), curve_plots.NOTE, (loads, curves)),
        Part("footprint", footprint.title, [], "", (footprint,)),
        Part("limits", limits.title, limit_plots.rooflines(report), limit_plots.NOTE, (limits, costs.peaks(report))),
        Part("classes", classes.title, class_views.classes(report), class_views.NOTE, (classes,)),
        Part("steadiness", costs.steadiness(report).title, [], "", (costs.steadiness(report),)),
        Part("builds", sections.builds(report).title, [], "", (sections.builds(report),)),
    ]


def _stages(report: Report, names: Mapping[Shape, str]) -> dict[str, object]:
    """The passes, each with its figures by label, and all labels in order."""
    found = []
    for stage in report.stages:
        cells = {label: (before, after) for label, before, after in wording.stage_cells(stage, names)}
        found.append((stage, cells))
    return {"stages": found, "stage_labels": list(dict.fromkeys(label for _, cells in found for label in cells))}


def _details(report: Report, row: Row) -> list[tuple[str, str]]:
    """The figures of one row that the table has no column for; those not taken are left to the table's dashes."""
    metric, shown = primary(report), {column.key for column in columns(report)}
    figure = row.primary
    pairs = [
        (f"validation {metric.name}", metric.written(row.validation) if row.validation is not None else ""),
        (
            "flips lost / won",
            f"{figure.flips_lost} / {figure.flips_won}" if figure and figure.flips_won is not None else "",
        ),
        ("difference to the teacher", "" if row is report.teacher else verdicts.difference(report, row)),
        (_test(figure), f"{figure.p:.3g}" if figure and figure.p is not None else ""),
        *((one.name, wording.metric_value(one.value, one.unit)) for one in row.metrics if one.key not in shown),
        ("session", value_text(row.settings) if row.settings else ""),
        ("method", row.candidate.name if row.candidate else ""),
        ("options", value_text(row.candidate.options) if row.candidate and row.candidate.options else ""),
    ]
    return [(name, text) for name, text in pairs if text]


def _test(figure: Figure | None) -> str:
    """What a p-value is of: McNemar's test of rows that are right or wrong, or resampled rows."""
    return "McNemar p" if figure is not None and figure.flips_won is not None else "bootstrap p"


def _pairs(values: dict[str, object]) -> list[tuple[str, str]]:
    """Free-form values as text; byte counts in units, names without underscores."""
    pairs = []
    for name, value in values.items():
        is_bytes = name.endswith("_bytes") and isinstance(value, int)
        label = name.removesuffix("_bytes") if is_bytes else name
        text = wording.human_bytes(float(str(value))) if is_bytes else value_text(value)
        pairs.append((label.replace("_", " "), text))
    return pairs
