"""Measurements → rows against the teacher → gates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.records import GateVerdict, LatencyRow, Measurement, Row
from targets.errors import BenchmarkError

GATES = ("max_accuracy_drop", "min_accuracy", "min_speedup", "min_shrink", "max_bytes")
# A drop of 0.89 - 0.87 is 0.02000000000000002 in binary and must pass a gate of 0.02.
ROUNDING = 1e-9


def latency_rows(
    measurements: Sequence[Measurement], teacher_measurements: Sequence[Measurement] | None
) -> tuple[LatencyRow, ...]:
    """One row a measurement, in ms; `speedup` = p50 of the teacher / p50 of this one, matched by shape.

    The ratio of medians and not the median of ratios: a pair of neighbours in a round shares no more noise than any
    other pair once the order is shuffled, and the quotient of two printed figures can be checked by hand. None where
    the teacher was not measured at that shape.
    """
    teacher = {measurement.shape: measurement for measurement in teacher_measurements or ()}
    return tuple(_latency_row(measurement, teacher.get(measurement.shape)) for measurement in measurements)


def _latency_row(measurement: Measurement, teacher: Measurement | None) -> LatencyRow:
    for one in (measurement, teacher):
        if one is not None and (one.unit != "ms" or not one.samples):
            raise BenchmarkError(f"a latency row needs samples in ms, got {len(one.samples)} in {one.unit!r}")
    p50 = measurement.percentile(50)
    if p50 <= 0:
        raise BenchmarkError(f"a median latency of {p50:g} ms cannot be: the clock is too coarse for this model")
    shape = measurement.shape
    return LatencyRow(
        batch=shape.batch,
        sequence=shape.sequence,
        threads=shape.threads,
        p50=p50,
        p90=measurement.percentile(90),
        samples=len(measurement.samples),
        speedup=None if teacher is None else teacher.percentile(50) / p50,
    )


def judge_gates(gates: Mapping[str, float | int | None], teacher: Row, chosen: Row) -> tuple[GateVerdict, ...]:
    """One verdict for each gate that is set. A gate whose figure is missing fails; `min_speedup` must hold everywhere.

    Raises:
        BenchmarkError: a gate of unknown name.
    """
    if unknown := sorted(set(gates) - set(GATES)):
        raise BenchmarkError(f"unknown gate {unknown[0]!r}; there are {', '.join(GATES)}")
    measured = {
        "max_accuracy_drop": _drop(teacher.accuracy, chosen.accuracy),
        "min_accuracy": chosen.accuracy,
        "min_speedup": _slowest_speedup(teacher, chosen),
        "min_shrink": chosen.shrink,
        "max_bytes": None if chosen.bytes is None else float(chosen.bytes),
    }
    return tuple(
        _verdict(name, float(limit), measured[name]) for name in GATES if (limit := gates.get(name)) is not None
    )


def _verdict(gate: str, limit: float, measured: float | None) -> GateVerdict:
    if measured is None:
        return GateVerdict(gate=gate, limit=limit, measured=None, passed=False)
    passed = measured <= limit + ROUNDING if gate.startswith("max_") else measured >= limit - ROUNDING
    return GateVerdict(gate=gate, limit=limit, measured=measured, passed=passed)


def _drop(teacher: float | None, chosen: float | None) -> float | None:
    return None if teacher is None or chosen is None else teacher - chosen


def _slowest_speedup(teacher: Row, chosen: Row) -> float | None:
    """The smallest speed-up of all shapes; None where one of either row's shapes has no figure."""
    speedups = {row.shape: row.speedup for row in chosen.latency}
    shapes = {row.shape for row in teacher.latency} | set(speedups)
    values = [speedups.get(shape) for shape in shapes]
    known = [value for value in values if value is not None]
    return min(known) if known and len(known) == len(values) else None
