from __future__ import annotations

import pytest

from edgepress.benchmarks.judge.gates import judge_gates
from edgepress.benchmarks.judge.latency import latency_rows
from edgepress.benchmarks.measure.footprint import shrink
from edgepress.benchmarks.records.figures import Figure
from edgepress.benchmarks.records.report import Measurement, Report, Row, Shape
from edgepress.targets.errors import BenchmarkError
from tests.benchmarks.quality import quality

S32, S128 = (Shape(batch=1, sequence=sequence, threads=1) for sequence in (32, 128))


def measured(shape: Shape, *samples: float) -> Measurement:
    return Measurement(metric="latency", unit="ms", samples=samples, shape=shape)


def test_speed_up_is_the_ratio_of_the_medians_matched_by_shape() -> None:
    teacher = [measured(S128, 30, 40, 50), measured(S32, 8, 9, 10)]
    (short, long) = latency_rows([measured(S32, 1, 3, 5), measured(S128, 4, 4, 4)], teacher)
    assert (short.p50, short.p90, short.samples, short.speedup) == (3, pytest.approx(4.6), 3, 3.0)
    assert (long.sequence, long.p50, long.speedup) == (128, 4, 10.0)


def test_without_the_teacher_at_that_shape_there_is_no_speed_up() -> None:
    assert latency_rows([measured(S32, 1)], None)[0].speedup is None
    assert latency_rows([measured(S32, 1)], [measured(S128, 1)])[0].speedup is None


def test_a_speed_up_has_an_interval_only_where_the_same_processes_timed_both_sides() -> None:
    a, b = measured(S32, *[2.0] * 16), measured(S32, *[1.0] * 16)
    (row,) = latency_rows([b.model_copy(update={"sittings": (8, 8)})], [a.model_copy(update={"sittings": (8, 8)})])
    assert (row.speedup, row.speedup_low, row.speedup_high, row.sittings) == (2.0, 2.0, 2.0, (8, 8))
    (row,) = latency_rows([b.model_copy(update={"sittings": (8, 8)})], [a.model_copy(update={"sittings": (4, 12)})])
    assert (row.speedup, row.speedup_low, row.p50_low) == (2.0, None, 1.0)


def test_the_samples_are_kept_in_their_order_where_asked_for() -> None:
    samples = [measured(S32, 3.00004, 1.00006, 2)]
    assert latency_rows(samples, None)[0].raw == ()
    assert latency_rows(samples, None, keep_raw=True)[0].raw == (3.0, 1.0001, 2.0)


def test_samples_of_another_unit_or_of_a_clock_that_stands_are_refused() -> None:
    seconds = Measurement(metric="latency", unit="s", samples=(1.0,), shape=S32)
    with pytest.raises(BenchmarkError, match="needs samples in ms, got 1 in 's'"):
        latency_rows([seconds], None)
    with pytest.raises(BenchmarkError, match="the clock is too coarse"):
        latency_rows([measured(S32, 0.0)], None)


def test_gates_hold_at_their_limit_and_unset_ones_are_left_out(report: Report) -> None:
    gates = {"max_accuracy_drop": 0.02, "min_accuracy": 0.88, "min_speedup": 8.0, "min_shrink": 10, "max_bytes": None}
    verdicts = {one.gate: one for one in judge_gates(gates, report.teacher, report.candidates[0])}
    assert set(verdicts) == {"max_accuracy_drop", "min_accuracy", "min_speedup", "min_shrink"}
    # 0.9 - 0.88 is a little more than 0.02 in binary.
    assert all(one.passed for one in verdicts.values())


def test_speed_up_must_hold_at_every_shape_and_bytes_must_fit(report: Report) -> None:
    # 8x at sequence 32, 10x at sequence 128.
    speed, size = judge_gates({"max_bytes": 7_999_999, "min_speedup": 9.0}, report.teacher, report.candidates[0])
    assert (speed.gate, speed.measured, speed.passed) == ("min_speedup", 8.0, False)
    assert (size.gate, size.measured, size.passed) == ("max_bytes", 8_000_000, False)


def test_a_gate_whose_figure_is_missing_fails(report: Report) -> None:
    unmeasured = Row(name="x", target="t", precision="int8", status="failed", reason="it crashed")
    limits = {"max_accuracy_drop": 1.0, "min_accuracy": 0.0, "min_speedup": 0.1, "min_shrink": 0.1, "max_bytes": 10**12}
    assert [(one.measured, one.passed) for one in judge_gates(limits, report.teacher, unmeasured)] == [
        (None, False)
    ] * 5


