"""`edgepress devices`: a release measured on a fleet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgepress.compress.cli.common import JsonOption, errors_told
from edgepress.targets.errors import BenchmarkError

if TYPE_CHECKING:
    from rich.table import Table

    from edgepress.benchmarks.devices.outcomes import Outcome

devices_app = typer.Typer(
    no_args_is_help=True,
    help="""Measure a release on many devices.

    `edgepress devices run devices.yaml RUN` brings the release of runs/<name> to each device that the file lists,
    measures it there, and merges what they found into one hardware report.""",
)


@devices_app.callback()
def devices() -> None:
    """A group of commands, even while there is one."""


@devices_app.command("run")
def run_devices(
    file: Annotated[Path, typer.Argument(metavar="DEVICES.yaml", help="The devices; docs/devices.md tells its keys.")],
    path: Annotated[
        Path, typer.Argument(metavar="RUN", help="A run (runs/<name>) that was packaged, or a release with --output.")
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The report's folder; left out, `devices` in the run.")
    ] = None,
    only: Annotated[list[str] | None, typer.Option(help="The only device; may be given again.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Measure what was measured already, too.")] = False,
    jobs: Annotated[int, typer.Option(min=1, max=64, help="How many devices at once.")] = 8,
    json: JsonOption = False,
) -> None:
    """Measure a release on every device of a file: over ssh, over adb, or here.

    The release is verified, copied where it is not there yet, and measured by its own runner; each record is fetched,
    checked against the release and merged as soon as it is there. What was measured is not measured again: the same
    command goes on where it was stopped. A device that fails or hangs is a line with its reason, and exit code 1.

    The file is yours like a script: it names programs that are run on your devices, and for local ones here.
    """
    with errors_told(json) as console:
        from edgepress.compress.fleet.config import read_fleet
        from edgepress.compress.fleet.release import place_of, read_sent
        from edgepress.compress.fleet.run import Asked, FleetRun, told_failures

        fleet, place = read_fleet(file), place_of(path, output)
        sent = read_sent(place.release)
        found = FleetRun(fleet, sent, place, Asked(tuple(only or ()), again, jobs), console).run()
        console.table(outcomes_table(found))
        console.line(f"Hardware report: {place.folder / 'devices.md'}")
        if any(one.state == "failed" for one in found):
            raise BenchmarkError(told_failures(found, len({one.device for one in found})))


def outcomes_table(outcomes: Sequence[Outcome]) -> Table:
    """A line for each device and target."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=f"{len({one.device for one in outcomes})} devices")
    for column in ("device", "target", "state", "reason"):
        table.add_column(column)
    for one in outcomes:
        table.add_row(*map(Text, (one.device, one.target or "all", one.state, one.reason)))
    return table
