"""Measurements → rows against the teacher → gates."""

from __future__ import annotations

from collections.abc import Sequence

from edgepress.benchmarks.records.report import LatencyRow, Measurement
from edgepress.benchmarks.statistics import median_interval, ratio_interval, told_percentile, variation
from edgepress.targets.errors import BenchmarkError

PERCENTILES = {"max_p50_ms": 50.0, "max_p90_ms": 90.0, "max_p95_ms": 95.0, "max_p99_ms": 99.0}
# An artifact whose hardware is not here has no speed to judge.
OF_SPEED = (*PERCENTILES, "min_speedup")
# A drop of 0.89 - 0.87 is 0.02000000000000002 in binary and must pass a gate of 0.02.
ROUNDING = 1e-9


def latency_rows(
    measurements: Sequence[Measurement],
    teacher_measurements: Sequence[Measurement] | None,
    keep_raw: bool = False,
) -> tuple[LatencyRow, ...]:
    """One row a measurement, in ms; `speedup` = p50 of the teacher / p50 of this one, matched by shape.

    Sample i of both is of round i, so intervals of the ratio are drawn from processes and their whole rounds; there is
    none where a process did not time both.

    The ratio of medians and not the median of ratios: a pair of neighbours in a round shares no more noise than any
    other pair once the order is shuffled, and the quotient of two printed figures can be checked by hand. None where
    the teacher was not measured at that shape.

    With `keep_raw` the samples go into the row, rounded to 0.1 us: a report shows their distribution.
    """
    teacher = {measurement.shape: measurement for measurement in teacher_measurements or ()}
    return tuple(_latency_row(measurement, teacher.get(measurement.shape), keep_raw) for measurement in measurements)


def _latency_row(measurement: Measurement, teacher: Measurement | None, keep_raw: bool) -> LatencyRow:
    for one in (measurement, teacher):
        if one is not None and (one.unit != "ms" or not one.samples):
            raise BenchmarkError(f"a latency row needs samples in ms, got {len(one.samples)} in {one.unit!r}")
    p50 = measurement.percentile(50)
    if p50 <= 0:
        raise BenchmarkError(f"a median latency of {p50:g} ms cannot be: the clock is too coarse for this model")
    shape, samples = measurement.shape, measurement.samples
    scatter = variation(samples)
    sittings = measurement.sittings
    p50_low, p50_high = median_interval(samples, sittings) or (None, None)
    paired = teacher is not None and teacher.sittings == sittings
    low, high = (ratio_interval(teacher.samples, samples, sittings) if teacher and paired else None) or (None, None)
    return LatencyRow(
        batch=shape.batch,
        sequence=shape.sequence,
        threads=shape.threads,
        p50=p50,
        p90=measurement.percentile(90),
        samples=len(samples),
        speedup=None if teacher is None else teacher.percentile(50) / p50,
        p50_low=p50_low,
        p50_high=p50_high,
        p95=told_percentile(samples, 95),
        p99=told_percentile(samples, 99),
        p99_9=told_percentile(samples, 99.9),
        cv=scatter.cv if scatter else None,
        robust_cv=scatter.robust_cv if scatter else None,
        speedup_low=low,
        speedup_high=high,
        warmup_rounds=measurement.warmup_rounds,
        stable=measurement.stable,
        raw=tuple(round(sample, 4) for sample in samples) if keep_raw else (),
        pinned=measurement.pinned,
        sittings=sittings,
    )
