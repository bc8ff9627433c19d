"""What all commands share: options, how faults and results are told, exit codes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from edgepress.compress.training import processes as distributed
from edgepress.targets.errors import EdgepressError, GateError, TargetError
from edgepress.targets.process.quiet import quiet

if TYPE_CHECKING:
    from edgepress.benchmarks.records.report import Row
    from edgepress.compress.cli.console import Console
    from edgepress.compress.pipeline.run import Result

JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object a line instead of text and bars.")]
AllOption = Annotated[bool, typer.Option("--all", help="Show every stage and candidate, not the chosen ones alone.")]
AllowCodeOption = Annotated[
    bool, typer.Option("--allow-code", help="Run the Python files that the recipe names as code. Read them first.")
]
INTERRUPTED = 130


@contextmanager
def errors_told(json: bool) -> Iterator[Console]:
    """A user's mistake is one line and an exit code, never a traceback; our own mistakes stay loud.

    Of several processes the first one speaks for all: what the others read, and run into, is the same.
    """
    from edgepress.compress.cli.console import Console

    main = distributed.is_main()
    console = Console("silent" if not main else "json" if json else None)
    try:
        with quiet():
            yield console
    except EdgepressError as fault:
        if main:
            console.error(str(fault))
        raise typer.Exit(fault.exit_code) from None
    except KeyboardInterrupt:
        if main:
            console.error("stopped by Ctrl-C. Finished stages are kept; run the same command again to go on.")
        raise typer.Exit(INTERRUPTED) from None


def show_result(result: Result, console: Console, everything: bool = False) -> None:
    """What a run came to, and where it lies: the answer for people, all tables for machines and with `everything`.

    Raises:
        TargetError: a target has no artifact.
        GateError: a gate does not hold.
    """
    if result.report is None:
        console.line(f"Stopped after {result.stages[-1].name}: {result.folder / result.stages[-1].folder}")
        return
    from edgepress.benchmarks.records.files import answer_table, stages_table, summary_table
    from edgepress.benchmarks.report.verdicts import gates_line
    from edgepress.benchmarks.report.wording import missed_gates

    people = console.mode != "json"
    if not result.fresh:
        console.line("Nothing has changed: no stage was run.")
    if everything or not people:
        console.table(stages_table(result.report))
        console.table(summary_table(result.report))
    if people:
        console.table(answer_table(result.report))
        console.line(f"Gates:   {gates_line(result.report)}")
    console.line(f"Report:  {result.report_folder / 'report.html'}")
    console.line(f"Release: {result.release_folder}")
    if people:
        from edgepress.compress.release.usage import usage

        for line in usage(result.folder, result.report):
            console.line(line)
    if failed := result.report.failed_targets:
        raise TargetError("; ".join(_failure(row) for row in failed))
    if not result.gates_hold:
        raise GateError(missed_gates(result.report.gates))


def _failure(row: Row) -> str:
    """Why a target has no artifact; a reason that names the target already is told as it stands."""
    return row.reason if row.reason.startswith(row.target) else f"{row.target} {row.name}: {row.reason}"
