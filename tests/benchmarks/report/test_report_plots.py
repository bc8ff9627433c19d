"""The report's plots: what is drawn, by hand, and colours that can be told from their ground."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from edgepress import benchmarks
from edgepress.benchmarks.records.costs import MachinePeak, Roofline
from edgepress.benchmarks.records.report import Report
from edgepress.benchmarks.report.plots import base as plots
from edgepress.benchmarks.report.plots import curves as curve_plots
from edgepress.benchmarks.report.plots import limits as limit_plots
from edgepress.benchmarks.report.plots.base import Plot
from edgepress.benchmarks.report.sections import classes as class_views
from edgepress.benchmarks.report.sections import waterfalls

CSS = Path(benchmarks.__file__).parent / "report" / "templates" / "report.css" if benchmarks.__file__ else Path()


def drawn(plot: Plot) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    figure = json.loads(plot.json)
    return figure["data"], figure["layout"]


def test_a_waterfall_ends_in_what_was_measured_and_its_steps_add_up(whole: Report) -> None:
    p50 = waterfalls.waterfalls(whole)[2]
    ((trace,), layout) = drawn(p50)
    assert layout["xaxis"]["ticktext"] == [
        "before", "02-distill", "03-prune", "04-factorize", "measured again", "05-quantize", "after",
    ]  # fmt: skip
    assert trace["y"] == pytest.approx([12.4, -9.3, 0, -0.7, -0.09, -1.25, 1.06])
    assert (trace["measure"][0], trace["measure"][-1]) == ("absolute", "absolute")
    assert set(trace["measure"][1:-1]) == {"relative"}
    assert sum(trace["y"][:-1]) == pytest.approx(trace["y"][-1])


def test_measuring_again_is_no_bar_where_it_changed_nothing(whole: Report) -> None:
    accuracy = waterfalls.waterfalls(whole)[0]
    ((trace,), layout) = drawn(accuracy)
    assert "measured again" not in layout["xaxis"]["ticktext"]
    assert trace["y"] == pytest.approx([91.2, -0.7, 0, -0.1, -0.4, 90.0])
    assert layout["yaxis"]["range"][0] < 90.0 - 0.5


def test_a_last_pass_that_was_dropped_ends_in_what_went_into_it(whole: Report) -> None:
    *stages, last = whole.stages
    dropped = whole.model_copy(update={"stages": (*stages, last.model_copy(update={"verdict": "dropped"}))})
    for measure in waterfalls.measures(dropped):
        *changes, end = waterfalls.steps(dropped, measure)
        assert end.value == measure.value(last.before) == pytest.approx(sum(step.value for step in changes))


def test_without_a_shape_that_all_passes_share_there_is_no_waterfall_of_latency(whole: Report) -> None:
    first, *rest = whole.stages
    bare = first.model_copy(update={"before": first.before.model_copy(update={"latency": ()})})
    assert [one.key for one in waterfalls.measures(whole.model_copy(update={"stages": (bare, *rest)}))] == [
        "accuracy",
        "bytes",
    ]
    assert waterfalls.waterfalls(whole.model_copy(update={"stages": ()})) == []


def roofed(report: Report, *peaks: MachinePeak) -> Report:
    """The chosen row makes 1e6 MACs on 1e6 bytes in 0.5 ms at its first shape."""
    roof = Roofline(macs=1_000_000, int8_macs=0, bytes=1_000_000, bound_ms=0.1, limited_by="memory", share=0.2)
    row = report.candidates[0]
    first = row.latency[0].model_copy(update={"p50": 0.5, "roofline": roof})
    row = row.model_copy(update={"latency": (first, row.latency[1])})
    return report.model_copy(update={"candidates": (row, *report.candidates[1:]), "peaks": peaks})


def peak(**update: object) -> MachinePeak:
    values = {"target": "onnxruntime-cpu", "threads": 1, "fp32_gops": 50.0, "int8_gops": 200.0, "bandwidth_gb_s": 10.0}
    return MachinePeak(**{**values, **update})


def test_a_mark_stands_at_two_operations_a_byte_and_four_a_nanosecond(report: Report) -> None:
    (found,) = limit_plots.rooflines(roofed(report, peak()))
    traces, layout = drawn(found)
    (mark,) = [trace for trace in traces if trace.get("text")]
    assert (mark["x"], mark["y"], mark["text"]) == ([2.0], [4.0], ["1"])
    assert (layout["xaxis"]["type"], layout["yaxis"]["type"]) == ("log", "log")
    assert "1. dynamic at batch 1, sequence 32, 1 thread: 2 operations a byte, 4.00e9 operations/s, 20 %" in found.label


def test_each_roof_climbs_with_the_bandwidth_to_its_peak(report: Report) -> None:
    fp32, int8, *_ = drawn(limit_plots.rooflines(roofed(report, peak()))[0])[0]
    # Ridges at 50 / 10 = 5 and 200 / 10 = 20 operations a byte; the axis goes from 2 / 3 to 20 * 3.
    assert fp32["x"] == pytest.approx([2 / 3, 5, 60]) and fp32["y"] == pytest.approx([20 / 3, 50, 50])
    assert int8["x"] == pytest.approx([2 / 3, 20, 60]) and int8["y"] == pytest.approx([20 / 3, 200, 200])


@pytest.mark.parametrize(
    ("missing", "names"),
    [
        ({"int8_gops": None}, ["fp32 peak 50.0"]),
        ({"bandwidth_gb_s": None}, ["fp32 peak 50.0", "int8 peak 200"]),
        ({"fp32_gops": None, "int8_gops": None}, ["memory 10.0 GB/s"]),
        ({"fp32_gops": None, "int8_gops": None, "bandwidth_gb_s": None}, []),
    ],
)
def test_only_roofs_that_were_measured_are_drawn(report: Report, missing: dict[str, None], names: list[str]) -> None:
    traces, _ = drawn(limit_plots.rooflines(roofed(report, peak(**missing)))[0])
    assert [trace["name"] for trace in traces if trace["mode"] == "lines"] == names


def test_marks_stand_under_the_peaks_of_their_own_runtime_and_threads(report: Report, whole: Report) -> None:
    assert limit_plots.rooflines(roofed(report, peak(threads=2), peak(target="tflite-mobile"))) == []
    cpu, phone = (drawn(found)[0] for found in limit_plots.rooflines(whole))
    numbers = [sorted({one for trace in traces for one in trace.get("text") or ()}) for traces in (cpu, phone)]
    assert numbers == [["0", "1", "2", "3", "4"], ["6", "7", "8"]]


def test_a_sustained_run_is_drawn_against_its_own_first_tenth(whole: Report) -> None:
    (found,) = curve_plots.sustained(whole)
    traces, _ = drawn(found)
    assert [trace["name"][:2] for trace in traces] == ["0.", "1.", "2.", "3.", "6.", "7.", "8."]
    slow = traces[-1]
    assert slow["y"][0] == pytest.approx(1.0) and slow["y"][-1] == pytest.approx(1 + 0.28 * 79 / 80)
    assert len({(trace["line"]["dash"], trace["marker"]["symbol"]) for trace in traces}) == len(traces)


def test_a_first_window_that_hiccups_does_not_shift_the_whole_line(whole: Report) -> None:
    points = next(curve_plots.curves(whole)).points
    slow = (points[0].model_copy(update={"p50_ms": 1000.0}), *points[1:])
    curve = next(curve_plots.curves(whole))
    assert curve._replace(points=slow).reference == pytest.approx(curve.reference)


def test_classes_show_the_teacher_beside_the_chosen_artifact_of_each_target(whole: Report) -> None:
    (found,) = class_views.classes(whole)
    traces, _ = drawn(found)
    assert [trace["meta"] for trace in traces] == ["teacher", "series-0", "series-1", "series-2", "series-3"]
    assert [trace["x"][0] for trace in traces] == pytest.approx([0.79, 0.778, 0.742, 0.77, 0.77])
    assert traces[0]["y"][0] == "1. no opinion at all"
    assert len({trace["marker"]["symbol"] for trace in traces}) == 5


def test_numbers_of_neighbours_go_to_different_sides() -> None:
    assert plots.spread_sides([(3, 1), (1, 1), (2, 1)], ("left", "right")) == ["left", "left", "right"]


def test_a_wide_axis_has_fewer_digits_and_a_narrow_one_keeps_them() -> None:
    assert plots.log_axis("ms", [1.0, 5.0]) == {"type": "log", "title": "ms, log scale", "dtick": "D2"}
    assert "dtick" not in plots.log_axis("ms", [1.0, 1.6]) and "dtick" not in plots.log_axis("ms", [])


def colours() -> list[dict[str, str]]:
    """The variables of the light and of the dark mode."""
    blocks = re.findall(r":root[^{]*\{([^}]*)\}", CSS.read_text(encoding="utf-8"))
    return [dict(re.findall(r"--([\w-]+):\s*(#[0-9a-f]{6})", block)) for block in blocks]


def contrast(one: str, other: str) -> float:
    """Contrast of two colours by WCAG 2: 1 to 21.

    >>> round(contrast("#000000", "#ffffff"))
    21
    """
    levels = []
    for colour in (one, other):
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        levels.append(0.2126 * red + 0.7152 * green + 0.0722 * blue)
    return (max(levels) + 0.05) / (min(levels) + 0.05)


@pytest.mark.parametrize("mode", [0, 1])
def test_texts_and_marks_can_be_told_from_their_ground_in_both_modes(mode: int) -> None:
    found = colours()[mode]
    for ground in ("ground", "card", "stripe"):
        for text in ("ink", "soft", "accent", "good", "bad", "warn", "teacher"):
            assert contrast(found[text], found[ground]) >= 4.5, (text, ground)
    for tone in ("good", "bad", "warn", "accent"):
        assert contrast(found[tone], found[f"{tone}-soft"]) >= 4.5, tone
    assert contrast(found["soft"], found["accent-soft"]) >= 4.5
    for series in range(plots.SERIES):
        assert contrast(found[f"series-{series}"], found["card"]) >= 3, series


def test_targets_have_symbols_of_their_own_and_the_note_tells_them(report: Report) -> None:
    assert "Symbols" not in plots.pareto_note(report)
    other = report.candidates[0].model_copy(update={"target": "tflite-mobile"})
    several = report.model_copy(update={"candidates": (*report.candidates, other)})
    _front, *marks = drawn(plots.pareto(several)[0])[0]
    assert [mark["marker"]["symbol"] for mark in marks] == ["circle", "circle", "square"]
    assert plots.pareto_note(several).endswith(" Symbols: circle onnxruntime-cpu, square tflite-mobile.")
