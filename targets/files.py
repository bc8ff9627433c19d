"""Files: written whole or not at all, removed, known by their sha256, and read from no other place than the folder
that they are said to lie in."""

from __future__ import annotations

import hashlib
import re
import shutil
from contextlib import suppress
from pathlib import Path

from .errors import ArtifactError

LONGEST_PATH = 1000
# C:x is a path on a drive of Windows, and a backslash parts folders there.
_ELSEWHERE = re.compile(r"[A-Za-z]:|.*\\")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")


def path_fault(path: str) -> str | None:
    """Why `path`, of a file record, is no plain path below its folder; None where it is one.

    >>> path_fault("model.onnx"), path_fault("../x"), path_fault("/x")
    (None, 'leads out of its folder', 'leads out of its folder')
    """
    if not path or len(path) > LONGEST_PATH:
        return "is no path"
    if _CONTROL.search(path):
        return "holds characters that cannot be seen"
    if path.startswith("/") or _ELSEWHERE.match(path) or ".." in path.split("/"):
        return "leads out of its folder"
    parts = path.split("/")
    return "is no path" if any(part in ("", ".") or len(part.encode()) > 255 for part in parts) else None


def shown(path: object) -> str:
    """A path as a message of one line tells it, whatever its name does to a terminal.

    >>> shown("a b/ü"), shown("a\\nb")
    ('a b/ü', "'a\\\\nb'")
    """
    text = str(path)[:LONGEST_PATH]
    return text if text.isprintable() else ascii(text)


def plain_path(path: str) -> str:
    """`path`, if it is one below its folder. Raises ValueError: records travel, their paths are read and written."""
    if fault := path_fault(path):
        raise ValueError(f"{path[:80]!r} {fault}")
    return path


def within(folder: Path, path: str) -> Path:
    """`folder`/`path`. Raises ArtifactError where it, or a link on the way, leads out of `folder`."""
    place = folder / path
    if path_fault(path) or not place.resolve().is_relative_to(folder.resolve()):
        raise ArtifactError(f"{place} leads out of its folder and was refused. Put the file itself there.")
    return place


def name_fault(name: str) -> str | None:
    """The same for a name that becomes one folder or file: of a target, a candidate.

    >>> name_fault("onnxruntime-cpu"), name_fault("a/b")
    (None, 'is more than one name')
    """
    return path_fault(name) or ("is more than one name" if "/" in name else None)


def plain_name(name: str) -> str:
    """The same. Raises ValueError where it is none."""
    if fault := name_fault(name):
        raise ValueError(f"{name[:80]!r} {fault}")
    return name


def write_whole(path: Path, content: str | bytes) -> None:
    """Write `content`, text as UTF-8 with its line ends as they are, beside `path` and rename it: a kill leaves the old
    file or the new.

    Raises:
        OSError: the folder cannot be written, or is full; what was there before stays.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        part.unlink(missing_ok=True)  # it might be a link to another file
        with part.open("xb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)  # gone where the rename went well


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files below a folder; 0 where nothing is there, or not any more."""
    total = 0
    for each in [path, *path.rglob("*")] if path.is_dir() else [path]:
        with suppress(FileNotFoundError):  # another process may be renaming what it has just written
            total += each.stat().st_size if each.is_file() else 0
    return total


def remove(path: Path) -> None:
    """Remove a folder or file that may not be there."""
    with suppress(FileNotFoundError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def sha256_of(path: Path) -> str:
    """Hex sha256 of a file, read in pieces of 1 MiB."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()
