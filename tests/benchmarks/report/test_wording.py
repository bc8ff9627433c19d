from __future__ import annotations

import pytest

from edgepress.benchmarks.records.report import GateVerdict, LatencyRow, Row, Shape
from edgepress.benchmarks.report import wording
from edgepress.benchmarks.report.wording import (
    common_shape,
    count,
    duration,
    human_bytes,
    ms,
    points,
    shape_names,
    spread,
    times,
)


def shape(batch: int, sequence: int | None, threads: int = 1) -> Shape:
    return Shape(batch=batch, sequence=sequence, threads=threads)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (999_600, "1.00 MB"),
        (7_310_000, "7.31 MB"),
        (90_868_000, "90.9 MB"),
    ],
)
def test_bytes_have_three_figures_and_never_four_digits(value: int, text: str) -> None:
    assert human_bytes(value) == text


def test_figures_are_written_with_the_digits_that_matter() -> None:
    assert [ms(value) for value in (0.0456, 0.714, 6.216, 19.11, 142.4)] == ["0.046", "0.714", "6.22", "19.1", "142"]
    assert [times(value) for value in (0.62, 1.0, 8.42, 31.7, None)] == ["0.62x", "1.00x", "8.4x", "32x", "–"]
    assert [count(value) for value in (512, 6_970_000, 870e6)] == ["512", "6.97 M", "870 M"]
    assert [duration(value) for value in (0.84, 42.4, 200, 3600)] == ["0.8 s", "42 s", "3 min 20 s", "60 min 00 s"]
    assert (points(-0.0213), points(0.004)) == ("−2.1 points", "+0.4 points")
    assert (spread([9.14, 8.4, None]), spread([8.4, 8.41]), spread([None])) == ("8.4x to 9.1x", "8.4x", "–")


def test_a_loss_of_nothing_has_no_minus() -> None:
    assert (points(-0.0), points(-0.0002), points(-0.0006)) == ("+0.0 points", "+0.0 points", "−0.1 points")


def test_shares_bounds_and_figures_of_scenarios_keep_their_small_digits() -> None:
    assert [wording.fine_percent(value) for value in (0.0042, 0.0994, 0.0996, 0.41, 1.2)] == [
        "0.4 %", "9.9 %", "10 %", "41 %", "120 %",
    ]  # fmt: skip
    assert [wording.short_ms(value) for value in (0.000412, 0.0456, 0.649, 12.34)] == [
        "0.000412",
        "0.0456",
        "0.649",
        "12.3",
    ]
    assert [wording.measured(*value) for value in ((1.034, "x"), (812.3, "samples/s"), (4.2, "ms"))] == [
        "1.03x", "812 samples/s", "4.20 ms",
    ]  # fmt: skip
    assert wording.millijoules(310.2) == "310 mJ"


def test_shapes_are_named_by_what_tells_them_apart() -> None:
    short, long = shape(1, 32), shape(1, 128)
    assert shape_names([short, long]) == {short: "s32", long: "s128"}
    assert common_shape([short, long]) == "batch 1, 1 thread"
    assert shape_names([shape(1, None)]) == {shape(1, None): ""}
    assert common_shape([shape(1, None), shape(8, None)]) == "1 thread"
    assert list(shape_names([shape(1, 32, 1), shape(8, 32, 2)]).values()) == ["b1 t1", "b8 t2"]
    assert common_shape([]) == ""


def latency(samples: int = 100, cv: float = 0.01, stable: bool = True) -> LatencyRow:
    return LatencyRow(
        batch=1, sequence=None, threads=1, p50=2.567, p90=3.26, samples=samples, speedup=10.8, p50_low=2.55,
        p50_high=2.6, speedup_low=10.6, speedup_high=11.0, cv=cv, robust_cv=0.008, stable=stable,
    )  # fmt: skip


def test_figures_stand_with_their_intervals() -> None:
    assert wording.p50(latency()) == "2.57 [2.55, 2.60]"
    assert wording.speedup(latency()) == "10.8x [10.6, 11.0]"


def test_a_percentile_without_enough_samples_says_how_many_are_missing() -> None:
    assert [wording.percentile(latency(30), share) for share in (50, 90, 99)] == [
        "2.57",
        "needs 64, has 30",
        "needs 662, has 30",
    ]
    assert wording.percentile(latency(64), 90) == "3.26"
    assert wording.p50(latency(10)).startswith("needs 11, has 10")


def test_variation_above_two_and_a_half_per_cent_is_flagged() -> None:
    assert [wording.scatter_text(latency(cv=cv)) for cv in (0.025, 0.12)] == [
        "CV 2.5 %",
        "⚠ CV 12 %, 0.8 % without outliers",
    ]
    row = Row(name="a", target="t", precision="int8", status="measured", latency=(latency(cv=0.12, stable=False),))
    scattered, cold = wording.unsteady_notes([row])
    assert scattered.endswith("a at batch 1, 1 thread (CV 12 %, 0.8 % without outliers).")
    assert cold.endswith("before medians agreed within 2 %: a at batch 1, 1 thread.")
    assert wording.unsteady_notes([row.model_copy(update={"latency": (latency(),)})]) == []


def test_a_verdict_shows_the_bound_and_which_was_judged() -> None:
    verdict = GateVerdict(gate="min_accuracy", limit=0.86, measured=0.876, passed=False, bound=0.8525, judged="bound")
    assert wording.gate_text(verdict)[2] == "0.8760; at 95 % confidence 0.8525, which is judged"
    assert wording.gate_text(verdict.model_copy(update={"judged": "point"}))[2] == "0.8760; at 95 % confidence 0.8525"
