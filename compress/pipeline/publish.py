"""From a finished benchmark to what users take away: the report, and a release folder with the sha256 of each file."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from edgepress.benchmarks.records.files import read_report, write_report
from edgepress.benchmarks.records.report import Report
from edgepress.compress.bundle.manifest import Manifest, chosen_of, seal_release
from edgepress.compress.licences.gate import judge
from edgepress.compress.licences.inputs import kept_provenance
from edgepress.compress.licences.records import Provenance
from edgepress.compress.pipeline.disk import disk_faults
from edgepress.compress.pipeline.keys import StageRecord
from edgepress.compress.pipeline.store import STAGE_FILE
from edgepress.compress.recipe.kept import kept_recipe
from edgepress.compress.recipe.recipe import Recipe
from edgepress.targets.bundle.sums import MANIFEST, SUMS
from edgepress.targets.errors import ArtifactError
from edgepress.targets.files import name_fault, sha256_of, within
from edgepress.targets.records import Artifact


def publish(run: Path, stages: Sequence[Path]) -> None:
    """Write `report/` and `release/` of a run, each beside its place and then swapped in.

    Args:
        run: its folder.
        stages: the folders of its stages, in order: that of the artifacts and that of the benchmark at the end.
    """
    *_, export, benchmark = stages
    report = read_report(benchmark)
    with disk_faults(run), tempfile.TemporaryDirectory(dir=run, prefix=".publish-") as temporary:
        write_report(report, Path(temporary) / "report")
        release = Path(temporary) / "release"
        chosen = _copy_chosen(chosen_of(report), export, release)
        write_report(report, release)
        manifest = manifest_of(report, _digest(benchmark), chosen)
        seal_release(release, with_inputs(manifest, kept_provenance(run), _kept(run)))
        for name in ("report", "release"):
            swap_in(Path(temporary) / name, run / name)


def _copy_chosen(chosen: dict[str, str], export: Path, release: Path) -> dict[str, str]:
    """The chosen artifact of each target under `release/<target>/`."""
    for target, name in chosen.items():
        for part in (target, name):  # of a report that may be anybody's
            if fault := name_fault(part):
                raise ArtifactError(
                    f"the report of {export.parent} names {part[:80]!r}, which {fault}. It was refused."
                )
        source = within(export, f"artifacts/{target}/{name}")
        artifact = Artifact.read(source / Artifact.FILE_NAME)
        artifact.check_files(source)
        place = release / target
        for path in (*(entry.path for entry in artifact.files), Artifact.FILE_NAME):
            (place / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / path, place / path)
    return chosen


def manifest_of(report: Report, stage_digest: str, chosen: dict[str, str]) -> Manifest:
    """Whose release it is, and which gates it passed or missed; its files are not listed yet."""
    return Manifest(
        name=report.name,
        recipe_digest=report.recipe_digest,
        stage_digest=stage_digest,
        artifacts=chosen,
        gates=report.gates,
        files=(),
    )


def with_inputs(manifest: Manifest, found: Provenance | None, recipe: Recipe | None) -> Manifest:
    """The manifest with the inputs of its run, their licences judged by what `recipe` says.

    Nothing is added where an older edgepress recorded nothing.
    """
    if found is None or recipe is None:
        return manifest
    inputs = judge(found, recipe.licences, recipe.accept_licence)
    return manifest.model_copy(update={"inputs": inputs, "licence": recipe.licences.release or ""})


def _kept(run: Path) -> Recipe | None:
    kept = kept_recipe(run)
    return kept.recipe if kept is not None else None


def _digest(stage: Path) -> str:
    return StageRecord.read(stage / STAGE_FILE).key.digest


def check_release(folder: Path) -> Manifest:
    """Every file of a release against its manifest.

    Raises:
        ArtifactError: a file is missing or changed.
    """
    manifest = Manifest.read(folder / MANIFEST)
    for entry in manifest.files:
        path = within(folder, entry.path)
        if not path.is_file():
            raise ArtifactError(f"{path} is missing from the release. Make it again with `edgepress run`.")
        if sha256_of(path) != entry.sha256:
            raise ArtifactError(f"{path} is not the released file: its sha256 differs from the manifest's.")
    return manifest


def is_whole(folder: Path, benchmark: Path) -> bool:
    """Whether a release is of this benchmark stage and has all of its files, by their size alone."""
    try:
        manifest = Manifest.read(folder / MANIFEST)
    except ArtifactError:
        return False
    sizes = {entry.path: entry.bytes for entry in manifest.files}
    there = all((folder / path).is_file() and (folder / path).stat().st_size == size for path, size in sizes.items())
    return there and (folder / SUMS).is_file() and manifest.stage_digest == _digest(benchmark)


def swap_in(new: Path, place: Path) -> None:
    """Replace the folder `place` by `new`; a kill in between leaves the old one or none, never a mixture."""
    old = place.with_name(f".{place.name}.old-{os.getpid()}")
    if place.exists():
        place.rename(old)
    new.rename(place)
    shutil.rmtree(old, ignore_errors=True)
