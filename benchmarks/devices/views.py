"""The hardware report of a run: what each device measured, one line a shape, as Markdown."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from edgepress.benchmarks.devices.intervals import p50_interval
from edgepress.benchmarks.devices.ranking import shape_words
from edgepress.benchmarks.devices.shipping import shape_of
from edgepress.benchmarks.report.markdown import escape, table
from edgepress.benchmarks.report.wording import MISSING, human_bytes, ms, share, with_interval
from edgepress.benchmarks.statistics import least_samples, variation, wilson_interval

if TYPE_CHECKING:
    from edgepress.benchmarks.devices.record import DeviceLatency, DeviceRecord
    from edgepress.benchmarks.report.sections.base import Section

HEADS = (
    *("device", "CPU", "target", "artifact", "runtime", "accuracy [95 %]", "agreement"),
    *("shape", "p50 ms [95 %]", "p90 ms", "samples", "energy mJ", "remarks"),
)
COSTS = (
    *("device", "target", "artifact", "cold start ms", "open ms", "first call ms", "peak memory"),
    *("temperature °C", "governor", "energy"),
)


def devices_markdown(
    records: Sequence[DeviceRecord], run: str, current: Collection[str], sections: Sequence[Section] = ()
) -> str:
    """One line for each shape of each record, and one for each device that has none.

    Args:
        records: all of them.
        run: the report's title.
        current: the record_sha256 of those that are of the run's release.
        sections: what to ship, rankings, and what was not measured.
    """
    ordered = sorted(records, key=lambda record: (record.target, record.device, record.created))
    newest = {(record.device, record.target): record.record_sha256 for record in records}
    rows = [
        [escape(cell) for cell in _cells(record, row, _age(record, current, newest))]
        for record in ordered
        for row in record.latency
    ]
    parts = [
        f"# {escape(run)}: devices",
        f"{len(records)} records of run_benchmark.py, each measured on its device. Accuracy is on the sample that the "
        f"release carries; the raw values are in devices.json.",
        table(HEADS, rows),
        *(part for one in sections for part in _section(one)),
        "## What a start takes",
        "Cold start is from the start of a process to its first answer: it loads Python, NumPy and the runtime. "
        "Peak memory is of the largest of the processes that measured. Energy, in the table above, is for one call.",
        table(COSTS, [[escape(cell) for cell in _costs(record)] for record in ordered]),
    ]
    return "\n\n".join(parts) + "\n"


def _section(one: Section) -> list[str]:
    """Heading, table and notes; nothing where there is nothing to tell."""
    if not one.lines:
        return [f"## {one.title}", one.absent] if one.absent else []
    return [f"## {one.title}", table(one.heads, [[escape(cell) for cell in line] for line in one.lines]), *one.notes]


def _age(record: DeviceRecord, current: Collection[str], newest: Mapping[tuple[str, str], str]) -> str:
    """What is out of date about a record; empty where nothing is."""
    if record.record_sha256 not in current:
        return "of an earlier release of this run"
    again = newest[record.device, record.target] != record.record_sha256
    return "measured again since" if again else ""


def accuracy_of(record: DeviceRecord) -> str:
    """`0.9310 [0.9211, 0.9397]`: Wilson's interval over the rows that the device judged."""
    if record.accuracy is None:
        return MISSING
    right, rows = record.accuracy.right, record.accuracy.rows
    return with_interval(share(record.accuracy.value), wilson_interval(right, rows), share)


def _cells(record: DeviceRecord, row: DeviceLatency, age: str) -> tuple[str, ...]:
    accuracy, likeness = record.accuracy, record.likeness
    return (
        record.device,
        str(record.environment.get("cpu") or MISSING),
        record.target,
        f"{record.artifact} ({record.precision})",
        f"{record.runtime.name} {record.runtime.version}",
        accuracy_of(record),
        share(accuracy.agreement if accuracy else None) if likeness is None else f"cosine {likeness.value:.4f}",
        shape_words(shape_of(row)),
        with_interval(_percentile(row.p50, 50, row), p50_interval(row), ms),
        _percentile(row.p90, 90, row),
        str(len(row.samples)),
        MISSING if row.energy_uj is None else f"{row.energy_uj / 1000 / len(row.samples):.3g}",
        "; ".join(remarks(record, row, age)) or MISSING,
    )


def _costs(record: DeviceRecord) -> tuple[str, ...]:
    heat = [record.environment.get(f"temperature_{when}_c") for when in ("before", "after")]
    return (
        record.device,
        record.target,
        f"{record.artifact} ({record.precision})",
        ms(record.cold_start_ms),
        ms(record.open_ms),
        ms(record.first_inference_ms),
        MISSING if record.peak_memory_bytes is None else human_bytes(record.peak_memory_bytes),
        MISSING if None in heat else f"{heat[0]} → {heat[1]}",
        str(record.environment.get("governor") or MISSING),
        record.energy_note,
    )


def _percentile(value: float | None, percentile: float, row: DeviceLatency) -> str:
    return f"needs {least_samples(percentile)}, has {len(row.samples)}" if value is None else ms(value)


def remarks(record: DeviceRecord, row: DeviceLatency, age: str = "") -> list[str]:
    """What a reader must know before comparing this line with another one."""
    found = [age] if age else []
    found += record.remarks
    if record.target == "xla-tpu" and record.runtime.runs_on == "CPU":
        found.append("no TPU there: the same program on the CPU")
    if not row.stable:
        found.append("never warmed up: two windows of calls never agreed within 2 %")
    if row.threads is not None and row.pinned is None:
        found.append("not kept on processors of its own")
    if row.threads is not None and row.pinned is not None and len(row.pinned) < row.threads:
        found.append(f"{row.threads} threads shared {len(row.pinned)} processor{'s' if len(row.pinned) > 1 else ''}")
    scatter = variation(row.samples)
    if scatter is not None and scatter.unsteady:
        found.append(f"times scatter by {100 * scatter.cv:.1f} %")
    usable, cores = record.environment.get("usable_cores"), record.environment.get("logical_cores")
    if usable != cores:
        found.append(f"{usable} of {cores} cores allowed")
    if (quota := record.environment.get("cpu_quota")) is not None:
        found.append(f"limited to {quota} cores' time")
    return found
