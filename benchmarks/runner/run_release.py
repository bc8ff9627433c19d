"""The release that `run_benchmark.py` stands in: which artifact is measured, and whether each file is the released one.

It travels beside that file in a release.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
if TYPE_CHECKING:
    from edgepress.benchmarks.runner.run_runtimes import Artifact, Refused
else:
    from run_runtimes import Artifact, Refused

MANIFEST, SAMPLE, ARTIFACT = "manifest.json", "sample.npz", "artifact.json"
SCRIPT, SITTING = "run_benchmark.py", "run_sitting.py"
FILES = (
    *(SCRIPT, SITTING, "run_apart.py", "run_energy.py", "run_environment.py", "run_release.py", "run_runtimes.py"),
    "run_sample.py",
)
FORMAT = 1
# What the runner reads in artifact.json.
KEYS = ("name", "precision", "files", "programs", "settings", "candidate", "versions")
RELEASE = Path(__file__).resolve().parent


def sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for piece in iter(lambda: file.read(1 << 20), b""):
            digest.update(piece)
    return digest.hexdigest()


def read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Refused(f"{path} is missing. Keep run_benchmark.py in its release folder, with all files.") from None
    except ValueError as fault:
        raise Refused(f"{path} is damaged ({fault}). Copy the release again.") from None


def read_manifest() -> dict[str, Any]:
    """The manifest, with `known`: path -> sha256 of every released file."""
    manifest = read_json(RELEASE / MANIFEST)
    try:
        if manifest["format"] != FORMAT:
            found = f"{RELEASE / MANIFEST} has format {manifest['format']}, this runner reads {FORMAT}"
            raise Refused(f"{found}. Package the release again.")
        known = {entry["path"]: entry["sha256"] for entry in manifest["files"]}
        return {"known": known, **{key: manifest[key] for key in ("name", "recipe_digest", "artifacts")}}
    except (KeyError, TypeError) as fault:
        raise Refused(f"{RELEASE / MANIFEST} is damaged (no {fault}). Copy the release again.") from None


def choose(there: list[str], wanted: str | None, opened: tuple[str, ...]) -> str:
    """The target to measure: the one that was asked for, or the only one there is."""
    if wanted is None and len(there) != 1:
        raise Refused(f"this release has {len(there)} targets: {', '.join(there)}. Choose one with --target.")
    target = there[0] if wanted is None else wanted
    if target not in there:
        raise Refused(f"unknown target {target!r}; this release has {', '.join(there)}.")
    if target not in opened:
        raise Refused(f"target {target!r} is not made for devices; this runner opens {', '.join(opened)}.")
    return target


def checked(known: dict[str, str], target: str) -> tuple[Artifact, dict[str, str]]:
    """The artifact's record and the sha256 of each of its files, all compared with the manifest's."""
    if SCRIPT not in known:
        raise Refused("this release was not packaged. Run `edgepress package`, and copy the folder again.")
    for path in (*FILES, *([SAMPLE] if SAMPLE in known else [])):
        verified(path, known)
    found = {f"{target}/{ARTIFACT}": verified(f"{target}/{ARTIFACT}", known)}
    artifact = read_json(RELEASE / target / ARTIFACT)
    for key in KEYS:
        if key not in artifact:
            raise Refused(
                f"{RELEASE / target / ARTIFACT} is of another version (no {key!r}). Package the release again."
            )
    shipped = [f"{target}/{entry['path']}" for entry in artifact["files"] if entry["shipped"]]
    found.update({path: verified(path, known) for path in shipped})
    return artifact, found


def verified(path: str, known: dict[str, str]) -> str:
    if not (RELEASE / path).is_file():
        raise Refused(f"{RELEASE / path} is missing. Copy the release again.")
    got, want = sha256_of(RELEASE / path), str(known.get(path))
    if got != want:
        raise Refused(f"{RELEASE / path} is not the released file: its sha256 is {got[:16]}…, not {want[:16]}….")
    return got
