"""The command line: parse, call, print. Everything heavy is imported by the command that needs it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgepress.compress.cli.common import AllOption, AllowCodeOption, JsonOption, errors_told, show_result
from edgepress.compress.cli.devices import devices_app
from edgepress.compress.cli.generate import generate
from edgepress.compress.cli.package import package
from edgepress.compress.cli.push import push
from edgepress.compress.cli.report import report_app
from edgepress.compress.cli.serve import serve
from edgepress.compress.cli.verify import diff, keygen, verify
from edgepress.targets.errors import BenchmarkError, EdgepressError, TargetError

if TYPE_CHECKING:
    from edgepress.compress.cli.console import Console
    from edgepress.compress.recipe.recipe import Recipe

app = typer.Typer(
    name="edgepress",
    help="A recipe turns a teacher model into a small, fast, measured artifact for each piece of hardware.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

app.add_typer(report_app, name="report")
app.add_typer(devices_app, name="devices")
app.command()(package)
app.command()(serve)
app.command()(generate)
app.command()(verify)
app.command()(keygen)
app.command()(diff)
app.command()(push)

RunsOption = Annotated[Path, typer.Option("--runs", help="Folder that holds the runs.")]


@app.command()
def run(
    recipe: Annotated[Path, typer.Argument(help="The recipe, a YAML file.")],
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change the recipe, e.g. student.layers=3.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Stop after this stage, e.g. prune.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would run, and do nothing.")] = False,
    runs: RunsOption = Path("runs"),
    everything: AllOption = False,
    cache: Annotated[
        Path | None, typer.Option(help="A folder for the teacher's outputs that several runs share.")
    ] = None,
    allow_code: AllowCodeOption = False,
    json: JsonOption = False,
) -> None:
    """Run a recipe to its artifacts, report and release folder. Stages that are done are not done again."""
    with errors_told(json) as console:
        from edgepress.compress.recipe.recipe import Recipe

        loaded = Recipe.load(recipe, tuple(overrides or ()))
        if cache is not None:
            loaded = loaded.model_copy(update={"cache": loaded.cache.model_copy(update={"folder": str(cache)})})
        if dry_run:
            _show_plan(loaded, until, runs, console)
            return
        from edgepress.compress.pipeline.run import run as run_recipe

        result = run_recipe(loaded, until=until, runs=runs, console=console, allow_code=allow_code)
        show_result(result, console, everything)


def _show_plan(recipe: Recipe, until: str | None, runs: Path, console: Console) -> None:
    from rich.table import Table

    from edgepress.compress.pipeline.plan import cut, plan
    from edgepress.compress.pipeline.run import finished
    from edgepress.compress.pipeline.store import RunFolder

    stages = cut(plan(recipe), until)
    done = finished(RunFolder(recipe.name, runs, console.warn), [stage.key for stage in stages])
    table = Table(title=f"{recipe.name}: what a run would do")
    for column in ("stage", "state", "options"):
        table.add_column(column)
    for number, stage in enumerate(stages):
        options = stage.stage.options.model_dump(exclude_defaults=True) if stage.stage.options else {}
        options_text = ", ".join(f"{key}={value}" for key, value in options.items())
        table.add_row(stage.label, "done" if number < len(done) else "to do", options_text)
    console.table(table)


@app.command()
def gc(
    runs: Annotated[Path, typer.Argument(help="Folder that holds the runs, or one run.")] = Path("runs"),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would go, and remove nothing.")] = False,
    json: JsonOption = False,
) -> None:
    """Remove what no recipe reaches: stages of other options, old checkpoints, what of the caches nothing uses."""
    with errors_told(json) as console:
        from edgepress.compress.cli.garbage import show_garbage
        from edgepress.compress.pipeline.garbage import collect

        show_garbage(collect(runs, dry_run, console.warn), dry_run, console)


@app.command()
def init(
    task: Annotated[str, typer.Argument(help="The task, such as text-classification or image-classification.")],
    data: Annotated[str | None, typer.Option(help="Your training rows: the recipe gets its column names.")] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to write the recipe.")] = Path("recipe.yaml"),
    json: JsonOption = False,
) -> None:
    """Write a commented recipe to start from."""
    with errors_told(json) as console:
        from edgepress.compress.cli.init import recipe_template

        text = recipe_template(task, data)
        if output.exists():
            raise EdgepressError(f"{output} exists already; give another name with --output or remove it")
        try:
            output.write_text(text, encoding="utf-8")
        except OSError as fault:
            raise EdgepressError(
                f"{output} cannot be written ({fault.strerror}); name another place with --output"
            ) from None
        console.line(f"Wrote {output}. Change what you like, then: edgepress run {output}")


@app.command()
def bench(
    path: Annotated[Path, typer.Argument(help="A run (runs/<name>), a release or an artifact folder.")],
    batch: Annotated[list[int] | None, typer.Option(min=1, help="Batch size; may be given again.")] = None,
    sequence: Annotated[list[int] | None, typer.Option(min=1, help="Sequence length; may be given again.")] = None,
    threads: Annotated[
        list[int] | None, typer.Option(min=1, help="Threads of the session; may be given again.")
    ] = None,
    samples: Annotated[int, typer.Option(min=11, help="Timed calls of each artifact and shape, at the least.")] = 100,
    scenario: Annotated[
        str | None, typer.Option(help="A load instead: multi-stream, offline, server or sustained.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.1, help="How long offline and sustained run; 600 shows heat.")] = 10.0,
    latency_bound: Annotated[float | None, typer.Option(min=0, help="Of server: its p99 in ms at most.")] = None,
    json: JsonOption = False,
) -> None:
    """Time artifacts again, interleaved with their teacher, or under a load as applications make it."""
    shapes_asked = (tuple(batch or (1,)), tuple(sequence or (32, 128)), tuple(threads or (1,)))
    with errors_told(json) as console:
        if scenario is not None:
            _run_scenario(path, scenario, shapes_asked, seconds, latency_bound, console)
            return
        from rich.table import Table
        from rich.text import Text

        from edgepress.compress.cli.bench import Shapes, latency_texts, told_failures
        from edgepress.compress.cli.bench import bench as time_artifacts

        shapes = Shapes(*shapes_asked, samples)
        table = Table(title=f"Latency, ms, {samples} samples, interleaved")
        for column in ("artifact", "batch", "sequence", "threads", "p50 [95 %]", "p90", "speed-up [95 %]", "remark"):
            table.add_column(column, justify="left" if column in ("artifact", "remark") else "right")
        timed = time_artifacts(path, shapes, console)
        for item in timed:
            for row in item.rows:
                table.add_row(
                    Text(item.name), str(row.batch), str(row.sequence or "–"), str(row.threads), *latency_texts(row)
                )
            if item.failure:
                table.add_row(Text(item.name), *[""] * 6, Text(item.remark))
        console.table(table)
        if all(item.failure for item in timed):
            raise BenchmarkError(f"no artifact could be timed. {timed[0].name}: {timed[0].failure}")
        if failed := [(item.name, item.failure) for item in timed if item.failure and not item.absent]:
            raise BenchmarkError(told_failures(failed, len(timed)))


def _run_scenario(
    path: Path,
    scenario: str,
    shapes: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]],
    seconds: float,
    latency_bound: float | None,
    console: Console,
) -> None:
    from edgepress.compress.cli.bench import Shapes, told_failures
    from edgepress.compress.cli.bench_scenarios import bench_scenario, scenario_table

    rows = bench_scenario(path, scenario, Shapes(*shapes), seconds, latency_bound, console)
    console.table(scenario_table(scenario, rows))
    if all(row.result is None for row in rows):
        raise BenchmarkError(f"no artifact ran in the scenario. {rows[0].name}: {rows[0].failure}")
    if failed := [(row.name, row.failure) for row in rows if row.result is None and not row.absent]:
        raise BenchmarkError(told_failures(failed, len(rows)))


@app.command()
def inspect(
    model: Annotated[str, typer.Argument(help="A transformers folder, a hub id or the folder of a run's stage.")],
    fits: Annotated[Path | None, typer.Option(help="A config.json: show what its weights would start from.")] = None,
    task: Annotated[str | None, typer.Option(help="The model's task, where it does not tell it itself.")] = None,
    sequence: Annotated[int, typer.Option(min=2, help="Tokens of the row whose MACs are counted.")] = 128,
    json: JsonOption = False,
) -> None:
    """Show a model's parameters, shapes and MACs, and whether its weights fit another configuration."""
    with errors_told(json) as console:
        from edgepress.compress.cli.inspect import inspect_model

        inspect_model(model, task, sequence, fits, console)


@app.command()
def targets(json: JsonOption = False) -> None:
    """What can run on this machine, and what to install for the rest."""
    with errors_told(json) as console:
        from rich.table import Table

        from edgepress.targets import probe_all

        table = Table(title="Targets")
        for column in ("target", "state", "reason", "remedy"):
            table.add_column(column)
        states = probe_all()
        for name, found in states.items():
            table.add_row(name, found.state, found.reason, found.remedy)
        console.table(table)
        if broken := [f"{name}: {found.reason}" for name, found in states.items() if found.state == "broken"]:
            raise TargetError("; ".join(broken))


def main() -> None:
    """Entry point of the `edgepress` command."""
    app()


if __name__ == "__main__":
    sys.exit(app())
