"""What each pass brought, from the first measured figure to the last, as steps that add up."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from edgepress.benchmarks.records.report import Figures, Report, Shape, StageRow
from edgepress.benchmarks.report.plots.base import Plot, plot, short
from edgepress.benchmarks.report.sections.base import Section
from edgepress.benchmarks.report.wording import capital, shape_words

AGAIN = "measured again"


class Measure(NamedTuple):
    """One figure of the stages: how it is read and written; `less` is "good" or "bad" as less of it is.

    `close`: the least room around values that are too alike for an axis from 0; 0 for those that are not."""

    key: str
    title: str
    unit: str
    less: str
    value: Callable[[Figures], float]
    close: float = 0.0


class Step(NamedTuple):
    """One bar: its name, and its value as it stands (the first and the last) or as a change."""

    name: str
    value: float
    measured: bool


def outgoing(stage: StageRow) -> Figures:
    """What goes on to the next stage: a dropped pass leaves what went in."""
    return stage.before if stage.verdict == "dropped" else stage.after


def measures(report: Report) -> list[Measure]:
    """The primary metric, bytes, and p50 at the first shape that every stage has; none without stages."""
    sides = [figures for stage in report.stages for figures in (stage.before, stage.after)]
    if not sides:
        return []
    found = [
        *_metric(sides),
        Measure("bytes", "Bytes", "MB", "good", lambda side: 1e-6 * side.bytes),
    ]
    shared = [one.shape for one in sides[0].latency if all(_p50(side, one.shape) is not None for side in sides)]
    if shared:
        first = shared[0]
        found.append(Measure("p50", f"p50 at {shape_words(first)}", "ms", "good", lambda side: _p50(side, first) or 0))
    return found


def _metric(sides: list[Figures]) -> list[Measure]:
    """The primary metric where every side has it: shares in points, others in their unit."""
    kind = sides[0].primary
    if kind is None or any(side.figure(kind.key) is None for side in sides):
        return []
    scale, unit = (100, "points") if kind.unit == "share" else (1, kind.unit)

    def value(side: Figures) -> float:
        figure = side.figure(kind.key)
        assert figure is not None  # every side has it
        return scale * figure.value

    return [
        Measure(kind.key, capital(kind.name), unit, "bad" if kind.higher_is_better else "good", value, 0.005 * scale)
    ]


def _p50(side: Figures, shape: Shape) -> float | None:
    return next((one.p50 for one in side.latency if one.shape == shape), None)


def steps(report: Report, measure: Measure) -> list[Step]:
    """Measured before the first pass; then each pass, after - before; then measured after the last one.

    A dropped pass brings 0. Between two passes stands by how much the figure before the second one is another than the
    first one left: so the changes add up to the last bar.
    """
    last = measure.value(report.stages[0].before)
    found = [Step("before", last, True)]
    for stage in report.stages:
        before, after = measure.value(stage.before), measure.value(outgoing(stage))
        if stage is not report.stages[0]:
            found.append(Step(AGAIN, before - last, False))
        found.append(Step(stage.name, after - before, False))
        last = after
    return [*found, Step("after", last, True)]


def waterfalls(report: Report) -> list[Plot]:
    """One plot a measure; a figure that measuring again did not change has no bar for it."""
    plots = []
    for measure in measures(report):
        bars = [bar for bar in steps(report, measure) if bar.name != AGAIN or bar.value]
        # Places are numbers, because two steps can have one name.
        places = list(range(len(bars)))
        trace = {
            "type": "waterfall", "x": places, "y": [bar.value for bar in bars], "meta": measure.less,
            "measure": ["absolute" if bar.measured else "relative" for bar in bars],
            "text": [_written(bar) for bar in bars], "textposition": "outside", "cliponaxis": False,
            "hovertext": [short(bar.name, 60) for bar in bars], "hoverinfo": "text+delta+final",
        }  # fmt: skip
        layout = {
            "xaxis": {"tickvals": places, "ticktext": [short(bar.name, 18) for bar in bars]},
            "yaxis": {"title": measure.unit, "range": _range(measure, bars)},
        }
        label = f"{measure.title}: " + "; ".join(f"{bar.name} {_written(bar)}" for bar in bars)
        plots.append(plot(f"waterfall-{measure.key}", measure.title, label, [trace], layout))
    return plots


def steps_table(report: Report) -> Section:
    """The steps of all measures as figures; measuring again is a line where it changed any of them."""
    found = measures(report)
    columns = [steps(report, measure) for measure in found]
    lines = [
        (bars[0].name, *map(_written, bars))
        for bars in zip(*columns, strict=True)
        if bars[0].name != AGAIN or any(bar.value for bar in bars)
    ]
    heads = ("step", *(f"{measure.title}, {measure.unit}" for measure in found))
    return Section("steps", "Figures of the steps", heads, lines, ("step",))


def _written(bar: Step) -> str:
    """Three figures; changes carry their sign.

    >>> _written(Step("prune", -0.25, measured=False)), _written(Step("after", 91.234, measured=True))
    ('−0.25', '91.2')
    """
    text = f"{bar.value:.3g}" if bar.measured else f"{bar.value:+.3g}"
    return ("0" if not bar.value else text).replace("-", "\N{MINUS SIGN}")


def _range(measure: Measure, bars: list[Step]) -> list[float]:
    """From 0, with room for the figures above; metrics are too alike for that and start below the lowest."""
    levels = [bars[0].value]
    for bar in bars[1:-1]:
        levels.append(levels[-1] + bar.value)
    low, high = min(levels), max(levels)
    room = max(high - low, measure.close) if measure.close else high
    return [low - room if measure.close else 0.0, high + 0.15 * room]
