"""The release that the runner lies in: which artifact is measured, and whether each file is the released one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..errors import ArtifactError, BenchmarkError, told
from ..files import sha256_of
from . import LAUNCHER, PACKAGE, TRAVELLING
from .needs import ArtifactFacts

MANIFEST, SAMPLE, ARTIFACT = "manifest.json", "sample.npz", "artifact.json"
FILES = (LAUNCHER, f"{PACKAGE}/__init__.py", *(f"{PACKAGE}/{path}" for path in TRAVELLING))
FORMAT = 1
# What the runner reads in artifact.json.
KEYS = ("name", "precision", "files", "signature", "settings", "candidate", "versions")
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
    """The manifest, with `known`: path -> sha256 of every released file."""
    manifest = read_json(RELEASE / MANIFEST)
    try:
        if manifest["format"] != FORMAT:
            found = f"{RELEASE / MANIFEST} has format {manifest['format']}, this runner reads {FORMAT}"
            raise ArtifactError(f"{found}. Package the release again.")
        known = {entry["path"]: entry["sha256"] for entry in manifest["files"]}
        return {"known": known, **{key: manifest[key] for key in ("name", "recipe_digest", "artifacts")}}
    except (KeyError, TypeError) as fault:
        raise ArtifactError(f"{RELEASE / MANIFEST} is damaged: {told(fault)}. Copy the release again.") from None


def choose(there: list[str], wanted: str | None, opened: tuple[str, ...]) -> str:
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
    """The artifact's record and the sha256 of each of its files, all compared with the manifest's."""
    if LAUNCHER not in known:
        raise ArtifactError("this release was not packaged. Run `edgepress package`, and copy the folder again.")
    for path in (*FILES, *([SAMPLE] if SAMPLE in known else [])):
        verified(path, known)
    found = {f"{target}/{ARTIFACT}": verified(f"{target}/{ARTIFACT}", known)}
    artifact = read_json(RELEASE / target / ARTIFACT)
    for key in KEYS:
        if key not in artifact:
            raise ArtifactError(
                f"{RELEASE / target / ARTIFACT} is of another version (no {key!r}). Package the release again."
            )
    shipped = [f"{target}/{entry['path']}" for entry in artifact["files"] if entry["shipped"]]
    found.update({path: verified(path, known) for path in shipped})
    return artifact, found


def verified(path: str, known: dict[str, str]) -> str:
    if path.startswith("/") or "\\" in path or ":" in path or ".." in path.split("/"):
        raise ArtifactError(f"the release names {path[:80]!r}, which leads out of it. It was refused.")
    if RELEASE not in (RELEASE / path).resolve().parents:
        raise ArtifactError(f"{RELEASE / path} is a link that leads out of the release. It was refused.")
    if not (RELEASE / path).is_file():
        raise ArtifactError(f"{RELEASE / path} is missing. Copy the release again.")
    got, want = sha256_of(RELEASE / path), str(known.get(path))
    if got != want:
        raise ArtifactError(f"{RELEASE / path} is not the released file: its sha256 is {got[:16]}…, not {want[:16]}….")
    return got
