"""What a recipe demands of a chosen artifact, judged on measured figures or the worse end of their intervals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from edgepress.benchmarks.judge.latency import OF_SPEED, PERCENTILES, ROUNDING
from edgepress.benchmarks.records.report import ABSENT_HARDWARE, GateVerdict, Row
from edgepress.benchmarks.statistics import CONFIDENCE
from edgepress.targets.errors import BenchmarkError

GATES = (
    "max_accuracy_drop",
    "min_accuracy",
    "min_accuracy_ratio",
    *PERCENTILES,
    "min_speedup",
    "min_shrink",
    "max_bytes",
)


def judge_gates(
    gates: Mapping[str, float | int | None], teacher: Row, chosen: Row, confidence: float | None = None
) -> tuple[GateVerdict, ...]:
    """One verdict for each gate that is set. A gate whose figure is missing fails; speed must hold at every shape.

    With `confidence` (0.95, that of the rows' intervals) a figure that has an interval must hold at its worse end.
    An artifact whose hardware is not here has no speed to judge: the gates of latency and speed-up are left out for it.

    Raises:
        BenchmarkError: a gate of unknown name, or another confidence.
    """
    if unknown := sorted(set(gates) - set(GATES)):
        raise BenchmarkError(f"unknown gate {unknown[0]!r}; there are {', '.join(GATES)}")
    if confidence not in (None, CONFIDENCE):
        raise BenchmarkError(f"the intervals of a report hold {CONFIDENCE:g}, got a confidence of {confidence:g}")
    measured = {
        "max_accuracy_drop": (_drop(teacher.accuracy, chosen.accuracy), _largest_drop(chosen)),
        "min_accuracy": (chosen.accuracy, chosen.accuracy_interval[0] if chosen.accuracy_interval else None),
        "min_accuracy_ratio": _accuracy_ratio(teacher, chosen),
        **{name: _latency_at(chosen, share) for name, share in PERCENTILES.items()},
        "min_speedup": (_slowest_speedup(teacher, chosen), _lowest_speedup_bound(chosen)),
        "min_shrink": (chosen.shrink, None),
        "max_bytes": (None if chosen.bytes is None else float(chosen.bytes), None),
    }
    judged = [name for name in GATES if chosen.status not in ABSENT_HARDWARE or name not in OF_SPEED]
    return tuple(
        _verdict(name, chosen.target, float(limit), *measured[name], confidence is not None)
        for name in judged
        if (limit := gates.get(name)) is not None
    )


def _verdict(
    gate: str, target: str, limit: float, measured: float | None, bound: float | None, at_bound: bool
) -> GateVerdict:
    if measured is None:
        return GateVerdict(gate=gate, target=target, limit=limit, measured=None, passed=False)
    value = bound if at_bound and bound is not None else measured
    passed = value <= limit + ROUNDING if gate.startswith("max_") else value >= limit - ROUNDING
    judged: Literal["point", "bound"] = "bound" if at_bound and bound is not None else "point"
    return GateVerdict(
        gate=gate, target=target, limit=limit, measured=measured, passed=passed, bound=bound, judged=judged
    )


def _accuracy_ratio(teacher: Row, chosen: Row) -> tuple[float | None, float | None]:
    """The chosen artifact's accuracy in parts of the teacher's, and the lowest one that the flips leave likely."""
    if not teacher.accuracy or chosen.accuracy is None:
        return None, None
    drop = _largest_drop(chosen)
    return chosen.accuracy / teacher.accuracy, None if drop is None else 1 - drop / teacher.accuracy


def _latency_at(chosen: Row, share: float) -> tuple[float | None, float | None]:
    """The largest percentile of all shapes in ms, and the upper end of its interval, which a median alone has; None
    where the samples of a shape are too few to tell it."""
    values = [row.percentile(share) for row in chosen.latency]
    if not values or None in values:
        return None, None
    ends = [row.p50_interval[1] for row in chosen.latency if row.p50_interval] if share == 50 else []
    return max(value for value in values if value is not None), max(ends) if len(ends) == len(values) else None


def _largest_drop(chosen: Row) -> float | None:
    """The largest drop of accuracy that the flips leave likely."""
    return None if chosen.accuracy_difference_interval is None else -chosen.accuracy_difference_interval[0]


def _lowest_speedup_bound(chosen: Row) -> float | None:
    """The lowest end of the speed-ups' intervals; None where a shape has none."""
    ends = [row.speedup_interval[0] for row in chosen.latency if row.speedup_interval is not None]
    return min(ends) if ends and len(ends) == len(chosen.latency) else None


def _drop(teacher: float | None, chosen: float | None) -> float | None:
    return None if teacher is None or chosen is None else teacher - chosen


def _slowest_speedup(teacher: Row, chosen: Row) -> float | None:
    """The smallest speed-up of all shapes; None where one of either row's shapes has no figure."""
    speedups = {row.shape: row.speedup for row in chosen.latency}
    shapes = {row.shape for row in teacher.latency} | set(speedups)
    values = [speedups.get(shape) for shape in shapes]
    known = [value for value in values if value is not None]
    return min(known) if known and len(known) == len(values) else None
