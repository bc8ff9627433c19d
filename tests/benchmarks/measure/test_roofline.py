from __future__ import annotations

import pytest

from edgepress.benchmarks.measure.jobs import SubjectResult
from edgepress.benchmarks.measure.roofline import bandwidth, measured_peak, roofline
from edgepress.benchmarks.records.costs import MachinePeak
from edgepress.benchmarks.records.report import Measurement, Shape
from edgepress.targets.records import MacCount

PEAK = MachinePeak(target="x", threads=1, fp32_gops=100.0, int8_gops=400.0, bandwidth_gb_s=10.0)


def timed(milliseconds: float) -> SubjectResult:
    shape = Shape(batch=1, sequence=None, threads=1)
    samples = (milliseconds,) * 11
    return SubjectResult(measurements=(Measurement(metric="latency", unit="ms", samples=samples, shape=shape),))


def test_the_bound_of_a_mixed_artifact_is_the_sum_of_its_float_and_int8_work() -> None:
    """50 M float MACs are 0.1 G operations, 1 ms at 100 G/s; 200 M int8 MACs are 1 ms at 400 G/s."""
    found = roofline(MacCount(total=250_000_000, int8=200_000_000, weight_bytes=1_000_000), PEAK, p50_ms=4.0)
    assert found is not None
    assert (found.bound_ms, found.limited_by, found.share) == (pytest.approx(2.0), "arithmetic", pytest.approx(0.5))


def test_weights_that_take_longer_to_read_than_to_multiply_are_the_bound() -> None:
    found = roofline(MacCount(total=1_000_000, int8=0, weight_bytes=30_000_000), PEAK, p50_ms=6.0)
    assert found is not None
    assert (found.bound_ms, found.limited_by, found.share) == (pytest.approx(3.0), "memory", pytest.approx(0.5))


def test_without_a_peak_for_its_kind_of_work_an_artifact_has_no_limit() -> None:
    blind = PEAK.model_copy(update={"int8_gops": None})
    assert roofline(MacCount(total=10, int8=5), blind, 1.0) is None
    assert roofline(MacCount(total=10, int8=0), blind, 1.0) is not None


def test_a_peak_is_the_best_of_its_kind_and_a_failed_export_is_told() -> None:
    """1 G MACs in 20 ms are 100 G operations a second."""
    counts = {
        "fp32": MacCount(total=10**9, int8=0),
        "int8-a": MacCount(total=10**9, int8=10**9),
        "int8-b": MacCount(total=10**9, int8=10**9),
    }
    results = {"fp32": timed(20.0), "int8-a": timed(5.0), "int8-b": timed(10.0), "gone": SubjectResult(failure="no")}
    peak = measured_peak("x", 2, results, counts, bandwidth=10.0)
    assert (peak.fp32_gops, peak.int8_gops, peak.threads) == (pytest.approx(100.0), pytest.approx(400.0), 2)
    assert peak.note == "gone: no"


def test_memory_is_copied_at_a_rate_that_a_machine_can_have() -> None:
    assert 0.1 < bandwidth(threads=1) < 2000
