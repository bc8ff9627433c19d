"""The record of an artifact: what lies in its folder, where it came from, with which versions it was made."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from edgepress.targets.errors import ArtifactError
from edgepress.targets.hooks import Made, Prepared, Source
from edgepress.targets.records import MAIN, Artifact, Candidate, Comparison, Feeds, FileEntry


def sealed(
    made: Made,
    candidate: Candidate,
    folder: Path,
    source: Source[Prepared],
    comparison: Comparison,
    origin: tuple[str, Mapping[str, Any]],
) -> Artifact:
    """The record of everything that lies in `folder`, written there too.

    Args:
        made: what the target says of its files.
        candidate: what was asked for.
        folder: with the files of this artifact and no others.
        source: the model that it was made of, and its calibration batches.
        comparison: of the artifact with that model.
        origin: the target's name, and its options.
    """
    paths = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    names = [path for path in paths if path != Artifact.FILE_NAME]
    artifact = Artifact(
        name=candidate.name,
        target=origin[0],
        options=dict(origin[1]),
        candidate=candidate,
        precision=made.precision,
        files=tuple(FileEntry.of(folder, name, shipped=name not in made.companions) for name in names),
        programs={MAIN: source.model.signature, **made.programs},
        parameters=sum(parameter.numel() for parameter in source.model.module.parameters()),
        int8_mac_share=made.macs.int8_share if made.macs is not None else 0.0,
        comparison=comparison,
        settings=dict(made.settings),
        calibration_digest=calibration_digest(source.calibration),
        versions=dict(made.versions),
        notes=made.notes,
        builds=made.builds,
        conversion_peak_bytes=made.peak_bytes,
    )
    artifact.write(folder / Artifact.FILE_NAME)
    return artifact


def refuse_filled(folder: Path) -> None:
    """Raises ArtifactError for a folder with files: those of an older export must not get into the new artifact."""
    if old := sorted(folder.iterdir()) if folder.is_dir() else []:
        raise ArtifactError(f"{folder} is not empty (it holds {old[0].name}). Export into a new folder.")


def calibration_digest(batches: Sequence[Feeds]) -> str:
    """Hex sha256 over names, dtypes, shapes and values."""
    digest = hashlib.sha256()
    for feeds in batches:
        for name, value in sorted(feeds.items()):
            digest.update(f"{name} {value.dtype} {value.shape} ".encode())
            digest.update(np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()


def versions_of(*packages: str) -> dict[str, str]:
    """Installed versions of the toolchain, by distribution name."""
    return {package: version(package) for package in packages}
