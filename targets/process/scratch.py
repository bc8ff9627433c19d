"""Temporary folders that are known as ours and as still in use, so that the next process clears what a killed one left.

A folder `edgepress-*` in TMPDIR holds a lock file, which its process keeps locked: the system lets go of a lock with
the process, however that ends, and another process that gets the same number has no part in it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

if sys.platform != "win32":
    import fcntl

PREFIX, LOCK = "edgepress-", ".in-use"


@contextmanager
def scratch(kind: str = "") -> Iterator[Path]:
    """An empty folder that goes with the block; `kind` is a part of its name, for those who look into TMPDIR."""
    clear_once()
    with contextlib.ExitStack() as stack:
        own = Path(tempfile.mkdtemp(prefix=PREFIX + kind))
        # Let go of last. Whatever a process that was stopped still writes there, the next one clears.
        stack.enter_context(_held(own))
        stack.callback(shutil.rmtree, own, ignore_errors=True)
        folder = own / "files"  # the lock lies beside it: whole folders are copied into artifacts
        folder.mkdir()
        yield folder


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """The folder is in use. Its lock gets its name when it is held already: nobody sees one that is not yet."""
    if sys.platform == "win32":  # an open file cannot be renamed there; what is left there stays
        yield
        return
    handle = os.open(folder / "new", os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        (folder / "new").rename(folder / LOCK)
        yield
    finally:
        os.close(handle)


@cache
def clear_once() -> None:
    """`clear_left` of TMPDIR, once in a process."""
    clear_left(Path(tempfile.gettempdir()))


def clear_left(place: Path) -> list[str]:
    """Remove folders of this kind and this user in `place` whose processes are gone; their names.

    Those without a lock file are not known to be ours, or are being made, and stay.
    """
    if sys.platform == "win32":
        return []
    found = []
    for folder in sorted(place.glob(f"{PREFIX}*")):
        with contextlib.suppress(OSError):  # another process clears it, or it is being made
            if _is_ours(folder) and _left(folder):
                found.append(folder.name)
    return found


def _is_ours(folder: Path) -> bool:
    """A folder and no link, of this user, which nobody else may write."""
    state = folder.lstat()
    return stat.S_ISDIR(state.st_mode) and state.st_uid == os.getuid() and not state.st_mode & 0o022


def _left(folder: Path) -> bool:
    """Remove the folder, unless a process holds it; whether it is gone."""
    if sys.platform == "win32":
        return False
    handle = os.open(folder / LOCK, os.O_RDWR | os.O_NOFOLLOW)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
        return not folder.exists()
    finally:
        os.close(handle)
