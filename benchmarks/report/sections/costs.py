"""What artifacts cost and bear, as tables of text: footprint, distance to the limit, scenarios, steadiness."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from edgepress.benchmarks.records.costs import Footprint, IsaCheck
from edgepress.benchmarks.records.report import WITH_ARTIFACT, LatencyRow, Report, Row
from edgepress.benchmarks.records.scenarios import ScenarioResult
from edgepress.benchmarks.report.columns import Column, primary
from edgepress.benchmarks.report.sections.base import Line, Reasons, Section, all_rows, artifact
from edgepress.benchmarks.report.wording import (
    count,
    fine_percent,
    human_bytes,
    measured,
    millijoules,
    ms,
    percent,
    percentile,
    shape_words,
    share,
    short_ms,
)

NOT_TAKEN = "this report holds no figure of it"


def footprint(report: Report) -> Section:
    """One line for each artifact: bytes, memory, cold start and energy; a missing figure says why."""
    heads = (
        "artifact", "bytes", "zstd bytes", "runtime memory", "peak memory", "cold start ms", "open ms",
        "first call ms", "energy a call",
    )  # fmt: skip
    reasons = Reasons()
    rows = all_rows(report)
    lines = [_footprint_line(row, reasons) for row in rows if row.status in WITH_ARTIFACT]
    without = [f"{artifact(row)} ({row.status})" for row in rows if row.status not in WITH_ARTIFACT]
    how = dict.fromkeys(row.footprint.energy_note for row in rows if row.footprint and row.footprint.energy_mj)
    notes = (*reasons.notes, *(f"Energy: {note}" for note in how if note))
    notes += tuple(_zeros(report))
    notes += (f"No artifact, so no footprint: {', '.join(without)}.",) if without else ()
    absent = ""
    if not any(row.footprint for row in rows):
        lines, notes = [], ()
        absent = "Not measured: this report holds no memory, cold start, energy or download size of any artifact."
    return Section("footprint", "Footprint", heads, lines, notes=notes, absent=absent)


def _zeros(report: Report) -> Iterator[str]:
    """What zeros are worth in each artifact of a run that made some: a share of its download, and no time."""
    for row in report.candidates if any(stage.made_zeros for stage in report.stages) else ():
        taken = row.footprint
        if row.chosen and taken and taken.weights and taken.zstd_bytes and row.bytes:
            zeros, bytes_ = percent(taken.weights.share), human_bytes(row.bytes)
            worth = f"{bytes_} are {human_bytes(taken.zstd_bytes)} after zstd; {taken.zeros_note}"
            yield f"{artifact(row)}: {zeros} of its weights are zero, {worth}."


def _footprint_line(row: Row, reasons: Reasons) -> Line:
    taken = row.footprint or Footprint()
    # An artifact whose hardware is not here was never opened: its row says so.
    why = taken.failure or row.reason or NOT_TAKEN

    def cell(value: float | None, write: Callable[[float], str], figure: str = "", reason: str = why) -> str:
        return reasons.cell(figure, reason) if value is None else write(value)

    return (
        artifact(row),
        cell(row.bytes, human_bytes),
        cell(taken.zstd_bytes, human_bytes),
        cell(taken.runtime_memory_bytes, human_bytes),
        cell(taken.peak_memory_bytes, human_bytes),
        cell(taken.cold_start_ms, ms),
        cell(row.open_ms, ms),
        cell(row.first_inference_ms, ms),
        cell(taken.energy_mj, millijoules, "energy" if taken.energy_note else "", taken.energy_note or why),
    )


def scenarios(report: Report) -> Section:
    """One line for each artifact, load and shape."""
    heads = ("artifact", "scenario", "shape", "figure", "samples", "meaning")
    lines = [_scenario_line(row, one) for row in all_rows(report) for one in row.scenarios]
    absent = "Not measured: the recipe asked for none. All other latencies of this report are of a single stream."
    left = ("artifact", "scenario", "shape", "meaning")
    return Section("scenarios", "Scenarios", heads, lines, left, absent=absent)


def _scenario_line(row: Row, one: ScenarioResult) -> Line:
    figure = f"failed: {one.failure or 'no reason was given'}" if one.value is None else measured(one.value, one.unit)
    return artifact(row), one.scenario, shape_words(one.shape), figure, str(one.samples), one.meaning


def limits(report: Report) -> Section:
    """One line for each artifact and shape: the least time that the machine's peaks leave, and how near p50 comes."""
    heads = ("artifact", "shape", "MACs", "int8", "bound ms", "p50 ms", "share of the limit", "limited by")
    reasons = Reasons()
    lines = [_limit_line(report, row, one, reasons) for row in all_rows(report) for one in row.latency]
    known = report.peaks or any(one.roofline for row in all_rows(report) for one in row.latency)
    left = ("artifact", "shape", "limited by")
    absent = "Not measured: this report holds no peaks of its machine."
    return Section("limits", "Distance to the limit", heads, lines if known else [], left, reasons.notes, absent)


