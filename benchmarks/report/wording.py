"""How figures are written for people: the same in the terminal, in Markdown and in HTML."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from edgepress.benchmarks.metrics import METRICS
from edgepress.benchmarks.metrics.base import Unit
from edgepress.benchmarks.records.figures import Figure, primary_of
from edgepress.benchmarks.records.report import Figures, GateVerdict, LatencyRow, Report, Row, Shape, StageRow
from edgepress.benchmarks.statistics import TIE, Interval, least_samples
from edgepress.targets.device.record import size_words

MISSING = "\N{EN DASH}"
FLAG = "\N{WARNING SIGN}"
GATE_NAMES = {
    "max_accuracy_drop": "accuracy drop at most",
    "min_accuracy": "accuracy at least",
    "min_accuracy_ratio": "accuracy in parts of the teacher's at least",
    "max_p50_ms": "p50 in ms at most, at every shape",
    "max_p90_ms": "p90 in ms at most, at every shape",
    "max_p95_ms": "p95 in ms at most, at every shape",
    "max_p99_ms": "p99 in ms at most, at every shape",
    "min_speedup": "speed-up at least, at every shape",
    "min_shrink": "shrink at least",
    "max_bytes": "bytes at most",
}
# Of the gates of a metric, which are called e.g. "macro-f1.max_drop".
METRIC_GATES = {
    "min": "at least",
    "max": "at most",
    "max_drop": "worse than the teacher's by at most",
    "min_ratio": "in parts of the teacher's at least",
}


def capital(text: str) -> str:
    """The name of a metric where a title or sentence begins: `Accuracy`, `macro F1` as `Macro F1`."""
    return f"{text[:1].upper()}{text[1:]}"


def share(value: float | None) -> str:
    """A share of rows, such as accuracy: 0.8911."""
    return MISSING if value is None else f"{value:.4f}"


def percent(value: float | None) -> str:
    """The share of MACs in int8: 97 %."""
    return MISSING if value is None else f"{100 * value:.0f} %"


def points(difference: float) -> str:
    """A difference of shares in percentage points: -2.0 points."""
    tenths = round(100 * difference, 1) + 0.0  # -0.0 is no loss
    return f"{tenths:+.1f} points".replace("-", "\N{MINUS SIGN}")


def metric_value(value: float | None, unit: Unit) -> str:
    """A metric in its unit: 0.8911, 24.6 dB, 0.013 nats, 3.142."""
    if value is None or unit == "share":
        return share(value)
    text = f"{value:.1f} dB" if unit == "dB" else f"{value:.4g}"
    return (f"{text} nats" if unit == "nats" else text).replace("-", "\N{MINUS SIGN}")


def metric_change(difference: float, unit: Unit) -> str:
    """A difference of a metric to the teacher's: -2.0 points, +0.120."""
    if unit == "share":
        return points(difference)
    text = f"{difference + 0.0:+.3g}".replace("-", "\N{MINUS SIGN}")
    return text if unit == "1" else f"{text} {unit}"


def metric_text(figure: Figure | None) -> str:
    """A metric with its 95 % interval: 0.8761 [0.8526, 0.8964]."""
    if figure is None:
        return MISSING
    unit = figure.unit
    return with_interval(metric_value(figure.value, unit), figure.interval, lambda end: metric_value(end, unit))


def headline(figures: Sequence[Figure]) -> list[Figure]:
    """The two figures that every table shows: the primary one, and the first that compares with the teacher."""
    primary = primary_of(figures)
    beside = next((one for one in figures if one.against == "teacher" and one is not primary), None)
    return [one for one in (primary, beside) if one is not None]


def ms(value: float) -> str:
    """Three figures or more: 0.714, 6.22, 19.1, 142."""
    digits = 3 if value < 1 else 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:.{digits}f}"


def short_ms(value: float) -> str:
    """Times that no clock could tell, such as bounds: 0.000412."""
    return ms(value) if value >= 0.1 else f"{value:.3g}"


