"""Runs the stages of a recipe in order: skips what is done, checks each stage's contract, resumes what was cut off.

torch and the backends are loaded only when there is work to do, so that a finished run answers at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgepress.compress.data.handed import Splits, hand_over_rows
from edgepress.compress.licences.records import PROVENANCE
from edgepress.compress.pipeline.disk import disk_faults
from edgepress.compress.pipeline.keys import StageKey
from edgepress.compress.pipeline.plan import Planned, cut, plan
from edgepress.compress.pipeline.sources import allow_code_of
from edgepress.compress.pipeline.stages.benchmark import BENCHMARK
from edgepress.compress.pipeline.store import RunFolder
from edgepress.compress.recipe.kept import holds_recipe, keep_recipe
from edgepress.compress.recipe.paths import PYTHON
from edgepress.compress.recipe.recipe import Recipe
from edgepress.compress.training import processes as distributed
from edgepress.targets.errors import RecipeError, StoreError
from edgepress.targets.files import remove
from edgepress.targets.progress import Progress, WarningsOnly

if TYPE_CHECKING:
    from torch import nn

    from edgepress.benchmarks.records.report import Report


@dataclass(frozen=True)
class Result:
    """Where a run lies and what it found.

    Args:
        folder: of the run.
        stages: in order, the last one that was asked for at the end.
        fresh: the names of those that were run now; the others were done before.
        report: None when the run was stopped before the benchmark.
    """

    folder: Path
    stages: tuple[StageKey, ...]
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
    console: Progress | None = None,
    teacher: nn.Module | None = None,
    student: nn.Module | None = None,
    data: Splits | None = None,
    allow_code: bool = False,
) -> Result:
    """Run `recipe` up to and including the stage `until` (all stages by default) in `runs/<name>/`.

    Where `torchrun` started several processes, each of them calls this: the first one does the work, the others take
    part in its trainings.

    Args:
        recipe: what to run.
        until: the last stage to run, by its name.
        runs: the folder that holds the runs.
        console: hears of progress and warnings; by default warnings alone are printed.
        teacher: your own module, where the recipe says `teacher: {code: python}`.
        student: likewise; the recipe says `student: {code: python}`.
        data: your own rows, where the recipe says `data: {train: python}`.
        allow_code: run the Python files that the recipe names as code.

    Raises:
        EdgepressError: what was wrong, what was got, what to do.
    """
    progress = console if console is not None else WarningsOnly()
    distributed.prepare()
    recipe = _with_rows(recipe, data)
    _take(recipe, {"teacher": teacher, "student": student}, allow_code)
    planned = plan(recipe)
    stages = cut(planned, until)
    folder = RunFolder(recipe.name, Path(runs), progress.warn)
    if not distributed.is_main():
        from edgepress.compress.pipeline.follower import follow

        follow(recipe, progress)
        return _result(folder, _keys(stages), ())
    with distributed.leading():
        return _lead(recipe, folder, planned, stages, progress)


def _with_rows(recipe: Recipe, data: Splits | None) -> Recipe:
    """The recipe with the references of rows that a script hands over."""
    if data is None:
        return recipe
    if recipe.data.train.partition(":")[0] != PYTHON or not isinstance(recipe.data.columns.label, str):
        raise RecipeError(
            "data= hands rows over, and the recipe names others. Write data: {train: python}, and one column as label."
        )
    references = hand_over_rows(data, recipe.data.columns.label)
    return recipe.model_copy(update={"data": recipe.data.model_copy(update=references)})


def _take(recipe: Recipe, modules: Mapping[str, nn.Module | None], allow_code: bool) -> None:
    """Whatever of the user's own may be run in this process."""
    for role, module in modules.items():
        if module is not None:
            if getattr(recipe, role).code != PYTHON:
                raise RecipeError(
                    f"{role}= hands a module over, and the recipe names another. Write {role}: {{code: python}}."
                )
            from edgepress.compress.model.code import hand_over

            hand_over(module, role)
    if allow_code:
        allow_code_of(recipe)


def _keys(stages: Sequence[Planned]) -> tuple[StageKey, ...]:
    return tuple(stage.key for stage in stages)


