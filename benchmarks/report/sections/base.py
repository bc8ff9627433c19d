"""The report's tables as text: heads, lines and notes, the same in Markdown and in HTML."""

from __future__ import annotations

from typing import NamedTuple

from edgepress.benchmarks.records.report import Report, Row
from edgepress.benchmarks.report.wording import (
    FLAG,
    MISSING,
    human_bytes,
    ms,
    p50,
    percentile,
    scatter_text,
    shape_words,
    speedup,
)

Line = tuple[str, ...]


class Section(NamedTuple):
    """One table: its element's id, its heading, names of the columns, cells as they are read, notes below.

    `left` names the columns of words; the others hold figures. Without lines, `absent` stands in the table's place.
    """

    key: str
    title: str
    heads: tuple[str, ...]
    lines: list[Line]
    left: tuple[str, ...] = ("artifact",)
    notes: tuple[str, ...] = ()
    absent: str = ""


class Reasons:
    """Why figures are missing: a cell carries a number, and the notes below the table say each reason once.

    >>> reasons = Reasons()
    >>> reasons.cell("energy", "no counter"), reasons.cell("memory", ""), reasons.cell("energy", "no counter")
    ('not measured (1)', 'not measured (2)', 'not measured (1)')
    >>> reasons.notes
    ('(1) energy: no counter', '(2) memory: no reason was given')
    """

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def cell(self, figure: str, reason: str) -> str:
        text = reason.removeprefix("not measured:").strip() or "no reason was given"
        text = f"{figure}: {text}" if figure else text
        return f"not measured ({self._numbers.setdefault(text, len(self._numbers) + 1)})"

    @property
    def notes(self) -> tuple[str, ...]:
        return tuple(f"({number}) {text}" for text, number in self._numbers.items())


def all_rows(report: Report) -> tuple[Row, ...]:
    """The teacher, then the candidates; a row's place in it is its number in the first table and in the plots."""
    return (report.teacher, *report.candidates)


def artifact(row: Row) -> str:
    """Target and name, which tell one row from all others."""
    return f"{row.target} {row.name}"


def latency(report: Report) -> Section:
    """One line for each artifact and shape: all percentiles, how steady they are, and the cold start, in ms."""
    heads = (
        "artifact", "shape", "p50 ms [95 %]", "p90", "p95", "p99", "p99.9", "variation", "speed-up [95 %]", "samples",
        "warm-up rounds", "open ms", "first call ms", "pinned to",
    )  # fmt: skip
    lines: list[Line] = []
    for row in all_rows(report):
        cold = tuple(MISSING if value is None else ms(value) for value in (row.open_ms, row.first_inference_ms))
        for one in row.latency:
            tails = (percentile(one, share) for share in (90, 95, 99, 99.9))
            rounds = MISSING if one.warmup_rounds is None else str(one.warmup_rounds)
            rounds += f" {FLAG} not stable" if one.stable is False else ""
            figures = (p50(one), *tails, scatter_text(one), speedup(one), str(one.samples), rounds, *cold)
            pinned = f"CPU {', '.join(map(str, one.pinned))}" if one.pinned else "not pinned"
            lines.append((artifact(row), shape_words(one.shape), *figures, pinned))
    return Section("latency", "Latency", heads, lines, ("artifact", "shape"))


def builds(report: Report) -> Section:
    """One line for each artifact and hardware that a compiler built for: products by type, bytes, estimates in ms."""
    heads = (
        "artifact", "hardware", "size", "int8", "half", "float", "compiled", "memory", "estimated ms", "roofline ms",
        "from",
    )  # fmt: skip
    lines: list[Line] = []
    for row in all_rows(report):
        for build in row.builds:
            sizes = ", ".join(f"{name} {size}" for name, size in build.sizes.items()) or "all"
            products = (build.int8_products, build.half_products, build.float_products)
            amounts = (human_bytes(build.code_bytes), human_bytes(build.memory_bytes))
            estimates = (build.estimated_ms, build.roofline_ms)
            cells = (MISSING if estimate is None else f"{estimate:.4g}" for estimate in estimates)
            place = (artifact(row), build.hardware, sizes)
            lines.append((*place, *map(str, products), *amounts, *cells, build.source))
    left = ("artifact", "hardware", "size", "from")
    return Section("builds", "Compiler estimate, not measured", heads, lines, left)
