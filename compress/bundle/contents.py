"""What a bundle holds, read once and bounded: size and sha256 of each file, and the records as the bytes hashed."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NamedTuple

from edgepress.benchmarks.records.files import JSON_NAME
from edgepress.targets.bundle.sums import MANIFEST, SIGNATURE, SUMS, listed
from edgepress.targets.files import within
from edgepress.targets.records import Artifact

MOST_BYTES = 64 << 30
MOST_RECORD_BYTES = 32 << 20
"""Of one of the records that are parsed."""
PIECE = 1 << 20
# Neither through a link nor waiting at a pipe, should a file become one meanwhile; bytes as they are on Windows.
PLAIN = os.O_RDONLY | sum(getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_BINARY"))


class Found(NamedTuple):
    """One file: its size in bytes and its sha256."""

    bytes: int
    sha256: str


@dataclass
class Contents:
    """The files of a bundle by their path in it; `faults`: what a bundle must not hold.

    `into`: a folder of our own that gets each file that is taken; None: nothing is written.
    """

    place: str
    files: dict[str, Found] = field(default_factory=dict)
    records: dict[str, bytes] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    into: Path | None = None

    def take(self, path: str, size: int, read: Callable[[int], bytes]) -> None:
        """Hash `size` bytes of a file, whose path is a plain one, and keep those of a record.

        Raises:
            EOFError: there are fewer.
            OSError: it cannot be written, or is there already: its name differs from another one in case alone.
        """
        digest, kept, left = hashlib.sha256(), bytearray(), size
        keeps = is_record(path) and size <= MOST_RECORD_BYTES
        with self._place(path) as file:
            while left:
                piece = read(min(PIECE, left))
                if not piece:
                    raise EOFError
                digest.update(piece)
                left -= len(piece)
                if keeps:
                    kept += piece
                if file is not None:
                    file.write(piece)
        self.files[path] = Found(size, digest.hexdigest())
        if keeps:
            self.records[path] = bytes(kept)
        elif is_record(path):
            self.faults.append(f"{path} has {size} bytes, at most {MOST_RECORD_BYTES} are read")

    def _place(self, path: str) -> AbstractContextManager[BinaryIO | None]:
        if self.into is None:
            return nullcontext()
        place = within(self.into, path)
        place.parent.mkdir(parents=True, exist_ok=True)
        return place.open("xb")


def is_record(path: str) -> bool:
    """Whether a file is one that is parsed, and not only compared."""
    return path in (SUMS, MANIFEST, SIGNATURE, JSON_NAME) or (path.count("/") == 1 and path.endswith(_ARTIFACT))


_ARTIFACT = f"/{Artifact.FILE_NAME}"


def read_folder(folder: Path) -> Contents:
    """The bundle that lies in a folder. Nothing of it is followed or run."""
    found = Contents(str(folder))
    files, others = listed(folder)
    found.faults += others
    total = 0
    for path in files:
        with os.fdopen(os.open(folder / path, PLAIN), "rb", buffering=0) as file:
            about = os.fstat(file.fileno())
            total += about.st_size
            if total > MOST_BYTES or not stat.S_ISREG(about.st_mode):
                found.faults.append(f"{path} is no plain file, or one of more than {MOST_BYTES >> 30} GiB in all")
                break
            try:
                found.take(path, about.st_size, file.read)
            except EOFError:
                found.faults.append(f"{path} is being changed")
    return found
