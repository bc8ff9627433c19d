"""A report as CSV (RFC 4180): one line for each row and shape, an empty cell for what was not taken."""

from __future__ import annotations

import csv
import io
import types
from collections.abc import Sequence
from typing import Any, Literal, Union, get_args, get_origin

import numpy as np

from edgepress.benchmarks.records.report import LatencyRow, Report, Row
from edgepress.targets.records import Record
from edgepress.targets.text import visible

# End of a column's name -> the field of a figure that it holds.
QUALITY = {
    "": "value",
    "_low": "low",
    "_high": "high",
    "_difference": "difference",
    "_difference_low": "difference_low",
    "_difference_high": "difference_high",
    "_p": "p",
}
# What spreadsheets take for a formula; an apostrophe before it says that it is none.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
PLAIN = (str, int, float, bool, type(None))


def sheet(report: Report) -> str:
    """Header and lines; a row without latency has one line. Names of the columns are those of report.json.

    A record inside a record has its fields behind a dot: `footprint.peak_memory_bytes`. `run` and `role` (teacher or
    candidate) come first; each metric has columns by its key, `accuracy` and `accuracy_low` to `accuracy_p`.
    `estimated_ms` is the geometric mean of what the compilers estimate; lists and settings are
    in report.json alone.
    """
    own, shape, metrics = _columns(Row), _columns(LatencyRow), report.metric_keys
    quality = [f"{key}{end}" for key in metrics for end in QUALITY]
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["run", "role", *own, *quality, "estimated_ms", *shape])
    for row in (report.teacher, *report.candidates):
        role = "teacher" if report.is_teacher(row) else "candidate"
        head = [_cell(report.name), role, *_cells(row, own), *_quality(row, metrics), _cell(_estimate(row))]
        lines = [_cells(one, shape) for one in row.latency] or [[""] * len(shape)]
        writer.writerows([*head, *line] for line in lines)
    return text.getvalue()


def _quality(row: Row, metrics: Sequence[str]) -> list[str]:
    """Value, interval, difference and p of each metric; empty cells where a row does not have it."""
    figures = (row.figure(key) for key in metrics)
    return [_cell(getattr(figure, field, None)) for figure in figures for field in QUALITY.values()]


def _columns(record: type[Record], before: str = "") -> list[str]:
    """Fields that hold one number or text: a new one in the records is a new column here."""
    found = []
    for name, field in record.model_fields.items():
        if inner := _record_in(field.annotation):
            found += _columns(inner, f"{before}{name}.")
        elif _is_plain(field.annotation):
            found.append(before + name)
    return found


def _record_in(kind: Any) -> type[Record] | None:
    """The record that a field holds, or may hold; None for anything else, lists of records too."""
    parts = [part for part in get_args(kind) if part is not type(None)] if _is_union(kind) else [kind]
    return parts[0] if len(parts) == 1 and isinstance(parts[0], type) and issubclass(parts[0], Record) else None


def _is_union(kind: Any) -> bool:
    return get_origin(kind) in (Union, types.UnionType)


def _is_plain(kind: Any) -> bool:
    """Whether values of this type fit into one cell."""
    if _is_union(kind):
        return all(_is_plain(part) for part in get_args(kind))
    return get_origin(kind) is Literal or kind in PLAIN


def _cells(record: Record, names: list[str]) -> list[str]:
    return [_cell(_value(record, name)) for name in names]


def _value(record: Record, name: str) -> object:
    """The field behind a dotted name; None where a record on the way is missing."""
    value: object = record
    for part in name.split("."):
        value = None if value is None else getattr(value, part)
    return value


def _cell(value: object) -> str:
    """true and false as in JSON; numbers with every digit; what a spreadsheet would compute is marked as text."""
    if value is None:
        return ""
    if isinstance(value, str):
        return f"'{visible(value)}" if value.startswith(FORMULA) else visible(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _estimate(row: Row) -> float | None:
    """Geometric mean over hardware and sizes, ms, as `Artifact.estimated_ms` has it; None where one is missing."""
    known = [build.estimated_ms for build in row.builds if build.estimated_ms is not None]
    return float(np.exp(np.mean(np.log(known)))) if known and len(known) == len(row.builds) else None
