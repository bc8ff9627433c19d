"""A release made ready for devices: the runner that measures it, and a sample of test rows for its accuracy.

The sample is for reporting only: no choice rests on test rows, here or on a device.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import benchmarks
from compress.disk import disk_faults
from compress.pipeline import reopen
from compress.plan import plan
from compress.release import SUMS, Manifest, check_release, swap_in
from compress.store import STAGE_FILE, RunFolder, StageRecord
from targets.base import Artifact, FileEntry, TensorSpec, sha256_of
from targets.errors import RecipeError

if TYPE_CHECKING:
    from compress.console import Console
    from compress.recipe import Recipe
    from compress.tasks.base import Features

RUNNER = Path(benchmarks.__file__).parent / "runner"
SAMPLE, MANIFEST = "sample.npz", "manifest.json"


def package_release(run: Path, recipe: Recipe | None, samples: int, console: Console | None = None) -> tuple[Path, int]:
    """Write the release of a finished run anew, with the runner and `samples` rows of the test split.

    `recipe` is the run's own; None where `samples` is 0.

    Returns:
        The release folder, and how many rows travel with it: no more than the test split has.

    Raises:
        StoreError: the run is not finished, or another process holds it.
        RecipeError: there is no recipe to read rows by, or it is another than the run's.
    """
    from compress.console import Console

    console = console if console is not None else Console("silent")
    if samples and recipe is None:
        raise RecipeError(
            "the sample's rows are read as the run's recipe says: give it with --recipe, or package without rows: "
            "--samples 0"
        )
    if recipe is not None and samples:
        _check_recipe(recipe, run)  # before the release is written anew
    result = reopen(run, console)
    manifest = check_release(result.release_folder)
    root = result.folder
    rows = 0
    with (
        RunFolder(root.name, root.parent, console.warn).locked(),
        disk_faults(root),
        tempfile.TemporaryDirectory(dir=root, prefix=".publish-") as temporary,
    ):
        folder = Path(temporary) / "release"
        shutil.copytree(result.release_folder, folder)
        if recipe is not None and samples:
            rows = _write_sample(recipe, root / result.stages[0].folder, samples, folder, console)
        for path in sorted(RUNNER.glob("run_*.py")):
            shutil.copyfile(path, folder / path.name)
        _reseal(folder, manifest)
        swap_in(folder, result.release_folder)
    return result.release_folder, rows


def _check_recipe(recipe: Recipe, run: Path) -> None:
    """The digest of the last stage covers the recipe, its data and its teacher. An unfinished run is told later."""
    stage = RunFolder(run.resolve().name, run.resolve().parent).latest_stage()
    if stage is None or not stage.name.endswith("-benchmark"):
        return
    if plan(recipe)[-1].digest != StageRecord.read(stage / STAGE_FILE).digest:
        raise RecipeError(
            f"the recipe {recipe.name!r} is not the one that {run} was made with, or its data or teacher have changed "
            f"since. Give the run's own recipe, with the same --set, or run it again."
        )


def _write_sample(recipe: Recipe, teacher: Path, samples: int, folder: Path, console: Console) -> int:
    """`sample.npz` of rows spread evenly over the test split; returns how many."""
    from compress.inference import logits_of
    from compress.workspace import Workspace

    workspace = Workspace(recipe, console, teacher)
    rows = workspace.splits.test()
    count = min(samples, len(rows))
    chosen = np.arange(count) * len(rows) // count
    features = workspace.task.features(rows.take(chosen), workspace.processor, recipe.data)
    with console.task("Teacher on the sample", total=count) as advance:
        logits = logits_of(workspace.teacher, features, advance)
    records = [Artifact.read(path) for path in sorted(folder.glob("*/artifact.json"))]
    specs = {spec.name: spec for record in records for spec in record.signature.inputs}
    arrays = sample_arrays(features, tuple(specs.values()))
    # The zip's own dates are fixed by NumPy: packaging twice gives the same bytes.
    np.savez_compressed(folder / SAMPLE, **arrays, labels=features.labels, teacher=logits)  # type: ignore[arg-type]
    return count


def sample_arrays(features: Features, specs: Sequence[TensorSpec]) -> dict[str, np.ndarray]:
    """Each row as long as it is: `input:<name>` holds sequences one behind the other, `widths` `[rows]` their lengths.

    Inputs without a sequence are `[rows, ...]`; where there are no sequences at all, all widths are 0.
    """
    rows = [features.batch([row]) for row in range(len(features))]
    arrays, widths = {}, np.zeros(len(rows), np.int64)
    for spec in specs:
        values = [row[spec.name][0] for row in rows]
        if "sequence" in spec.shape:
            widths = np.array([len(value) for value in values], np.int64)
            arrays[f"input:{spec.name}"] = np.concatenate(values)
        else:
            arrays[f"input:{spec.name}"] = np.stack(values)
    return arrays | {"widths": widths}


def _reseal(release: Path, manifest: Manifest) -> None:
    """`manifest.json` and `SHA256SUMS` with the files that were added, in the order that a release has."""
    sealed = {MANIFEST, SUMS}
    paths = sorted(path.relative_to(release).as_posix() for path in release.rglob("*") if path.is_file())
    files = tuple(FileEntry.of(release, path) for path in paths if path not in sealed)
    manifest.model_copy(update={"files": files}).write(release / MANIFEST)
    lines = [f"{entry.sha256}  {entry.path}" for entry in files]
    lines.append(f"{sha256_of(release / MANIFEST)}  {MANIFEST}")
    (release / SUMS).write_text("\n".join(lines) + "\n", encoding="utf-8")
