"""The release that the runner lies in: which artifact is measured, and whether each file is the released one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..bundle.sums import MANIFEST, check_sums
from ..errors import ArtifactError, BenchmarkError, told
from ..files import path_fault
from . import LAUNCHER, PACKAGE, TRAVELLING
from .needs import ArtifactFacts

SAMPLE, ARTIFACT = "sample.npz", "artifact.json"
FILES = (LAUNCHER, f"{PACKAGE}/__init__.py", *(f"{PACKAGE}/{path}" for path in TRAVELLING))
FORMAT = 1
# What the runner reads in artifact.json.
KEYS = ("name", "precision", "files", "programs", "settings", "candidate", "options")
RELEASE = Path(__file__).resolve().parents[2]


def read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtifactError(
            f"{path} is missing. Keep run_benchmark.py in its release folder, with all files."
        ) from None
    except ValueError as fault:
        raise ArtifactError(f"{path} is damaged ({told(fault)}). Copy the release again.") from None


def read_manifest() -> dict[str, Any]:
    """The manifest, with `known`: path -> sha256 of every released file.

    Every file is compared with SHA256SUMS before any of them is opened.
    """
    there = check_sums(RELEASE)
    manifest = read_json(RELEASE / MANIFEST)
    try:
        if manifest["format"] != FORMAT:
            found = f"{RELEASE / MANIFEST} has format {manifest['format']}, this runner reads {FORMAT}"
            raise ArtifactError(f"{found}. Package the release again.")
        known = {entry["path"]: entry["sha256"] for entry in manifest["files"]}
        if known != {path: digest for path, digest in there.items() if path != MANIFEST}:
            raise ArtifactError(f"{RELEASE / MANIFEST} and SHA256SUMS name other files. Copy the release again.")
        return {"known": known, **{key: manifest[key] for key in ("name", "recipe_digest", "artifacts")}}
    except (KeyError, TypeError) as fault:
        raise ArtifactError(f"{RELEASE / MANIFEST} is damaged: {told(fault)}. Copy the release again.") from None


def choose_target(there: list[str], wanted: str | None, opened: tuple[str, ...]) -> str:
    """The target to measure: the one that was asked for, or the only one there is."""
    if wanted is None and len(there) != 1:
        raise BenchmarkError(f"this release has {len(there)} targets: {', '.join(there)}. Choose one with --target.")
    target = there[0] if wanted is None else wanted
    if target not in there:
        raise BenchmarkError(f"unknown target {target!r}; this release has {', '.join(there)}.")
    if target not in opened:
        raise BenchmarkError(f"target {target!r} is not made for devices; this runner opens {', '.join(opened)}.")
    return target


def checked(known: dict[str, str], target: str) -> tuple[ArtifactFacts, dict[str, str]]:
    """The artifact's record and the sha256 of each of its files, which were compared with the released ones."""
    if LAUNCHER not in known:
        raise ArtifactError("this release was not packaged. Run `edgepress package`, and copy the folder again.")
    for path in FILES:
        released(path, known)
    found = {f"{target}/{ARTIFACT}": released(f"{target}/{ARTIFACT}", known)}
    artifact = read_json(RELEASE / target / ARTIFACT)
    for key in KEYS:
        if key not in artifact:
            raise ArtifactError(
                f"{RELEASE / target / ARTIFACT} is of another version (no {key!r}). Package the release again."
            )
    shipped = [f"{target}/{entry['path']}" for entry in artifact["files"] if entry["shipped"]]
    found.update({path: released(path, known) for path in shipped})
    return artifact, found


def released(path: str, known: dict[str, str]) -> str:
    """The sha256 of a file. Raises ArtifactError where the release does not have it."""
    if path_fault(path):
        raise ArtifactError(f"the release names {path[:80]!r}, which leads out of it. It was refused.")
    if path not in known:
        raise ArtifactError(f"{RELEASE / path} is no file of this release. Package the release again.")
    return known[path]
