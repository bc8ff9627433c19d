"""Under which conditions two reports were made: what differs between their machines, packages and data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from edgepress.benchmarks.records.report import Report

# What decides how fast the same artifact is, as `environment` names it.
MACHINE = ("cpu", "architecture", "usable_cores", "cpu_quota", "governor")
# What a report says of its data and that is no property of them.
COUNTERS = frozenset({"test_reads"})


def same_machine(before: Report, after: Report) -> bool:
    """Whether latencies of the two reports compare, as far as their environments tell."""
    return not _differing(before.environment, after.environment, MACHINE)


def remarks(before: Report, after: Report) -> Iterator[str]:
    """One line for each condition that differs, and what follows from it."""
    if machine := _differing(before.environment, after.environment, MACHINE):
        yield f"The machines differ ({'; '.join(machine)}): latency does not compare, p50 is shown and not judged."
    old, new = _versions(before), _versions(after)
    if versions := _differing(old, new, sorted({*old, *new})):
        yield f"Package versions differ ({'; '.join(versions)}): a change, of latency above all, may come from them."
    if before.task != after.task:
        yield f"The tasks differ ({before.task} → {after.task}): {_metric(before)} does not compare."
    names = sorted({*before.data, *after.data} - COUNTERS)
    if data := [name for name in names if before.data.get(name) != after.data.get(name)]:
        yield f"The data differ ({', '.join(data)}): {_metric(before)} is of other rows."


def _metric(report: Report) -> str:
    return report.primary.name if report.primary else "the metric"


def _versions(report: Report) -> dict[str, object]:
    versions = report.environment.get("versions")
    return dict(versions) if isinstance(versions, dict) else {}


def _differing(before: Mapping[str, object], after: Mapping[str, object], names: Iterable[str]) -> list[str]:
    """`cpu: A → B` for each name whose value is another."""
    found = [name for name in names if before.get(name) != after.get(name)]
    return [f"{name}: {_known(before, name)} → {_known(after, name)}" for name in found]


def _known(values: Mapping[str, object], name: str) -> object:
    value = values.get(name)
    return "none" if value is None else value
