"""The record of an artifact: what lies in its folder, where it came from, with which versions it was made."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from edgepress.targets.acceptance.reference import Reference
from edgepress.targets.errors import ArtifactError
from edgepress.targets.protocols import Exportable
from edgepress.targets.records import Artifact, Candidate, Comparison, Feeds, FileEntry


def seal(
    target: str,
    model: Exportable,
    candidate: Candidate,
    folder: Path,
    comparison: Comparison,
    reference: Reference,
    companions: Collection[str] = (),
    **own: Any,
) -> Artifact:
    """The record of everything that lies in `folder`, written there too; `own` are the fields that only the target
    knows.

    `companions` are the files that other tools want and the device does not need, by their path in `folder`.
    """
    paths = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    names = [path for path in paths if path != Artifact.FILE_NAME]
    facts: dict[str, Any] = {
        "name": candidate.name,
        "target": target,
        "candidate": candidate,
        "precision": candidate.precision,
        "files": tuple(FileEntry.of(folder, name, shipped=name not in companions) for name in names),
        "signature": model.signature,
        "parameters": sum(parameter.numel() for parameter in model.module.parameters()),
        "int8_mac_share": 0.0,
        "comparison": comparison,
        "calibration_digest": calibration_digest(reference.batches),
    }
    artifact = Artifact(**(facts | own))
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