def measured(value: float, unit: str) -> str:
    """The figure of a scenario: 1.03x, 4.20 ms, 812 samples/s."""
    return times(value) if unit == "x" else f"{ms(value)} {unit}"


def millijoules(value: float) -> str:
    """Energy of one call: 4.20 mJ."""
    return f"{ms(value)} mJ"


def with_interval(text: str, interval: Interval | None, write: Callable[[float], str]) -> str:
    """A figure with its 95 % interval: 2.57 [2.55, 2.60]."""
    return text if interval is None else f"{text} {interval_text(interval, write)}"


def interval_text(interval: Interval, write: Callable[[float], str]) -> str:
    """[2.55, 2.60]; a factor's x stands behind the figure alone."""
    low, high = (write(value).removesuffix("x") for value in interval)
    return f"[{low}, {high}]"


def p50(row: LatencyRow) -> str:
    """p50 in ms with its interval: 2.57 [2.55, 2.60]."""
    return with_interval(percentile(row, 50), row.p50_interval, ms)


def percentile(row: LatencyRow, share: float) -> str:
    """A percentile in ms, or how many samples are missing: 3.26, or 'needs 64, has 30'."""
    value = row.percentile(share)
    if row.samples < (needed := least_samples(share)):
        return f"needs {needed}, has {row.samples}"
    return MISSING if value is None else ms(value)


def speedup(row: LatencyRow) -> str:
    """10.8x [10.6, 11.0]."""
    return with_interval(times(row.speedup), row.speedup_interval, times)


def scatter_text(row: LatencyRow) -> str:
    """The coefficient of variation, flagged above 2.5 %: 'CV 1.2 %', or '⚠ CV 12 %, 0.8 % without outliers'."""
    found = row.variation
    if found is None:
        return MISSING
    text = f"CV {fine_percent(found.cv)}"
    if found.by_outliers:
        text += f", {fine_percent(found.robust_cv)} without outliers"
    return f"{FLAG} {text}" if found.unsteady else text


def fine_percent(value: float) -> str:
    """A share that may be small: 4.2 %, 41 %."""
    return f"{100 * value:.{0 if value >= 0.0995 else 1}f} %"


def unsteady_notes(rows: Iterable[Row]) -> list[str]:
    """One line for the rows whose samples scatter by more than 2.5 %, and one for those that never warmed up."""
    scattered: list[str] = []
    cold: list[str] = []
    for row in rows:
        for one in row.latency:
            place = f"{row.name} at {shape_words(one.shape)}"
            scattered += [f"{place} ({scatter_text(one).removeprefix(FLAG).strip()})"] * one.unsteady
            cold += [place] * (one.stable is False)
    notes = []
    if scattered:
        notes.append(f"Unsteady latency, coefficient of variation above 2.5 %: {'; '.join(scattered)}.")
    if cold:
        notes.append(f"The warm-up ended at its limit before medians agreed within 2 %: {'; '.join(cold)}.")
    return notes


def times(value: float | None) -> str:
    """Speed-up and shrink: 8.4x, 12x."""
    if value is None:
        return MISSING
    return f"{value:.{2 if value < 2 else 1 if value < 20 else 0}f}x"


def count(value: float | None) -> str:
    """Parameters and MACs: 6.97 M.

    >>> count(6_970_000), count(870_000_000), count(512)
    ('6.97 M', '870 M', '512')
    """
    return MISSING if value is None else _scaled(value, ("", "k", "M", "G", "T"), 1000.0)


def human_bytes(value: float | None) -> str:
    """Decimal units, as shops and `ls --si` count: 7.50 MB.

    >>> human_bytes(7_500_000), human_bytes(999)
    ('7.50 MB', '999 B')
    """
    return MISSING if value is None else _scaled(value, ("B", "kB", "MB", "GB", "TB"), 1000.0)