def test_an_artifact_whose_hardware_is_not_here_is_not_judged_by_its_speed(report: Report) -> None:
    built = Row(
        name="x", target="tensorrt-gpu", precision="int8", status="built", metrics=quality(0.5), reason="no GPU"
    )
    (verdict,) = judge_gates({"min_accuracy": 0.4, "min_speedup": 2.0}, report.teacher, built)
    assert (verdict.gate, verdict.target, verdict.passed) == ("min_accuracy", "tensorrt-gpu", True)


def test_a_shape_that_only_the_teacher_was_measured_at_fails_the_speed_gate(report: Report) -> None:
    chosen = report.candidates[0]
    chosen = chosen.model_copy(update={"latency": chosen.latency[:1]})
    (verdict,) = judge_gates({"min_speedup": 2.0}, report.teacher, chosen)
    assert (verdict.measured, verdict.passed) == (None, False)


def test_an_unknown_gate_is_refused(report: Report) -> None:
    with pytest.raises(BenchmarkError, match="unknown gate 'max_drop'; there are max_accuracy_drop"):
        judge_gates({"max_drop": 0.1}, report.teacher, report.teacher)


def test_shrink_is_how_many_times_smaller() -> None:
    assert shrink(90, 9) == 10.0
    with pytest.raises(BenchmarkError, match="got 90 and 0"):
        shrink(90, 0)


def test_rows_carry_intervals_tails_and_warm_up() -> None:
    rounds = [float(value) for value in range(1, 131)]
    warm = measured(S32, *rounds).model_copy(update={"warmup_rounds": 20, "stable": True})
    (row,) = latency_rows([warm], [measured(S32, *(2 * value for value in rounds))])
    assert row.speedup_interval == (2.0, 2.0)
    assert row.p50_interval is not None and row.p50_interval[0] < row.p50 < row.p50_interval[1]
    assert (row.p95, row.p99, row.p99_9) == (pytest.approx(123.55), None, None)
    assert (row.warmup_rounds, row.stable) == (20, True)
    assert row.variation is not None and row.variation.unsteady


def test_with_confidence_the_worse_end_of_the_interval_is_judged(report: Report) -> None:
    """Accuracy 0.88 [0.86, ...], drop 0.02 up to 0.035, speed-up 8 from 7.76 on: points hold, bounds do not."""
    gates = {"max_accuracy_drop": 0.03, "min_accuracy": 0.87, "min_speedup": 8.0, "max_bytes": 8_000_000}
    chosen = report.candidates[0]
    points, bounds = (judge_gates(gates, report.teacher, chosen, confidence) for confidence in (None, 0.95))
    assert [(one.passed, one.judged) for one in points] == [(True, "point")] * 4
    assert [(one.passed, one.judged) for one in bounds] == [(False, "bound")] * 3 + [(True, "point")]
    assert [one.bound for one in points] == [one.bound for one in bounds] == [0.035, 0.86, pytest.approx(7.76), None]


def test_a_gate_that_holds_at_its_bound_passes(report: Report) -> None:
    gates = {"max_accuracy_drop": 0.035, "min_accuracy": 0.86, "min_speedup": 7.7}
    assert all(one.passed for one in judge_gates(gates, report.teacher, report.candidates[0], 0.95))


def test_another_confidence_than_that_of_the_intervals_is_refused(report: Report) -> None:
    with pytest.raises(BenchmarkError, match=r"the intervals of a report hold 0.95, got a confidence of 0.9"):
        judge_gates({}, report.teacher, report.teacher, 0.9)


def test_latency_is_judged_at_its_percentile_and_at_the_slowest_shape(report: Report) -> None:
    """p50 is 1 and 1.6 ms, p90 a tenth more; 20 samples tell a p50 and no p90."""
    chosen = report.candidates[0]
    many = chosen.model_copy(
        update={"latency": tuple(row.model_copy(update={"samples": 64}) for row in chosen.latency)}
    )
    gates = {"max_p50_ms": 1.6, "max_p90_ms": 1.7}
    few = judge_gates(gates, report.teacher, chosen)
    assert [(one.measured, one.passed) for one in few] == [(1.6, True), (None, False)]
    enough = judge_gates(gates, report.teacher, many)
    assert [(one.measured, one.passed) for one in enough] == [(1.6, True), (pytest.approx(1.76), False)]
    assert [one.passed for one in judge_gates(gates, report.teacher, many, 0.95)] == [False, False]


