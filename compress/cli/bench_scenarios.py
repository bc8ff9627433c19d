"""`edgepress bench --scenario`: how artifacts bear the loads of applications, each in a process of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgepress import targets
from edgepress.benchmarks.measure.scenarios import ScenarioJob, run_scenario
from edgepress.benchmarks.records.scenarios import SCENARIOS, ScenarioName, ScenarioResult
from edgepress.compress.cli.bench import Shapes, common_signature, find_artifacts, labels, read_all, synthetic_cases
from edgepress.targets.errors import BenchmarkError, EdgepressError
from edgepress.targets.process.scratch import scratch
from edgepress.targets.records import Availability

if TYPE_CHECKING:
    from rich.table import Table

    from edgepress.benchmarks.measure.jobs import Case
    from edgepress.compress.cli.console import Console


@dataclass(frozen=True)
class ScenarioRow:
    """One artifact at one shape: what the scenario found, or why it found nothing. `absent`: its target cannot run
    here, which is no failure of it."""

    name: str
    case: Case
    result: ScenarioResult | None
    failure: str = ""
    absent: bool = False


def bench_scenario(
    path: Path, scenario: str, shapes: Shapes, seconds: float, latency_bound_ms: float | None, console: Console
) -> list[ScenarioRow]:
    """Every artifact at `path` in the scenario at every shape, one after the other; a failed one is a row.

    Raises:
        ArtifactError: nothing to load is there.
        BenchmarkError: an unknown scenario, no shape fits, or "server" has no latency bound.
    """
    name = known(scenario)
    if name == "server" and latency_bound_ms is None:
        raise BenchmarkError("the scenario 'server' needs a latency bound in ms: give --latency-bound")
    folders = find_artifacts(path)
    artifacts = read_all(folders, console)
    names, signature = labels(folders), common_signature(artifacts.values())
    found = []
    with scratch("bench-") as temporary:
        cases = synthetic_cases(signature, shapes, temporary, console)
        with console.task(f"Scenario {name}", total=len(folders) * len(cases)) as advance:
            for key, folder in folders.items():
                here = targets.of(artifacts[key]).probe()
                for case in cases:
                    load = ScenarioJob(
                        scenario=name, folder=str(folder), feeds=case.feeds, shape=case.shape, seconds=seconds,
                        latency_bound_ms=latency_bound_ms,
                    )  # fmt: skip
                    found.append(_scenario_row(names[key], case, load, here))
                    advance(1, note=names[key])
    return found


def known(scenario: str) -> ScenarioName:
    for name in SCENARIOS:
        if name == scenario:
            return name
    raise BenchmarkError(f"unknown scenario {scenario!r}; there are {', '.join(SCENARIOS)}")


def _scenario_row(name: str, case: Case, load: ScenarioJob, here: Availability) -> ScenarioRow:
    if here.state != "available":
        return ScenarioRow(name, case, None, here.reason, absent=True)
    try:
        return ScenarioRow(name, case, run_scenario(load))
    except EdgepressError as fault:
        return ScenarioRow(name, case, None, str(fault))


def scenario_table(scenario: str, rows: Sequence[ScenarioRow]) -> Table:
    """A line for each artifact and shape."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=f"Scenario {scenario}")
    for column in ("artifact", "batch", "sequence", "threads", "figure", "samples", "remark"):
        table.add_column(column, justify="left" if column in ("artifact", "remark") else "right")
    for row in rows:
        shape = row.case.shape
        cells = (Text(row.name), str(shape.batch), str(shape.sequence or "–"), str(shape.threads))
        if row.result is None:
            table.add_row(*cells, "–", "–", Text(row.failure if row.absent else f"failed: {row.failure}"))
        else:
            figure = f"{row.result.value:.4g} {row.result.unit}"
            table.add_row(*cells, figure, str(row.result.samples), row.result.meaning)
    return table
