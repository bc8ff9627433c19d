"""Runs the stages of a recipe in order: skips what is done, checks each stage's contract, resumes what was cut off.

torch and the backends are loaded only when there is work to do, so that a finished run answers at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgepress.compress.pipeline.disk import disk_faults
from edgepress.compress.pipeline.plan import Planned, plan
from edgepress.compress.pipeline.store import RunFolder
from edgepress.compress.recipe.kept import holds_recipe, keep_recipe
from edgepress.compress.recipe.recipe import Recipe
from edgepress.compress.training import processes as distributed
from edgepress.targets.errors import RecipeError
from edgepress.targets.files import remove

if TYPE_CHECKING:
    from edgepress.benchmarks.records.report import Report
    from edgepress.compress.cli.console import Console


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

    Where `torchrun` started several processes, each of them calls this: the first one does the work, the others take
    part in its trainings.

    Raises:
        EdgepressError: what was wrong, what was got, what to do.
    """
    from edgepress.compress.cli.console import Console

    console = console if console is not None else Console("silent")
    distributed.prepare()
    stages = cut(plan(recipe), until)
    folder = RunFolder(recipe.name, Path(runs), console.warn)
    if not distributed.is_main():
        from edgepress.compress.pipeline.follower import follow

        follow(recipe, console)
        return _result(folder, stages, ())
    with distributed.leading():
        return _lead(recipe, folder, stages, console)


def _lead(recipe: Recipe, folder: RunFolder, stages: tuple[Planned, ...], console: Console) -> Result:
    done = finished(folder, stages)
    if len(done) == len(stages) and (not _ends_in_report(stages) or _complete(folder.root, done[-1], recipe)):
        return _result(folder, stages, ())
    with folder.locked():
        clear_leftovers(folder.root)
        # Another process may have finished stages since this one looked.
        done = finished(folder, stages)
        if len(done) < len(stages) or _ends_in_report(stages):
            # Else nothing is made here, and what follows in the folder may be of another recipe.
            with disk_faults(folder.root):
                keep_recipe(recipe, folder.root)
        if len(done) < len(stages):
            from edgepress.compress.pipeline.execute import execute

            execute(recipe, folder, stages, len(done), console)
        if _ends_in_report(stages):
            from edgepress.compress.pipeline.publish import publish

            paths = [folder.root / stage.folder for stage in stages]
            publish(folder.root, paths[-1], paths)
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
    if not _ends_in_report(stages):
        return Result(folder.root, stages, fresh)
    from edgepress.benchmarks.records.files import read_report

    return Result(folder.root, stages, fresh, read_report(folder.root / stages[-1].folder))


def _ends_in_report(stages: Sequence[Planned]) -> bool:
    return stages[-1].name == "benchmark"


def _complete(root: Path, benchmark: Path, recipe: Recipe) -> bool:
    """Whether a finished run holds this recipe, and its report and release are whole and of this benchmark.

    All three can be written again from what the run holds.
    """
    from edgepress.benchmarks.records.files import FILE_NAMES
    from edgepress.compress.pipeline.publish import is_whole

    report = root / "report"
    published = all((report / name).is_file() for name in FILE_NAMES) and is_whole(root / "release", benchmark)
    return published and holds_recipe(recipe, root)


def clear_leftovers(root: Path) -> None:
    """Half-made exports and releases of a process that was killed. The run is locked by the caller."""
    for pattern in (".publish-*", ".report.old-*", ".release.old-*", "cache/exports/.export-*", "cache/*/*.tmp*"):
        for path in root.glob(pattern):
            remove(path)


def reopen(run_folder: Path, console: Console | None = None) -> Result:
    """The result of a finished run from its folder alone; report and release are written anew.

    Raises:
        StoreError: the run has no finished benchmark.
    """
    from edgepress.benchmarks.records.files import read_report
    from edgepress.compress.cli.console import Console
    from edgepress.compress.pipeline.publish import publish
    from edgepress.targets.errors import StoreError

    console = console if console is not None else Console("silent")
    if not run_folder.is_dir():
        raise StoreError(f"there is no run folder {run_folder}. Give one that `edgepress run` made: runs/<name>.")
    run_folder = run_folder if run_folder.name else run_folder.resolve()
    folder = RunFolder(run_folder.name, run_folder.parent, console.warn)
    found = folder.stages()
    if not found or found[-1].name != "benchmark":
        state = f"its last finished stage is {found[-1].name}" if found else "there is no finished stage in it"
        raise StoreError(f"{run_folder} has no report yet: {state}. Finish it with `edgepress run`.")
    paths = [folder.folder(stage.index, stage.name) for stage in found]
    with folder.locked():
        clear_leftovers(folder.root)
        publish(folder.root, paths[-1], paths)
    return Result(
        folder.root, tuple(Planned(s.index, s.name, None, s.digest) for s in found), (), read_report(paths[-1])
    )
