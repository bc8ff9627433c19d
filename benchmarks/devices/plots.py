"""Accuracy against latency by device: every artifact on every device, one plot a shape."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

from edgepress.benchmarks.devices.intervals import p50_interval
from edgepress.benchmarks.devices.ranking import shape_words
from edgepress.benchmarks.devices.shipping import Shape, Standing, shape_of
from edgepress.benchmarks.report.plots.base import LEGEND, SERIES, SYMBOLS, Plot, log_axis, plot
from edgepress.benchmarks.report.wording import ms, share
from edgepress.benchmarks.statistics import wilson_interval

NOTE = (
    "Accuracy is on the rows that travel with the release; bars are 95 % intervals. Colours are devices, symbols are "
    "artifacts. The figures are in the tables."
)


def tradeoffs(found: Sequence[Standing]) -> list[Plot]:
    """One plot for each shape at which a device has both figures."""
    shapes = dict.fromkeys(shape_of(row) for one in found for row in one.record.latency)
    return [made for number, shape in enumerate(shapes) if (made := _tradeoff(number, shape, found)) is not None]


def _tradeoff(number: int, shape: Shape, found: Sequence[Standing]) -> Plot | None:
    devices = list(dict.fromkeys(one.record.device for one in found))
    names = list(dict.fromkeys(one.name for one in found))
    traces, words, times = [], [], []
    for one in found:
        p50 = one.p50s.get(shape)
        if p50 is None or one.record.accuracy is None:
            continue
        mark = {
            "marker": {"size": 12, "symbol": SYMBOLS[names.index(one.name) % len(SYMBOLS)], "opacity": 0.8},
            "meta": f"series-{devices.index(one.record.device) % SERIES}",
        }
        traces.append(_mark(one, shape, p50) | mark)
        text = f"accuracy {share(one.record.accuracy.value)}, p50 {ms(p50)} ms"
        words.append(f"{one.name} on {one.record.device}: {text}")
        times.append(p50)
    if not traces:
        return None
    title = f"Accuracy against p50 at {shape_words(shape)}"
    layout = {
        "xaxis": log_axis("p50 in ms", times), "yaxis": {"title": "accuracy"}, "showlegend": True, "legend": LEGEND,
        "height": 420,
    }  # fmt: skip
    return plot(f"devices-{number}", title, f"{title}. {'; '.join(words)}.", traces, layout)


def _mark(one: Standing, shape: Shape, p50: float) -> dict[str, Any]:
    accuracy = one.record.accuracy
    assert accuracy is not None
    row = next(row for row in one.record.latency if shape_of(row) == shape)
    left, right = p50_interval(row) or (p50, p50)
    low, high = wilson_interval(accuracy.right, accuracy.rows)
    up, down = max(0.0, high - accuracy.value), max(0.0, accuracy.value - low)
    return {
        "type": "scatter", "mode": "markers", "x": [p50], "y": [accuracy.value],
        "name": html.escape(f"{one.record.device}: {one.name}"[:60]),
        "error_x": {"type": "data", "symmetric": False, "array": [max(0.0, right - p50)],
                    "arrayminus": [max(0.0, p50 - left)]},
        "error_y": {"type": "data", "symmetric": False, "array": [up], "arrayminus": [down]},
    }  # fmt: skip