def _limit_line(report: Report, row: Row, one: LatencyRow, reasons: Reasons) -> Line:
    place, roof = (artifact(row), shape_words(one.shape)), one.roofline
    if roof is None:
        missing = reasons.cell("limit", _why_no_limit(report, row, one))
        return (*place, *[missing] * 3, percentile(one, 50), missing, missing)
    int8 = percent(roof.int8_macs / roof.macs if roof.macs else 0.0)
    figures = (count(roof.macs), int8, short_ms(roof.bound_ms), percentile(one, 50), fine_percent(roof.share))
    return (*place, *figures, roof.limited_by)


def _why_no_limit(report: Report, row: Row, one: LatencyRow) -> str:
    notes = [peak.note for peak in report.peaks if (peak.target, peak.threads) == (row.target, one.threads)]
    if not notes:
        return f"no peak of {row.target} at {one.threads} thread{'' if one.threads == 1 else 's'} was measured"
    return notes[0] or "operations and bytes of this artifact are not known"


def peaks(report: Report) -> Section:
    """The machine's limits, one line for each runtime and number of threads."""
    heads = ("runtime", "threads", "fp32 peak, 1e9 operations/s", "int8 peak, 1e9 operations/s", "memory GB/s")
    reasons = Reasons()
    lines: list[Line] = []
    for peak in report.peaks:
        named = (("fp32", peak.fp32_gops), ("int8", peak.int8_gops), ("memory", peak.bandwidth_gb_s))
        figures = (reasons.cell(name, peak.note) if value is None else ms(value) for name, value in named)
        lines.append((peak.target, str(peak.threads), *figures))
    return Section("peaks", "Peaks of this machine", heads, lines, ("runtime",), reasons.notes)


def steadiness(report: Report) -> Section:
    """Whether the primary metric stays what it is in larger batches and on other instruction sets, one line a check."""
    metric = primary(report)
    heads = ("artifact", "where", metric.name, "to the measured one", "finding")
    lines = [line for row in all_rows(report) for line in _steady_lines(row, metric)]
    absent = "Not measured: this report holds no larger batches and no other instruction sets."
    left = ("artifact", "where", "finding")
    return Section("steadiness", f"Steadiness of {metric.name}", heads, lines, left, absent=absent)


def _steady_lines(row: Row, metric: Column) -> Iterator[Line]:
    if (check := row.batch_check) is not None:
        finding = f"agreement with the measured batch {share(check.agreement)}"
        yield (
            artifact(row),
            f"batch {check.batch}",
            _written(check.value, metric),
            _change(row, metric, check.value),
            finding,
        )
    for isa in row.isa_checks:
        yield (
            artifact(row),
            isa.isa,
            _written(isa.value, metric, "not measured"),
            _change(row, metric, isa.value),
            _finding(isa),
        )


def _written(value: float | None, metric: Column, absent: str = "no value") -> str:
    return absent if value is None else metric.written(value)


def _change(row: Row, metric: Column, value: float | None) -> str:
    measured = metric.value(row)
    return "not known" if value is None or measured is None else metric.change_of(value - measured)


def _finding(check: IsaCheck) -> str:
    """Saturation first: a share of 0 is a proof, anything else is a chance."""
    proof = {None: "", 0.0: "no product can leave 16 bits"}
    pairs = "" if check.saturating is None else f"{fine_percent(check.saturating)} of weight pairs can leave 16 bits"
    saturating = proof.get(check.saturating, pairs)
    return "; ".join(part for part in (saturating, check.note) if part) or "no reason was given"
