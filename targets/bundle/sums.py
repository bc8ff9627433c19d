"""SHA256SUMS of a release: every file as it was released, none missing, none too many, no link.

It travels to devices: Python 3.9 and its own library alone.
"""

from __future__ import annotations

import json
import os
import re
import stat
from pathlib import Path

from ..errors import ArtifactError
from ..files import path_fault, sha256_of, shown

SUMS, MANIFEST, SIGNATURE = "SHA256SUMS", "manifest.json", "model.sig"
UNLISTED = (SUMS, SIGNATURE)
"""What SHA256SUMS cannot name: itself, and the signature over all files, which is made last."""
MOST_FILES, MOST_SUMS_BYTES, MOST_RECORD_BYTES = 10_000, 16 << 20, 64 << 20
RECORD_KIND = "edgepress-device-record"
_LINE = re.compile(r"([0-9a-f]{64})  (.+)")


def parsed_sums(text: str, place: str) -> dict[str, str]:
    """Path -> sha256 of a SHA256SUMS; `place` is what faults call it.

    Raises:
        ArtifactError: a line of another form, a path that leads out of the release, the same file twice, or nothing.
    """
    found: dict[str, str] = {}
    for number, line in enumerate(text.split("\n")[:-1] if text.endswith("\n") else [], 1):
        match = _LINE.fullmatch(line)
        if match is None:
            raise ArtifactError(f"{place}, line {number} is no sha256 and path: {line[:80]!r}. Copy the release again.")
        if fault := path_fault(match[2]):
            raise ArtifactError(f"{place}, line {number} names {match[2][:80]!r}, which {fault}. It was refused.")
        if match[2] in found or match[2] in UNLISTED:
            raise ArtifactError(f"{place}, line {number} names {match[2][:80]!r} again. It was refused.")
        found[match[2]] = match[1]
    if not 0 < len(found) <= MOST_FILES:
        raise ArtifactError(f"{place} names {len(found)} files, 1 to {MOST_FILES} are read. Copy the release again.")
    return found


def read_sums(folder: Path) -> dict[str, str]:
    """Path -> sha256 of the release in `folder`.

    Raises:
        ArtifactError: SHA256SUMS is missing, a link, too large or damaged.
    """
    path = folder / SUMS
    if not os.path.lexists(path):
        raise ArtifactError(f"{path} is missing, and nothing is opened without it. Copy the release again.")
    if path.is_symlink() or not path.is_file() or path.stat().st_size > MOST_SUMS_BYTES:
        raise ArtifactError(f"{path} is no plain file of at most {MOST_SUMS_BYTES >> 20} MiB. It was refused.")
    try:
        return parsed_sums(path.read_bytes().decode("utf-8"), str(path))
    except UnicodeDecodeError:
        raise ArtifactError(f"{path} is damaged (not UTF-8). Copy the release again.") from None


def listed(folder: Path) -> tuple[list[str], list[str]]:
    """The plain files below `folder`, sorted, and what else lies there, each with what it is. No link is followed."""
    files: list[str] = []
    others: list[str] = []
    waiting = [""]
    while waiting and len(files) + len(others) <= MOST_FILES:
        inner = waiting.pop()
        with os.scandir(folder / inner) as entries:
            names = sorted(entry.name for entry in entries)
        if inner and not names:
            others.append(f"{shown(inner)} is an empty folder")
        for path in (f"{inner}/{name}" if inner else name for name in names):
            mode = os.lstat(folder / path).st_mode
            if stat.S_ISDIR(mode):
                waiting.append(path)
            elif stat.S_ISREG(mode):
                files.append(path)
            else:
                others.append(f"{shown(path)} is {'a link' if stat.S_ISLNK(mode) else 'no plain file'}")
    if len(files) + len(others) > MOST_FILES:
        others.append(f"there are more than {MOST_FILES} files")
    return sorted(files), sorted(others)


def is_record(path: Path) -> bool:
    """Whether a file is a record of a measurement, which the runner writes beside the release."""
    if path.suffix != ".json" or path.stat().st_size > MOST_RECORD_BYTES:
        return False
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError):
        return False
    return isinstance(content, dict) and content.get("kind") == RECORD_KIND


def check_sums(folder: Path) -> dict[str, str]:
    """Path -> sha256 of every file of the release in `folder`, after all of them were compared with SHA256SUMS.

    Records of measurements may lie beside them; anything else may not.

    Raises:
        ArtifactError: a file is missing, changed, too many or no plain file.
    """
    known = read_sums(folder)
    files, others = listed(folder)
    if others:
        raise ArtifactError(f"{folder}: {others[0]}, and a release has none. Copy the release again.")
    if missing := sorted(set(known) - set(files)):
        raise ArtifactError(f"{folder / missing[0]} is missing. Copy the release again.")
    for path in sorted(set(files) - set(known) - set(UNLISTED)):
        if "/" in path or not is_record(folder / path):
            raise ArtifactError(
                f"{shown(folder / path)} is not of this release: {SUMS} does not name it. Move it away."
            )
    for path, want in known.items():
        if (got := sha256_of(folder / path)) != want:
            place = folder / path
            raise ArtifactError(f"{place} is not the released file: its sha256 is {got[:16]}…, not {want[:16]}….")
    return known
