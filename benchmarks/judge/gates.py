"""What a recipe demands of a chosen artifact, judged on measured figures or the worse end of their intervals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from edgepress.benchmarks.judge.latency import OF_SPEED, PERCENTILES, ROUNDING
from edgepress.benchmarks.metrics import METRICS
from edgepress.benchmarks.metrics.base import ACCURACY
from edgepress.benchmarks.records.report import ABSENT_HARDWARE, GateVerdict, Row
from edgepress.benchmarks.statistics import CONFIDENCE
from edgepress.targets.errors import BenchmarkError

GATES = (*ACCURACY, *PERCENTILES, "min_speedup", "min_shrink", "max_bytes")
METRIC_GATES = ("min", "max", "max_drop", "min_ratio")
Measured = tuple[float | None, float | None]
"""A figure and the worse end of its interval; None where there is none."""


def judge_gates(
    gates: Mapping[str, float | int | None], teacher: Row, chosen: Row, confidence: float | None = None
) -> tuple[GateVerdict, ...]:
    """One verdict for each gate that is set. A gate whose figure is missing fails; speed must hold at every shape.

    An artifact whose hardware is not here has no speed to judge: the gates of latency and speed-up are left out for it.

    Args:
        gates: limit of each gate, None where it is not set: names of `GATES`, and `macro-f1.min`, `.max`, `.max_drop`
            or `.min_ratio` for any metric. `max_drop` is how much worse than the teacher's the metric may be, in its
            unit; `min_ratio` which part of the teacher's must be left.
        teacher: the teacher's row on the same target.
        chosen: the row that is judged.
        confidence: 0.95, that of the rows' intervals: a figure that has one must hold at its worse end. None: the
            figure itself must hold.

    Raises:
        BenchmarkError: a gate or metric of unknown name, or another confidence.
    """
    for name in gates:
        check_gate(name)
    if confidence not in (None, CONFIDENCE):
        raise BenchmarkError(f"the intervals of a report hold {CONFIDENCE:g}, got a confidence of {confidence:g}")
    measured = {
        **{name: _latency_at(chosen, share) for name, share in PERCENTILES.items()},
        "min_speedup": (_slowest_speedup(teacher, chosen), _lowest_speedup_bound(chosen)),
        "min_shrink": (chosen.shrink, None),
        "max_bytes": (None if chosen.bytes is None else float(chosen.bytes), None),
    }
    for name in gates:
        if "." in (whole := ACCURACY.get(name, name)):
            measured[name] = _of_metric(whole, teacher, chosen)
    ordered = [*(name for name in GATES if name in gates), *(name for name in gates if name not in GATES)]
    return tuple(
        _verdict(name, chosen.target, float(limit), *measured[name], confidence is not None)
        for name in ordered
        if (limit := gates[name]) is not None and not (name in OF_SPEED and chosen.status in ABSENT_HARDWARE)
    )


def check_gate(name: str) -> None:
    """Refuse a gate that there is not.

    Raises:
        BenchmarkError: names the gates, the metrics, or the limits of a metric that there are.
    """
    metric, _, limit = name.rpartition(".")
    if not metric and name not in GATES:
        raise BenchmarkError(f"unknown gate {name!r}; there are {', '.join(GATES)}, and metrics")
    if metric and metric not in METRICS:
        raise BenchmarkError(f"unknown metric {metric!r} in a gate; there are {', '.join(METRICS)}")
    if metric and limit not in METRIC_GATES:
        raise BenchmarkError(f"unknown limit {limit!r} of a metric; there are {', '.join(METRIC_GATES)}")


def _verdict(
    gate: str, target: str, limit: float, measured: float | None, bound: float | None, at_bound: bool
) -> GateVerdict:
    if measured is None:
        return GateVerdict(gate=gate, target=target, limit=limit, measured=None, passed=False)
    value = bound if at_bound and bound is not None else measured
    upper = gate.rpartition(".")[2].startswith("max")
    passed = value <= limit + ROUNDING if upper else value >= limit - ROUNDING
    judged: Literal["point", "bound"] = "bound" if at_bound and bound is not None else "point"
    return GateVerdict(
        gate=gate, target=target, limit=limit, measured=measured, passed=passed, bound=bound, judged=judged
    )


def _of_metric(gate: str, teacher: Row, chosen: Row) -> Measured:
    """What one gate of a metric, e.g. `macro-f1.max_drop`, is held against."""
    key, _, limit = gate.rpartition(".")
    figure, reference = chosen.figure(key), teacher.figure(key)
    if figure is None:
        return None, None
    if limit in ("min", "max"):
        ends = figure.interval
        return figure.value, None if ends is None else ends[0] if limit == "min" else ends[1]
    if reference is None:
        return None, None
    ends = figure.difference_interval
    # The worst difference that its interval leaves likely.
    sign = -1 if figure.higher_is_better else 1
    worst_end = None if ends is None else ends[0] if figure.higher_is_better else ends[1]
    if limit == "max_drop":
        return reference.loss_to(figure.value), None if worst_end is None else sign * worst_end
    worst = None if worst_end is None else reference.value + worst_end
    return _part(reference.value, figure.value, figure.higher_is_better), (
        None if worst is None else _part(reference.value, worst, figure.higher_is_better)
    )


def _part(teacher: float, value: float, higher_is_better: bool) -> float | None:
    """`value` in parts of the teacher's; the other way round where less is better, so that 1 is as good in both."""
    above, below = (value, teacher) if higher_is_better else (teacher, value)
    return None if below == 0 else above / below


def _latency_at(chosen: Row, share: float) -> tuple[float | None, float | None]:
    """The largest percentile of all shapes in ms, and the upper end of its interval, which a median alone has; None
    where the samples of a shape are too few to tell it."""
    values = [row.percentile(share) for row in chosen.latency]
    if not values or None in values:
        return None, None
    ends = [row.p50_interval[1] for row in chosen.latency if row.p50_interval] if share == 50 else []
    return max(value for value in values if value is not None), max(ends) if len(ends) == len(values) else None


def _lowest_speedup_bound(chosen: Row) -> float | None:
    """The lowest end of the speed-ups' intervals; None where a shape has none."""
    ends = [row.speedup_interval[0] for row in chosen.latency if row.speedup_interval is not None]
    return min(ends) if ends and len(ends) == len(chosen.latency) else None


def _slowest_speedup(teacher: Row, chosen: Row) -> float | None:
    """The smallest speed-up of all shapes; None where one of either row's shapes has no figure."""
    speedups = {row.shape: row.speedup for row in chosen.latency}
    shapes = {row.shape for row in teacher.latency} | set(speedups)
    values = [speedups.get(shape) for shape in shapes]
    known = [value for value in values if value is not None]
    return min(known) if known and len(known) == len(values) else None
