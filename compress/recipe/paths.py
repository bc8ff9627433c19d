"""What a user named as a source: the home folder put in place of `~`, and what lies there."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Literal

PYTHON = "python"
"""In place of a source: what a script hands to `run`."""


def in_home(source: str) -> str:
    """`~` and `~user` at the front as that home folder; left as it is where there is no such user, as shells do and
    `Path.expanduser` does not."""
    return os.path.expanduser(source)  # noqa: PTH111


def kind_of(path: Path) -> Literal["folder", "file", "other"] | None:
    """What is there: "other" for pipes and devices; None for nothing, and for what no path can be: names that are too
    long or hold NUL, folders that may not be entered."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return None
    return "folder" if stat.S_ISDIR(mode) else "file" if stat.S_ISREG(mode) else "other"


def pinned(source: str) -> tuple[str, str | None]:
    """A hub id and the commit, tag or branch that it is pinned to: `owner/name@revision`; None where it names none.

    A path stays what it is, whatever its name.

    >>> pinned("owner/name@c0ffee"), pinned("owner/name")
    (('owner/name', 'c0ffee'), ('owner/name', None))
    """
    name, at, revision = source.partition("@")
    return (name, revision) if at and kind_of(Path(in_home(source))) is None else (source, None)
