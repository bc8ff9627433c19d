"""Runs the stages of a recipe in order: skips what is done, checks each stage's contract, resumes what was cut off.

torch and the backends are loaded only when there is work to do, so that a finished run answers at once.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from compress.plan import Planned, plan
from compress.recipe import Recipe
from compress.store import RunFolder
from targets.errors import RecipeError

if TYPE_CHECKING:
    from benchmarks.records import Report
    from compress.console import Console


@dataclass(frozen=True)
class Result:
    """Where a run lies and what it found; `report` is None when it was stopped before the benchmark."""

    folder: Path
    stages: tuple[Planned, ...]
    fresh: tuple[str, ...]
    report: Report | None = None

    @property
    def report_folder(self) -> Path:
        return self.folder / "report"

    @property
    def release_folder(self) -> Path:
        return self.folder / "release"

    @property
    def gates_hold(self) -> bool:
        return self.report is None or all(gate.passed for gate in self.report.gates)


def run(
    recipe: Recipe,
    *,
    until: str | None = None,
    runs: str | Path = "runs",
    console: Console | None = None,
) -> Result:
    """Run `recipe` up to and including the stage `until` (all stages by default) in `runs/<name>/`.

    Raises:
        EdgepressError: what was wrong, what was got, what to do.
    """
    from compress.console import Console

    console = console if console is not None else Console("silent")
    stages = cut(plan(recipe), until)
    folder = RunFolder(recipe.name, Path(runs), console.warn)
    done = finished(folder, stages)
    if len(done) == len(stages):
        return _result(folder, stages, ())
    from compress.execution import execute

    with folder.locked():
        # Another process may have finished stages while this one waited for nothing but the lock.
        done = finished(folder, stages)
        execute(recipe, folder, stages, len(done), console)
    return _result(folder, stages, tuple(stage.name for stage in stages[len(done) :]))


def cut(stages: Sequence[Planned], until: str | None) -> tuple[Planned, ...]:
    """The stages up to the last one called `until`.

    Raises:
        RecipeError: there is no such stage.
    """
    if until is None:
        return tuple(stages)
    places = [number for number, stage in enumerate(stages) if until in (stage.name, stage.folder)]
    if not places:
        names = ", ".join(stage.name for stage in stages)
        raise RecipeError(f"--until {until}: this recipe has no such stage; it has {names}")
    return tuple(stages[: places[-1] + 1])


def finished(folder: RunFolder, stages: Sequence[Planned]) -> tuple[Path, ...]:
    """Folders of the leading stages that are done; a stage behind one that is not done counts as not done."""
    found = []
    for stage in stages:
        path = folder.finished(stage.index, stage.name, stage.digest)
        if path is None:
            break
        found.append(path)
    return tuple(found)


def _result(folder: RunFolder, stages: tuple[Planned, ...], fresh: tuple[str, ...]) -> Result:
    if stages[-1].name != "benchmark":
        return Result(folder.root, stages, fresh)
    from benchmarks.report import read_report

    stage = folder.root / stages[-1].folder
    result = Result(folder.root, stages, fresh, read_report(stage))
    if not _published(result, stage):
        from compress.release import publish

        publish(folder.root, stage, [folder.root / each.folder for each in stages])
    return result


def _published(result: Result, stage: Path) -> bool:
    """Whether report and release are those of this benchmark: both are written from it and can be made again."""
    mark = result.release_folder / "manifest.json"
    if not mark.is_file() or not (result.report_folder / "report.html").is_file():
        return False
    try:
        digest = json.loads(mark.read_text(encoding="utf-8"))["stage_digest"]
    except (ValueError, KeyError):
        return False
    return bool(digest == json.loads((stage / "stage.json").read_text(encoding="utf-8"))["digest"])


def reopen(run_folder: Path) -> Result:
    """The result of a finished run from its folder alone; report and release are written anew.

    Raises:
        StoreError: the run has no finished benchmark.
    """
    from benchmarks.report import read_report
    from compress.release import publish
    from targets.errors import StoreError

    folder = RunFolder(run_folder.name, run_folder.parent)
    found = folder.stages() if run_folder.is_dir() else []
    if not found or found[-1].name != "benchmark":
        state = f"its last finished stage is {found[-1].name}" if found else "there is no finished stage in it"
        raise StoreError(f"{run_folder} has no report yet: {state}. Finish it with `edgepress run`.")
    paths = [folder.folder(stage.index, stage.name) for stage in found]
    with folder.locked():
        publish(folder.root, paths[-1], paths)
    return Result(
        folder.root, tuple(Planned(s.index, s.name, None, s.digest) for s in found), (), read_report(paths[-1])
    )