def _scaled(value: float, units: tuple[str, ...], base: float) -> str:
    rank = 0
    # 999.6 would be written as "1000": what rounds up to the next unit is written in it.
    while value >= base - 0.5 and rank < len(units) - 1:
        value, rank = value / base, rank + 1
    digits = 0 if rank == 0 or value >= 99.95 else 1 if value >= 9.995 else 2
    return f"{value:.{digits}f} {units[rank]}".strip()


def duration(seconds: float) -> str:
    """0.8 s, 42 s, 3 min 20 s."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def spread(values: Iterable[float | None]) -> str:
    """Speed-ups of several shapes: 8.4x, or 8.4x to 9.1x."""
    known = sorted(value for value in values if value is not None)
    if not known:
        return MISSING
    low, high = times(known[0]), times(known[-1])
    return low if low == high else f"{low} to {high}"


def all_shapes(report: Report) -> list[Shape]:
    """Every shape of the teacher, the candidates and the stages, in order of appearance."""
    stages = [figures for stage in report.stages for figures in (stage.before, stage.after)]
    holders: list[tuple[LatencyRow, ...]] = [row.latency for row in (report.teacher, *report.candidates)]
    holders += [figures.latency for figures in stages]
    return list(dict.fromkeys(latency.shape for latency in (row for rows in holders for row in rows)))


def shape_names(shapes: list[Shape]) -> dict[Shape, str]:
    """What tells these shapes apart, as short as can be: 's32', 'b8 s128', or '' where there is only one."""
    parts = {shape: _parts(shape) for shape in shapes}
    varying = [name for name in ("b", "s", "t") if len({part.get(name) for part in parts.values()}) > 1]
    return {shape: " ".join(f"{name}{part[name]}" for name in varying if name in part) for shape, part in parts.items()}


def common_shape(shapes: list[Shape]) -> str:
    """What all shapes share, in words: 'batch 1, 1 thread'."""
    first = _words(shapes[0]) if shapes else {}
    return ", ".join(text for name, text in first.items() if all(_words(shape).get(name) == text for shape in shapes))


def shape_words(shape: Shape) -> str:
    """'batch 1, sequence 32, 1 thread'."""
    return ", ".join(_words(shape).values())


def _parts(shape: Shape) -> dict[str, int]:
    sequence = {} if shape.sequence is None else {"s": shape.sequence}
    return {"b": shape.batch, **sequence, "t": shape.threads}


def _words(shape: Shape) -> dict[str, str]:
    return size_words(shape.batch, shape.sequence, shape.threads)


def gate_text(verdict: GateVerdict) -> tuple[str, str, str]:
    """Demand, limit and measured value of one gate, each as it is read."""
    write = _gate_writer(verdict.gate)
    measured = "not measured" if verdict.measured is None else write(verdict.measured)
    if verdict.bound is not None:
        measured += f"; at 95 % confidence {write(verdict.bound)}"
        measured += ", which is judged" if verdict.judged == "bound" else ""
    demand = _gate_name(verdict.gate)
    return f"{verdict.target}: {demand}" if verdict.target else demand, write(verdict.limit), measured


def _gate_writer(gate: str) -> Callable[[float], str]:
    """How limit and figure of a gate are written; those of a metric in its unit, ratios as plain numbers."""
    known = {"max_bytes": human_bytes, "min_speedup": times, "min_shrink": times}
    if gate.endswith("_ms"):
        return ms
    metric, _, limit = gate.rpartition(".")
    unit: Unit = METRICS[metric].unit if metric in METRICS and limit != "min_ratio" else "share"
    return known.get(gate, lambda value: metric_value(value, unit))


def _gate_name(gate: str) -> str:
    metric, _, limit = gate.rpartition(".")
    name = METRICS[metric].name if metric in METRICS else metric
    return f"{name} {METRIC_GATES[limit]}" if metric and limit in METRIC_GATES else GATE_NAMES.get(gate, gate)


def status_notes(rows: Iterable[Row]) -> list[str]:
    """Status and reason of rows that have a reason or were not measured; one line for those that share it."""
    names: dict[tuple[str, str, str], list[str]] = {}
    for row in rows:
        if row.reason or row.status != "measured":
            names.setdefault((row.target, row.status, row.reason or "no reason was given"), []).append(row.name)
    return [f"{target} {', '.join(shared)}: {status}, {why}" for (target, status, why), shared in names.items()]


def metric_cells(before: Figures, after: Figures) -> list[tuple[str, str, str]]:
    """Name, before and after of the two headline metrics of a stage."""
    found = []
    for figure in headline(before.metrics) or headline(after.metrics):
        sides = (side.figure(figure.key) for side in (before, after))
        old, new = (metric_value(side.value if side else None, figure.unit) for side in sides)
        found.append((figure.name, old, new))
    return found


def stage_findings(stage: StageRow) -> tuple[str, ...]:
    """What speaks against a stage, after what its zeros are worth where it made some."""
    return (*([worth_of_zeros(stage)] if stage.made_zeros else []), *stage.reasons)


def worth_of_zeros(stage: StageRow) -> str:
    """What the zeros that a stage made bring: bytes after compression, and what they did to latency."""
    before, after = stage.before, stage.after
    known = after.exported_zeros
    assert known is not None and before.zstd_bytes and after.zstd_bytes
    times = [old.p50 / new.p50 for old, new in zip(before.latency, after.latency, strict=True)]
    gain = (
        f"latency on this target {min(times):.2f}x to {max(times):.2f}x, with as many MACs as before" if times else ""
    )
    if times and max(times) <= 1 + TIE:
        gain = f"no gain in latency on this target ({max(times):.2f}x)"
    bytes_ = f"{human_bytes(before.zstd_bytes)} → {human_bytes(after.zstd_bytes)} after zstd"
    return "; ".join(filter(None, (f"{percent(known.share)} of the file's weights are zero: {bytes_}", gain)))


def stage_cells(stage: StageRow, names: Mapping[Shape, str]) -> list[tuple[str, str, str]]:
    """Name, before and after of the figures that a stage may change; latency is the p50 of each shape."""
    before, after = stage.before, stage.after
    cells = metric_cells(before, after)
    cells += [
        ("parameters", count(before.parameters), count(after.parameters)),
        ("MACs", count(before.macs), count(after.macs)),
        ("bytes", human_bytes(before.bytes), human_bytes(after.bytes)),
    ]
    if stage.made_zeros:
        cells.append(("zstd bytes", human_bytes(before.zstd_bytes), human_bytes(after.zstd_bytes)))
    old = {row.shape: row.p50 for row in before.latency}
    new = {row.shape: row.p50 for row in after.latency}
    for shape in dict.fromkeys((*old, *new)):
        pair = [ms(side[shape]) if shape in side else MISSING for side in (old, new)]
        cells.append((f"p50 ms {names[shape]}".strip(), pair[0], pair[1]))
    return cells


def missed_gates(gates: Sequence[GateVerdict]) -> str:
    """The one line of a run that is not good enough: each missed gate, its limit and what was measured."""
    missed = [gate for gate in gates if not gate.passed]
    demands = [f"{gate.gate} of {gate.target} is {gate.limit:g}, measured {_measured(gate)}" for gate in missed]
    return f"the chosen artifacts miss {len(missed)} of {len(gates)} gates: {'; '.join(demands)}"


def _measured(gate: GateVerdict) -> str:
    """The figure, and the end of its interval where that was held against the limit."""
    if gate.measured is None:
        return "nothing"
    bound = f" (95 % bound {gate.bound:.4g})" if gate.judged == "bound" and gate.bound is not None else ""
    return f"{gate.measured:.4g}{bound}"
