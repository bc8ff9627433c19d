"""The verdict of a report: which artifact each target got, what it is worth, and which gates do not hold."""

from __future__ import annotations

from edgepress.benchmarks.records.report import GateVerdict, Report, Row
from edgepress.benchmarks.report.columns import Column, columns, primary
from edgepress.benchmarks.report.sections.base import Line, Reasons, Section
from edgepress.benchmarks.report.wording import capital, gate_text, human_bytes, p50, spread, times

PASSED, FAILED = "\N{CHECK MARK}", "\N{BALLOT X}"


def chosen_rows(report: Report) -> tuple[Row, ...]:
    """The chosen artifact of each target that has one, in the order of the targets."""
    return tuple(row for row in report.candidates if row.chosen)


def verdict(report: Report) -> Section:
    """One line for each target, those without an artifact too."""
    reasons = Reasons()
    chosen = {row.target: row for row in chosen_rows(report)}
    names = dict.fromkeys(row.target for row in report.compressed)
    lines = [
        _line(report, chosen[name], reasons) if name in chosen else _without_artifact(report, name, reasons)
        for name in names
    ]
    metric = primary(report).name
    heads = (
        "target", "chosen artifact", "status", metric, "to the teacher [95 %]", "speed-up", "shrink", "gates"
    )  # fmt: skip
    notes = tuple(
        f"{capital(metric)} of {row.target} {row.name} is from {row.numbers_from}."
        for row in chosen.values()
        if row.numbers_from
    )
    left = ("target", "chosen artifact", "status", "gates")
    return Section("verdict", "Verdict", heads, lines, left, (*reasons.notes, *notes))


def _line(report: Report, row: Row, reasons: Reasons) -> Line:
    def cell(text: str, known: bool) -> str:
        return text if known else reasons.cell("", row.reason)

    metric = primary(report)
    known = metric.value(row) is not None
    factors = [one.speedup for one in row.latency if one.speedup is not None]
    return (
        row.target,
        f"{row.name}, {row.precision}",
        row.status,
        cell(metric.text(row), known),
        cell(difference(report, row), known and metric.value(report.teacher) is not None),
        cell(spread(factors), bool(factors)),
        cell(times(row.shrink), row.shrink is not None),
        gates_text(report, row.target),
    )


def _without_artifact(report: Report, target: str, reasons: Reasons) -> Line:
    rows = [row for row in report.compressed if row.target == target]
    why = "; ".join(dict.fromkeys(f"{row.name} {row.status}: {row.reason or 'no reason was given'}" for row in rows))
    states = ", ".join(dict.fromkeys(row.status for row in rows))
    return (target, "none", states, *[reasons.cell("", why)] * 4, gates_text(report, target))


def difference(report: Report, row: Row) -> str:
    """-2.0 points [-3.5, -0.5], against the teacher; empty where either figure is not known."""
    return difference_of(report, row, primary(report))


def difference_of(report: Report, row: Row, metric: Column) -> str:
    """The difference that the row holds, else that of its figure to the teacher's; empty where either is not known."""
    if change := metric.change(row):
        return change
    value, teacher = metric.value(row), metric.value(report.teacher)
    return "" if value is None or teacher is None else metric.change_of(value - teacher)


def difference_alone(report: Report, row: Row) -> str:
    """-2.0 points, against the teacher, without its interval; empty where either figure is not known."""
    return difference(report, row).partition(" [")[0]


def gates_text(report: Report, target: str) -> str:
    """How many gates of one target hold; a gate without a target is everybody's."""
    gates = [gate for gate in report.gates if gate.target in ("", target)]
    failed = sum(not gate.passed for gate in gates)
    if failed:
        return f"{FAILED} {failed} of {len(gates)} failed"
    return f"{PASSED} {len(gates)} of {len(gates)} passed" if gates else "none set"


def gates_line(report: Report) -> str:
    """All gates of a report in one line: how many hold, or each one that does not, with what was measured."""
    if failed := alarm(report):
        return f"{FAILED} {failed}"
    return f"{PASSED} {len(report.gates)} of {len(report.gates)} passed" if report.gates else "none set"


def gates_in_order(report: Report) -> list[GateVerdict]:
    """The gates that fail before those that hold."""
    return sorted(report.gates, key=lambda gate: gate.passed)


def alarm(report: Report) -> str:
    """What does not hold, in one line; empty where everything does."""
    failed = [gate for gate in report.gates if not gate.passed]
    if not failed:
        return ""
    demands = [f"{demand} {limit}, measured {measured}" for demand, limit, measured in map(gate_text, failed)]
    plural = "" if len(report.gates) == 1 else "s"
    return f"{len(failed)} of {len(report.gates)} gate{plural} failed: {'; '.join(demands)}"


def tiles(report: Report, row: Row) -> list[tuple[str, str, str]]:
    """Name, value and comparison of the headline figures of one artifact."""
    teacher, metrics = report.teacher, columns(report)
    change = difference(report, row)
    than = f"teacher {metrics[0].text(teacher)}, {change}" if change else "the teacher's is not known"
    medians = [f"{p50(one)} ms" for one in row.latency]
    shipped = f"{human_bytes(row.bytes)}, teacher {human_bytes(teacher.bytes)}"
    return [
        (metrics[0].name, metrics[0].text(row), than),
        *((column.name, column.text(row), "with the teacher's answers") for column in metrics[1:]),
        ("speed-up", spread(one.speedup for one in row.latency), f"p50 {', '.join(medians) or 'not measured'}"),
        ("shrink", times(row.shrink), shipped),
    ]
