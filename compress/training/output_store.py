"""A folder of teachers' outputs that several runs may share: entries by digest, the least recently used dropped first.

Two runs that want the same entry at once compute it once: the second waits. What a run reads is held by a lock file of
its own, which its end releases however it comes, so that nothing that is read is dropped.
"""

from __future__ import annotations

import errno
import os
import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from edgepress.compress.training.teacher_cache import CARD
from edgepress.targets.errors import StoreError
from edgepress.targets.files import remove, size_of
from edgepress.targets.progress import Progress

GB = 1_000_000_000
HOLDS, ENTRY = "holds", re.compile(r"[0-9a-f]{24}")  # as `digest_of` names them
REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST}


@dataclass(frozen=True)
class OutputStore:
    """Where cached outputs lie, and how much of them may stay.

    Args:
        folder: holds one folder an entry.
        limit_bytes: entries are dropped, the least recently used first, while all together take more; None: never.
        progress: is told of what is dropped.
    """

    folder: Path
    limit_bytes: int | None
    progress: Progress

    @contextmanager
    def hold(self, digest: str) -> Iterator[Path]:
        """The folder of an entry, not to be dropped by any run inside the block. It may have to be filled first.

        Args:
            digest: of all that the entry depends on, and its name.
        """
        place = self.folder.resolve() / digest
        with self._changing():
            hold = FileLock(self._holds / f"{digest}-{os.getpid()}-{uuid.uuid4().hex}")
            hold.acquire()
            place.mkdir(exist_ok=True)
            os.utime(place)  # this is its last use
        try:
            self.drop()
            yield place
        finally:
            with self._changing():
                hold.release()
                Path(hold.lock_file).unlink(missing_ok=True)
            self.drop()

    def fill(self, place: Path, compute: Callable[[], None]) -> None:
        """Call `compute` to fill an entry that is held, unless it is whole or becomes so by another run meanwhile."""
        if (place / CARD).is_file():
            return
        lock = FileLock(self._holds / f"{place.name}.computing")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            with self.progress.task("Another run computes the teacher's outputs: waiting for it"):
                lock.acquire()
        try:
            if not (place / CARD).is_file():
                for path in place.glob("*.tmp*"):  # of a process that was killed
                    remove(path)
                compute()
        finally:
            lock.release()
        self.drop()

    def drop(self) -> None:
        """Remove entries that nobody holds, the least recently used first, until the rest is within the limit."""
        if self.limit_bytes is None:
            return
        with self._changing():
            # Whoever names a folder that holds other things loses none of them.
            entries = [path for path in self.folder.iterdir() if ENTRY.fullmatch(path.name) and path.is_dir()]
            sizes = {path: size_of(path) for path in sorted(entries, key=lambda path: path.stat().st_mtime_ns)}
            total = sum(sizes.values())
            for path, size in sizes.items():
                if total <= self.limit_bytes:
                    return
                if not self._held(path.name):
                    remove(path)
                    total -= size
                    self._tell(path.name, size)

    def _tell(self, name: str, size: int) -> None:
        assert self.limit_bytes is not None
        self.progress.event(
            "cache", name=name, state="dropped", megabytes=round(size / 1e6, 1), limit_gb=self.limit_bytes / GB
        )

    @property
    def _holds(self) -> Path:
        return self.folder / HOLDS

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """One process at a time takes, releases and drops.

        Raises:
            StoreError: the folder cannot be written.
        """
        try:
            self._holds.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.folder / ".lock")
            lock.acquire()
        except OSError as fault:
            if fault.errno not in REFUSED:
                raise
            raise StoreError(
                f"the teacher's outputs cannot be kept in {self.folder} ({fault.strerror}): name a folder that this "
                f"user can write with --cache or cache.folder"
            ) from fault
        try:
            yield
        finally:
            lock.release()

    def _held(self, name: str) -> bool:
        """Whether a living process reads the entry; lock files of dead ones are removed."""
        for path in self._holds.glob(f"{name}-*"):
            lock = FileLock(path)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                return True
            lock.release()
            path.unlink(missing_ok=True)
        return False