def test_accuracy_can_be_asked_for_in_parts_of_the_teachers(report: Report) -> None:
    """0.88 of 0.9 are 0.9778; the flips leave 1 - 0.035 / 0.9 = 0.9611 likely."""
    chosen, gates = report.candidates[0], {"min_accuracy_ratio": 0.97}
    (point,), (bound,) = (judge_gates(gates, report.teacher, chosen, confidence) for confidence in (None, 0.95))
    assert point.measured == pytest.approx(0.88 / 0.9) and point.passed
    assert bound.bound == pytest.approx(1 - 0.035 / 0.9) and not bound.passed


def test_latency_of_hardware_that_is_not_here_is_not_judged(report: Report) -> None:
    built = Row(
        name="x", target="tensorrt-gpu", precision="int8", status="built", metrics=quality(0.5), reason="no GPU"
    )
    assert judge_gates({"max_p50_ms": 1.0, "max_p99_ms": 2.0}, report.teacher, built) == ()


def with_wer(row: Row, value: float, **more: float) -> Row:
    """`row` with a word error rate, of which less is better."""
    figure = Figure(key="wer", name="word error rate", unit="share", value=value, higher_is_better=False, **more)
    return row.model_copy(update={"metrics": (*row.metrics, figure)})


def test_any_metric_can_be_gated_and_less_is_better_where_it_is(report: Report) -> None:
    """Word error rate 0.25 against the teacher's 0.2: 0.05 worse, and four fifths of the teacher's are left."""
    teacher = with_wer(report.teacher, 0.2)
    chosen = with_wer(report.candidates[0], 0.25, high=0.27, difference=0.05, difference_high=0.06, difference_low=0.04)
    gates = {"wer.max": 0.25, "wer.max_drop": 0.05, "wer.min_ratio": 0.8, "wer.min": 0.26}
    points = judge_gates(gates, teacher, chosen)
    assert [one.measured for one in points] == pytest.approx([0.25, 0.05, 0.8, 0.25])
    assert [one.passed for one in points] == [True, True, True, False]
    bounds = judge_gates(gates, teacher, with_wer(report.candidates[0], 0.25, low=0.23, high=0.27, difference=0.05,
                                                  difference_low=0.04, difference_high=0.06), 0.95)  # fmt: skip
    assert [one.bound for one in bounds] == pytest.approx([0.27, 0.06, 0.2 / 0.26, 0.23])
    assert not any(one.passed for one in bounds)


def test_the_short_forms_are_gates_of_the_metric_accuracy(report: Report) -> None:
    """Drop 0.02, ratio 0.9778, whichever way they are asked for."""
    short = {"max_accuracy_drop": 0.01, "min_accuracy": 0.88, "min_accuracy_ratio": 0.97}
    whole = {"accuracy.max_drop": 0.01, "accuracy.min": 0.88, "accuracy.min_ratio": 0.97}
    chosen = report.candidates[0]
    found = [[(one.measured, one.bound, one.passed) for one in judge_gates(gates, report.teacher, chosen)]
             for gates in (short, whole)]  # fmt: skip
    assert found[0] == found[1]
    assert [passed for *_, passed in found[0]] == [False, True, True]


def test_a_gate_of_a_metric_that_was_not_taken_fails(report: Report) -> None:
    (verdict,) = judge_gates({"macro-f1.min": 0.1}, report.teacher, report.candidates[0])
    assert (verdict.measured, verdict.passed) == (None, False)


@pytest.mark.parametrize(
    ("gate", "words"),
    [
        ("f2.min", "unknown metric 'f2' in a gate; there are accuracy, top-5-accuracy, "),
        ("macro-f1.least", "unknown limit 'least' of a metric; there are min, max, max_drop, min_ratio"),
    ],
)
def test_a_gate_of_an_unknown_metric_or_limit_is_one_line(report: Report, gate: str, words: str) -> None:
    with pytest.raises(BenchmarkError, match=words):
        judge_gates({gate: 0.1}, report.teacher, report.teacher)
