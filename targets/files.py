"""Text files that are written whole or not at all."""

from __future__ import annotations

from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Write `text` as UTF-8, line ends as they are, beside `path` and rename it: a kill leaves the old file or the new.

    Raises:
        OSError: the folder cannot be written, or is full; what was there before stays.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_text(text, encoding="utf-8", newline="")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)  # gone where the rename went well
