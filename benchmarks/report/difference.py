"""A difference of two reports for people: a table in the terminal, Markdown, and one line for each regression."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from edgepress.benchmarks.judge.difference import ORDER, Change, Difference, Unit
from edgepress.benchmarks.records.figures import Figure
from edgepress.benchmarks.report.markdown import escape
from edgepress.benchmarks.report.markdown import table as markdown_table
from edgepress.benchmarks.report.wording import MISSING, count, human_bytes, metric_value, ms

if TYPE_CHECKING:
    from rich.table import Table

STYLES = {"regression": "bold red", "improvement": "green", "not judged": "yellow", "changed": "cyan"}
HEADS = ("where", "figure", "before", "after", "change", "verdict")
MINUS = "\N{MINUS SIGN}"


def difference_table(found: Difference) -> Table:
    """Every change, regressions first."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title(found), "bold"), title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for head in HEADS:
        table.add_column(head, justify="right" if head in ("before", "after", "change") else "left", overflow="fold")
    for change in found.changes:
        # Text and not str: a name such as "[red]" is the user's and no markup.
        table.add_row(
            *(Text(cell) for cell in cells(change)[:-1]), Text(change.effect, STYLES.get(change.effect, "dim"))
        )
    return table


def difference_markdown(found: Difference) -> str:
    """What differs between the machines on top, then the verdict, then every change."""
    rows = [[escape(cell) for cell in cells(change)] for change in found.changes]
    rows = [[f"**{cell}**" if cell else "" for cell in row] if row[-1] == "regression" else row for row in rows]
    parts = [
        f"# {escape(title(found))}",
        "\n".join(f"- {escape(remark)}" for remark in found.remarks),
        f"**{verdict(found)}** {escape(limits_text(found))}",
        markdown_table(HEADS, rows),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def title(found: Difference) -> str:
    return f"{found.before} → {found.after}"


def verdict(found: Difference) -> str:
    """`2 regressions, 1 improvement, 5 unchanged.`"""
    counts = Counter(change.effect for change in found.changes)
    counts_text = [_counted(counts[effect], effect) for effect in ORDER if counts[effect]]
    return f"{', '.join(counts_text if counts['regression'] else ['no regression', *counts_text])}."


def limits_text(found: Difference) -> str:
    limits, metric = found.limits, found.metric
    name, side = ("the metric", "worse") if metric is None else (metric.name, _worse(metric))
    drop = f"{100 * limits.drop:g} points" if metric is None or metric.unit == "share" else f"{limits.drop:g}"
    return (
        f"A regression is {name} {side} by more than {drop}, p50 higher by more than "
        f"{100 * limits.latency_rise:g} %, bytes higher by more than {100 * limits.bytes_rise:g} %, "
        f"an artifact or figure that is lost, or a gate that does not hold any more."
    )


def _worse(metric: Figure) -> str:
    return "lower" if metric.higher_is_better else "higher"


def regressions_text(found: Difference) -> str:
    """One line that names each regression: where, which figure, before and after."""
    sentences = [_sentence(change) for change in found.regressions]
    return f"{_counted(len(sentences), 'regression')} from {found.before} to {found.after}: {'; '.join(sentences)}"


def cells(change: Change) -> tuple[str, ...]:
    """Place, figure, before, after, change and verdict, each as it is read."""
    old, new = written(change.before, change.unit), written(change.after, change.unit)
    return change.place, change.figure, old, new, change_text(change), change.effect


def written(value: float | str | None, unit: Unit) -> str:
    if value is None or isinstance(value, str):
        return MISSING if value is None else value
    if unit == "share" or unit == "nats" or unit == "dB" or unit == "1":
        return metric_value(value, unit)
    if unit == "ms":
        return f"{ms(value)} ms"
    return human_bytes(value) if unit == "bytes" else count(value)


def change_text(change: Change) -> str:
    """Shares in points, other metrics in their unit, latency as a ratio and in ms, anything else in per cent.

    >>> change_text(Change(place="", figure="", unit="ms", before=2.0, after=2.5, effect="regression"))
    '1.25x, +0.500 ms'
    >>> change_text(Change(place="", figure="", unit="bytes", before=2e6, after=3e6, effect="regression"))
    '+50.0 %'
    """
    before, after = change.before, change.after
    if isinstance(before, str) or isinstance(after, str) or before is None or after is None or before == after:
        return ""
    if change.unit == "share":
        return f"{100 * (after - before):+.2f} points".replace("-", MINUS)
    if change.unit in ("nats", "dB", "1"):
        return f"{after - before:+.3g}".replace("-", MINUS)
    if change.unit == "ms":
        amount = f"{after - before:+.3f} ms".replace("-", MINUS)
        return f"{after / before:.2f}x, {amount}" if before else amount
    return f"{100 * (after / before - 1):+.1f} %".replace("-", MINUS) if before else MISSING


def _sentence(change: Change) -> str:
    _, _, old, new, amount, _ = cells(change)
    return f"{change.place}, {change.figure}: {old} → {new}" + (f" ({amount})" if amount else "")


def _counted(number: int, effect: str) -> str:
    plural = "s" if number != 1 and effect in ("regression", "improvement") else ""
    return f"{number} {effect}{plural}"
