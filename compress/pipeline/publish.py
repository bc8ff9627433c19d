"""From a finished benchmark to what users take away: the report, and a release folder with the sha256 of each file."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from edgepress.benchmarks.records.files import read_report, write_report
from edgepress.benchmarks.records.report import WITH_ARTIFACT, Report
from edgepress.compress.pipeline.disk import disk_faults
from edgepress.compress.pipeline.keys import StageRecord
from edgepress.compress.pipeline.store import STAGE_FILE
from edgepress.targets.errors import ArtifactError
from edgepress.targets.files import name_fault, sha256_of, within
from edgepress.targets.records import Artifact, FileEntry, PlainName, Record

SUMS, MANIFEST = "SHA256SUMS", "manifest.json"


class Manifest(Record):
    """`manifest.json` of a release: what it holds and which run made it."""

    format: Literal[1] = 1
    name: str
    recipe_digest: str
    stage_digest: str
    artifacts: dict[PlainName, PlainName]
    files: tuple[FileEntry, ...]


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
        recipe, stage = report.recipe_digest, _digest(benchmark)
        seal(release, Manifest(name=report.name, recipe_digest=recipe, stage_digest=stage, artifacts=chosen, files=()))
        for name in ("report", "release"):
            swap_in(Path(temporary) / name, run / name)


def chosen_of(report: Report) -> dict[str, str]:
    """Target -> name of its chosen candidate."""
    return {row.target: row.name for row in report.candidates if row.chosen and row.status in WITH_ARTIFACT}


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


def _digest(stage: Path) -> str:
    return StageRecord.read(stage / STAGE_FILE).key.digest


def seal(release: Path, manifest: Manifest) -> None:
    """Write `manifest.json` with every file that lies there, and `SHA256SUMS`, which `sha256sum -c` reads.

    `manifest` says whose release it is; its own list of files is replaced.
    """
    paths = sorted(path.relative_to(release).as_posix() for path in release.rglob("*") if path.is_file())
    files = tuple(FileEntry.of(release, path) for path in paths if path not in (MANIFEST, SUMS))
    manifest.model_copy(update={"files": files}).write(release / MANIFEST)
    lines = [f"{entry.sha256}  {entry.path}" for entry in files]
    lines.append(f"{sha256_of(release / MANIFEST)}  {MANIFEST}")
    (release / SUMS).write_text("\n".join(lines) + "\n", encoding="utf-8")


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
