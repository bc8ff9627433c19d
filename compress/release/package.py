"""A release made ready for devices: the runner that measures it, and a sample of test rows for its accuracy.

The sample is for reporting only: no choice rests on test rows, here or on a device.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgepress.benchmarks.metrics.base import IGNORED
from edgepress.benchmarks.report.wording import missed_gates
from edgepress.compress.bundle.bom import write_bom
from edgepress.compress.bundle.manifest import Manifest, seal_release
from edgepress.compress.bundle.part import archive_release, check_archive_name, copy_files
from edgepress.compress.bundle.readme import write_readme
from edgepress.compress.data.splits import stratified
from edgepress.compress.layouts import check_layouts, write_layouts
from edgepress.compress.licences.gate import check_licences
from edgepress.compress.licences.inputs import kept_provenance, provenance_of
from edgepress.compress.licences.notices import write_notices
from edgepress.compress.pipeline.disk import disk_faults
from edgepress.compress.pipeline.keys import StageKey
from edgepress.compress.pipeline.plan import plan
from edgepress.compress.pipeline.publish import check_release, swap_in, with_inputs
from edgepress.compress.pipeline.run import reopen
from edgepress.compress.pipeline.sources import allow_code_of
from edgepress.compress.pipeline.stages.benchmark import BENCHMARK
from edgepress.compress.pipeline.store import RunFolder
from edgepress.compress.recipe.kept import kept_recipe
from edgepress.compress.tasks import load_task
from edgepress.targets import device
from edgepress.targets.errors import DataError, GateError, ModelError, RecipeError
from edgepress.targets.progress import Progress, WarningsOnly
from edgepress.targets.records import Artifact, TensorSpec

if TYPE_CHECKING:
    from edgepress.compress.bundle.signature import Signer
    from edgepress.compress.licences.records import Text
    from edgepress.compress.pipeline.run import Result
    from edgepress.compress.recipe.recipe import Recipe
    from edgepress.compress.tasks.base import Features, Task

SAMPLE = "sample.npz"
MAPS, MOST_LABELS = 3, 200_000
"""Axes of labels that are masks, and how many pixels of all of them together a device compares."""
# Data may lie elsewhere as long as they are the same; the teacher's path is part of what a run is.
MOVED = "Give the recipe with the data's new paths with --recipe, or package without rows: --samples 0"


@dataclass(frozen=True)
class Packing:
    """How a release is packed.

    Args:
        allow_failed_gates: although a gate was missed, which its manifest then says.
        key: signs it; None: it is not signed.
        archive: a file that gets the release as well; None: the folder alone.
        target: the only one that goes into the archive; None: all.
        allow_code: the teacher may be of the user's own code, which is then run.
        layouts: in which the release holds artifacts once more, as other tools expect them.
    """

    allow_failed_gates: bool = False
    key: Signer | None = None
    archive: Path | None = None
    target: str | None = None
    allow_code: bool = False
    layouts: tuple[str, ...] = ()


def package_release(
    run: Path, recipe: Recipe | None, samples: int, console: Progress | None = None, packing: Packing = Packing()
) -> tuple[Path, int]:
    """Write the release of a finished run anew, with the runner and `samples` rows of the test split.

    Args:
        run: its folder.
        recipe: says where the rows are read; None: the one that the run holds.
        samples: how many rows at most.
        console: is told what is done.
        packing: gates, signature, archive.

    Returns:
        The release folder, and how many rows travel with it: no more than the test split has.

    Raises:
        LicenceError: the licence of an input restricts or is not known, and the recipe does not accept that.
        GateError: the run missed a gate, and that is not allowed.
        StoreError: the run is not finished, or another process holds it.
        RecipeError: there is no recipe to read rows by, it is another than the run's, or its data or teacher are gone.
    """
    console = console if console is not None else WarningsOnly()
    if packing.archive is not None:
        check_archive_name(packing.archive, run / "release")
    said = recipe
    recipe, base = _recipe_of(run, recipe) if samples else (None, Path())
    if recipe is not None:
        check_recipe(recipe, base, run)  # before the release is written anew
    said = recipe if recipe is not None else said
    if recipe is not None and not _compared(load_task(recipe.task)):
        console.warn(
            f"no rows travel with the release: a device compares classes or vectors, and {recipe.task} has none. It "
            f"measures latency alone."
        )
        recipe = None
    result = reopen(run, console)
    manifest = judged(check_release(result.release_folder), result, packing.allow_failed_gates)
    check_layouts(packing.layouts, manifest.artifacts)
    manifest, texts = licensed(manifest, result.folder, said, base if samples and said is not None else None)
    root = result.folder
    rows = 0
    with (
        RunFolder.at(root, console.warn).locked(),
        disk_faults(root),
        tempfile.TemporaryDirectory(dir=root, prefix=".publish-") as temporary,
    ):
        folder = Path(temporary) / "release"
        copy_files(result.release_folder, [entry.path for entry in manifest.files], folder)
        if recipe is not None:
            teacher, place = (root / result.stages[0].folder).resolve(), folder.resolve()
            with contextlib.chdir(base):
                if packing.allow_code:
                    allow_code_of(recipe)
                rows = _write_sample(recipe, teacher, samples, place, console)
        add_runner(folder)
        _close(folder, manifest, texts, packing)
        swap_in(folder, result.release_folder)
    return result.release_folder, rows


def _close(folder: Path, manifest: Manifest, texts: Sequence[Text], packing: Packing) -> None:
    """The papers of the release in `folder`, then its seal, its signature and its archive."""
    write_layouts(folder, manifest.name, packing.layouts)
    write_notices(folder, manifest, texts)
    write_readme(folder, manifest)
    write_bom(folder, manifest)
    sealed = seal_release(folder, manifest)
    if packing.key is not None:
        packing.key.sign(folder, manifest.name)
    if packing.archive is not None:
        archive_release(folder, sealed, packing.archive, packing.target, packing.key)


def licensed(
    manifest: Manifest, run: Path, recipe: Recipe | None, base: Path | None
) -> tuple[Manifest, tuple[Text, ...]]:
    """The manifest with the run's inputs and their licences, and the texts of those.

    Args:
        manifest: that of the release.
        run: the run folder, which has a record of the inputs.
        recipe: says which licences are accepted; None: the manifest has what the run's own recipe says.
        base: where the recipe's paths begin, so that cards are read as they are now; None: the run's record counts.

    Raises:
        LicenceError: one restricts or is not known, and is not accepted.
    """
    found = kept_provenance(run)
    if recipe is not None and base is not None:
        with contextlib.chdir(base):
            found = provenance_of(recipe)
    manifest = with_inputs(manifest, found, recipe)
    check_licences(manifest.inputs)
    return manifest, found.texts if found is not None else ()


def _compared(task: Task) -> bool:
    """Whether a device can compare answers: classes with labels, or, where there need be none, vectors with those of
    the teacher."""
    return task.outputs.sampled or task.unlabelled


def judged(manifest: Manifest, result: Result, allow_failed_gates: bool) -> Manifest:
    """The manifest with the verdicts of the run's report. Raises GateError where one of them is bad."""
    gates = result.report.gates if result.report is not None else ()
    missed = not all(gate.passed for gate in gates)
    if missed and not allow_failed_gates:
        raise GateError(
            f"{missed_gates(gates)}. Nothing was packaged; --allow-failed-gates packages it, and the manifest says so"
        )
    return manifest.model_copy(update={"gates": gates, "failed_gates_allowed": missed})


