"""`edgepress report`: show a run's report, compare two reports, add the records of devices."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from edgepress.compress.cli.common import AllOption, JsonOption, errors_told, show_result
from edgepress.targets.errors import EdgepressError, GateError, StoreError

if TYPE_CHECKING:
    from edgepress.benchmarks.records.report import Report

DEFAULT = "show"


class ReportGroup(TyperGroup):
    """`report RUN` is `report show RUN`. Several words that begin with none of the commands are a mistyped one."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        words = [word for word in args if not word.startswith("-")]
        if len(words) == 1 and words[0] not in self.commands:
            args = [DEFAULT, *args]
        return super().parse_args(ctx, args)


report_app = typer.Typer(
    cls=ReportGroup,
    no_args_is_help=True,
    help="""Show a run's report, compare two, or add records of devices.

    `edgepress report RUN` shows the report of runs/<name> and writes its files anew.

    `edgepress report compare A B` shows two reports side by side, regressions first.

    `edgepress report add RUN RECORD.json...` merges what devices measured into one hardware report.

    A run folder that is called like a command is given as ./compare.""",
)


@report_app.command()
def show(
    path: Annotated[Path, typer.Argument(help="A run folder: runs/<name>.")],
    everything: AllOption = False,
    json: JsonOption = False,
) -> None:
    """Show a run's report and write its files anew. `edgepress report RUN` does the same."""
    with errors_told(json) as console:
        from edgepress.compress.pipeline.run import reopen

        show_result(reopen(path, console), console, everything)


@report_app.command()
def compare(
    before: Annotated[Path, typer.Argument(metavar="A", help="A run, a release, or a report.json: held to be good.")],
    after: Annotated[Path, typer.Argument(metavar="B", help="A run, a release, or a report.json: judged against A.")],
    drop: Annotated[
        float,
        typer.Option(
            "--drop",
            "--accuracy-drop",
            min=0,
            help="The primary metric may get worse by so much, in its unit; 0.005 of accuracy is half a point.",
        ),
    ] = 0.005,
    latency_rise: Annotated[float, typer.Option(min=0, help="p50 may rise by this share; 0.05 is 5 %.")] = 0.05,
    bytes_rise: Annotated[float, typer.Option(min=0, help="Bytes may rise by this share; 0.01 is 1 %.")] = 0.01,
    fail_on_regression: Annotated[
        bool, typer.Option("--fail-on-regression", help="Exit code 3 where something got worse by more than that.")
    ] = False,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the comparison as Markdown too.")] = None,
    json: JsonOption = False,
) -> None:
    """Two reports side by side, regressions first: metrics, p50, bytes, status and gates of targets and stages."""
    with errors_told(json) as console:
        from edgepress.benchmarks.judge.difference import RegressionLimits, difference
        from edgepress.benchmarks.report.difference import difference_table, limits_text, regressions_text, verdict

        limits = RegressionLimits(drop=drop, latency_rise=latency_rise, bytes_rise=bytes_rise)
        found = difference(find_report(before), find_report(after), limits, (str(before), str(after)))
        if output is not None:
            from edgepress.benchmarks.report.difference import difference_markdown

            _write(output, difference_markdown(found))
        for remark in found.remarks:
            console.warn(remark)
        console.table(difference_table(found))
        console.line(f"{verdict(found)} {limits_text(found)}")
        if output is not None:
            console.line(f"Wrote {output}")
        if fail_on_regression and found.regressions:
            raise GateError(regressions_text(found))


@report_app.command()
def add(
    run: Annotated[Path, typer.Argument(help="The run folder whose release was measured: runs/<name>.")],
    records: Annotated[list[Path], typer.Argument(help="Records that run_benchmark.py wrote on devices.")],
    key: Annotated[
        Path | None,
        typer.Option(metavar="PUBLIC.pem", help="The device's public key: it must have signed them."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Check the records of devices and merge them into one hardware report of the run."""
    with errors_told(json) as console:
        from edgepress.benchmarks.devices.merge import add_records

        public = None
        if key is not None:
            from edgepress.benchmarks.devices.signed import read_device_key

            public = read_device_key(key)
        console.line(f"Hardware report: {add_records(run, records, public)}")


def find_report(path: Path) -> Report:
    """The report of a run folder, a release, any folder with a report.json, or that file.

    Raises:
        StoreError: there is no report.
        ArtifactError: it is damaged or of another schema version.
    """
    from edgepress.benchmarks.records.report import Report

    places = (path, path / "report.json", path / "report" / "report.json")
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        state = "has no report.json" if path.is_dir() else "does not exist"
        raise StoreError(
            f"{path} {state}. Give a run folder (runs/<name>) that is finished, a release folder, or a report.json."
        )
    return Report.read(found)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as fault:
        raise EdgepressError(f"{path} cannot be written ({fault.strerror}); name another place with --output") from None
