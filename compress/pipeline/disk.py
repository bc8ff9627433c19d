"""A full or write-protected disk as one clear line, whichever library met it."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgepress.targets.errors import EdgepressError, StoreError

FULL = {errno.ENOSPC, errno.EDQUOT}
REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST}
# safetensors and torch's zip writer (its "unexpected pos" is a write that came up short) have words only.
FULL_WORDS = ("no space left on device", "disk quota exceeded", "unexpected pos", "file write failed")


@contextmanager
def disk_faults(folder: Path) -> Iterator[None]:
    """Turn a full or write-protected disk into one clear line, whichever library met it.

    Raises:
        StoreError: no space is left, or `folder` cannot be written.
    """
    try:
        yield
    except EdgepressError:
        raise
    except Exception as fault:
        if (place := _full_disk(fault, folder)) is not None:
            raise StoreError(
                f"no space left on the disk that holds {place}: free some and run the same command again; "
                f"finished stages are kept"
            ) from fault
        if isinstance(fault, OSError) and fault.errno in REFUSED and _within(fault.filename, folder):
            raise StoreError(
                f"cannot write {fault.filename} ({fault.strerror}): give this user the right to write there, "
                f"or run in another folder"
            ) from fault
        raise


def _full_disk(fault: BaseException, folder: Path) -> str | None:
    """The place without space, if that is what `fault`, or what it came from, is about."""
    seen: BaseException | None = fault
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in FULL:
            return str(folder if seen.filename is None or _within(seen.filename, folder) else seen.filename)
        if any(words in str(seen).lower() for words in FULL_WORDS):
            return str(folder)
        seen = seen.__cause__ or seen.__context__
    return None


def _within(path: object, folder: Path) -> bool:
    if not isinstance(path, str | os.PathLike):
        return False
    inside, outside = Path(path).absolute(), folder.absolute()
    return inside == outside or outside in inside.parents or inside in outside.parents
