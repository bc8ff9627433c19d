"""Files that are written whole or not at all, and what of them goes or is counted."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path


def write_whole(path: Path, content: str | bytes) -> None:
    """Write `content`, text as UTF-8 with its line ends as they are, beside `path` and rename it: a kill leaves the old
    file or the new.

    Raises:
        OSError: the folder cannot be written, or is full; what was there before stays.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_bytes(content.encode() if isinstance(content, str) else content)
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
