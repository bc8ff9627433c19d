from __future__ import annotations

import pytest

from benchmarks.compare import judge_gates, latency_rows
from benchmarks.footprint import shrink
from benchmarks.records import Measurement, Report, Row, Shape
from targets.errors import BenchmarkError

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
    unmeasured = Row(name="x", target="t", precision="int8", status="built", reason="not run here")
    limits = {"max_accuracy_drop": 1.0, "min_accuracy": 0.0, "min_speedup": 0.1, "min_shrink": 0.1, "max_bytes": 10**12}
    assert [(one.measured, one.passed) for one in judge_gates(limits, report.teacher, unmeasured)] == [
        (None, False)
    ] * 5


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