def add_runner(folder: Path) -> None:
    """Copy what measures on a device into the release at `folder`: a launcher, and the package that it loads.

    The files are those that measure here; in the release they are called `edgepress_device`.
    """
    here, there = Path(device.__file__).parent.parent, folder / device.PACKAGE
    for path in device.TRAVELLING:
        (there / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(here / path, there / path)
    (there / "__init__.py").write_text(
        f'"""What measures the release that it lies in; {device.LAUNCHER} starts it."""\n'
    )
    shutil.copyfile(here / "device" / "launcher.py", folder / device.LAUNCHER)


def _recipe_of(run: Path, given: Recipe | None) -> tuple[Recipe | None, Path]:
    """The recipe to read rows by, and the folder in which its relative paths begin; None where the run has none."""
    if given is not None:
        return given, Path.cwd()
    if _benchmark_of(run) is None:  # told by `reopen`, in its own words
        return None, Path.cwd()
    kept = kept_recipe(run)
    if kept is None:
        raise RecipeError(
            f"{run} does not hold its recipe: an older edgepress made it. Give it with --recipe, or start the run "
            f"again, which keeps it from now on, or package without rows: --samples 0"
        )
    if kept.recipe.teacher.trust_remote_code:
        raise RecipeError(
            f"the recipe in {run} trusts code of its teacher, and the run may be anybody's. Give the recipe yourself "
            f"with --recipe, or package without rows: --samples 0"
        )
    return kept.recipe, kept.base(run)


def _benchmark_of(run: Path) -> StageKey | None:
    """The last stage of a finished run."""
    stages = RunFolder.at(run.resolve()).stages()
    return stages[-1].key if stages and stages[-1].key.name == BENCHMARK else None


def check_recipe(recipe: Recipe, base: Path, run: Path) -> None:
    """Whether a finished run was made with this recipe: the digest of its last stage covers recipe, data and teacher.

    Raises:
        RecipeError: it was made with another one, or data or teacher are gone or changed.
    """
    stage = _benchmark_of(run)
    if stage is None:
        return
    if not base.is_dir():
        raise RecipeError(f"{run} was made in {base}, which is gone. {MOVED}")
    try:
        with contextlib.chdir(base):
            found = plan(recipe)[-1].key
    except (DataError, ModelError) as fault:
        raise RecipeError(f"the rows of {run} cannot be read again: {str(fault).rstrip('.')}. {MOVED}") from None
    if found != stage:
        raise RecipeError(
            f"the recipe {recipe.name!r} is not the one that {run} was made with, or its data or teacher have changed "
            f"since. Give the run's own recipe with --recipe, with the same --set, or run it again."
        )


def _write_sample(recipe: Recipe, teacher: Path, samples: int, folder: Path, console: Progress) -> int:
    """`sample.npz` of the test split's rows, each class with its share, the same at every call; returns how many."""
    from edgepress.compress.model.model import Model
    from edgepress.compress.tasks.inference import logits_of
    from edgepress.compress.tasks.workspace import Workspace

    workspace = Workspace(recipe, console, tells_notes=False)
    rows = workspace.splits.test()
    count = min(samples, len(rows))
    # Not every n-th row: files whose classes alternate would give one class alone.
    strata = workspace.splits.truth.strata(rows.labels)
    chosen = np.sort(stratified(strata, count, np.random.default_rng(recipe.seed)))
    features = workspace.task.features(rows.take(chosen), workspace.processor, recipe.data)
    with console.task("Teacher on the sample", total=len(features.labels)) as advance:
        logits = logits_of(Model.load(teacher), features, advance)
    records = [Artifact.read(path) for path in sorted(folder.glob("*/artifact.json"))]
    specs = {spec.name: spec for record in records for spec in record.signature.inputs}
    arrays = sample_arrays(features, tuple(specs.values()))
    # The zip's own dates are fixed by NumPy: packaging twice gives the same bytes.
    labels = few_pixels(features.labels) if features.labels.ndim == MAPS else features.labels
    np.savez_compressed(folder / SAMPLE, **arrays, labels=labels, teacher=logits)  # type: ignore[arg-type]
    return len(features.labels)


def few_pixels(masks: np.ndarray) -> np.ndarray:
    """The masks with 200,000 labels at most, spread evenly over the judged pixels of each: a device's record lists
    every answer that is compared.

    Args:
        masks: int `[rows, height, width]`; -100 is not judged.
    """
    found = np.full_like(masks, IGNORED)
    most = max(1, MOST_LABELS // len(masks))
    for row, mask in enumerate(masks.reshape(len(masks), -1)):
        there = np.flatnonzero(mask != IGNORED)
        kept = there[np.linspace(0, len(there) - 1, min(most, len(there))).astype(np.int64)]
        found[row].ravel()[kept] = mask[kept]
    return found


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