def _lead(
    recipe: Recipe, folder: RunFolder, planned: tuple[Planned, ...], stages: tuple[Planned, ...], progress: Progress
) -> Result:
    """Run `stages`, the first ones of those that are `planned`."""
    keys = _keys(stages)
    if _stands(recipe, folder, keys):
        return _result(folder, keys, ())
    with folder.locked():
        clear_leftovers(folder.root)
        # Another process may have finished stages since this one looked.
        todo = stages[len(finished(folder, keys)) :]
        if todo or _ends_in_report(keys):
            # Else nothing is made here, and what follows in the folder may be of another recipe.
            with disk_faults(folder.root):
                keep_recipe(recipe, folder.root)
            (folder.announce if todo else folder.set_chain)(_keys(planned))
        if todo:
            from edgepress.compress.pipeline.execute import execute

            if text := old_layout_text(folder):
                progress.warn(text)
            execute(recipe, folder, stages, todo, progress)
        if _ends_in_report(keys):
            from edgepress.compress.licences.inputs import keep_provenance
            from edgepress.compress.pipeline.publish import publish

            with disk_faults(folder.root):
                keep_provenance(recipe, folder.root)
            publish(folder.root, [folder.folder(key) for key in keys])
    return _result(folder, keys, tuple(stage.name for stage in todo))


def _stands(recipe: Recipe, folder: RunFolder, keys: tuple[StageKey, ...]) -> bool:
    """Whether there is nothing to do: all is finished and, of a whole run, published under this very recipe."""
    done = finished(folder, keys)
    if len(done) < len(keys):
        return False
    return not _ends_in_report(keys) or (folder.chain() == keys and _complete(folder.root, done[-1], recipe))


def old_layout_text(folder: RunFolder) -> str:
    """One line about stages as edgepress wrote them before it stored them by digest; empty where there are none."""
    old = folder.old_stages()
    if not old:
        return ""
    return (
        f"{folder.root} holds {len(old)} stages of an older edgepress ({old[0].name} …), which cannot be read any "
        f"more: they are made again. `edgepress gc {folder.root.parent}` removes the old ones."
    )


def finished(folder: RunFolder, keys: Sequence[StageKey]) -> tuple[Path, ...]:
    """Folders of the leading stages that are done; a stage behind one that is not done counts as not done."""
    found = []
    for key in keys:
        path = folder.finished(key)
        if path is None:
            break
        found.append(path)
    return tuple(found)


def _result(folder: RunFolder, keys: tuple[StageKey, ...], fresh: tuple[str, ...]) -> Result:
    if not _ends_in_report(keys):
        return Result(folder.root, keys, fresh)
    from edgepress.benchmarks.records.files import read_report

    return Result(folder.root, keys, fresh, read_report(folder.folder(keys[-1])))


def _ends_in_report(keys: Sequence[StageKey]) -> bool:
    return keys[-1].name == BENCHMARK


def _complete(root: Path, benchmark: Path, recipe: Recipe) -> bool:
    """Whether a finished run holds this recipe, and its report and release are whole and of this benchmark.

    All three can be written again from what the run holds.
    """
    from edgepress.benchmarks.records.files import FILE_NAMES
    from edgepress.compress.pipeline.publish import is_whole

    report = root / "report"
    published = all((report / name).is_file() for name in FILE_NAMES) and is_whole(root / "release", benchmark)
    return published and holds_recipe(recipe, root) and (root / PROVENANCE).is_file()


def clear_leftovers(root: Path) -> None:
    """Half-made exports and releases of a process that was killed. The run is locked by the caller."""
    for pattern in (
        ".publish-*",
        ".report.old-*",
        ".release.old-*",
        "cache/exports/.export-*",
        "cache/*/*.tmp*",
        "cache/teacher/*/*.tmp*",
    ):
        for path in root.glob(pattern):
            remove(path)


def reopen(run_folder: Path, console: Progress | None = None) -> Result:
    """The result of a finished run from its folder alone; report and release are written anew.

    Args:
        run_folder: `runs/<name>`.
        console: hears of warnings.

    Raises:
        StoreError: the run has no finished benchmark.
    """
    from edgepress.compress.pipeline.publish import publish

    progress = console if console is not None else WarningsOnly()
    if not run_folder.is_dir():
        raise StoreError(f"there is no run folder {run_folder}. Give one that `edgepress run` made: runs/<name>.")
    folder = RunFolder.at(run_folder, progress.warn)
    keys = tuple(record.key for record in folder.stages())
    if not keys or not _ends_in_report(keys):
        state = f"its last finished stage is {keys[-1].name}" if keys else "there is no finished stage in it"
        if not keys and folder.old_stages():
            state = "its stages are of an older edgepress, which cannot be read any more"
        raise StoreError(f"{folder.root} has no report yet: {state}. Finish it with `edgepress run`.")
    with folder.locked():
        clear_leftovers(folder.root)
        publish(folder.root, [folder.folder(key) for key in keys])
    return _result(folder, keys, ())
