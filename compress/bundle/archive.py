"""A release as one file, `.tar.zst`: the same files give the same bytes, and reading it needs no trust in it.

Only the very headers that `write_archive` writes are read: plain files under one folder, SHA256SUMS and the manifest
first, so that the size of all that follows is known before it is unpacked.
"""

from __future__ import annotations

import os
import tarfile
from pathlib import Path
from typing import BinaryIO

import zstandard

from edgepress.compress.bundle.contents import MOST_BYTES, MOST_RECORD_BYTES, PIECE, Contents
from edgepress.compress.bundle.manifest import Manifest
from edgepress.targets.bundle.sums import MANIFEST, MOST_SUMS_BYTES, SIGNATURE, SUMS
from edgepress.targets.errors import ArtifactError, BundleError, told
from edgepress.targets.files import name_fault

SUFFIX = ".tar.zst"
LEVEL = 10
BLOCK = tarfile.BLOCKSIZE
END = bytes(2 * BLOCK)
# A run of equal bytes shrinks to a 30,000th: so little is fed at a time that what comes out fits into memory.
FED_BYTES = 1 << 10
FREE_BYTES, MOST_RATIO = 64 << 20, 300
"""An archive that grows beyond the first, and by more than the second, is a bomb: weights shrink to a third at best."""
MOST_WINDOW = 1 << 25


def order(manifest: Manifest, signed: bool) -> tuple[str, ...]:
    """The paths of an archive's files, in the order in which they lie in it."""
    return (SUMS, MANIFEST, *((SIGNATURE,) if signed else ()), *(entry.path for entry in manifest.files))


def write_archive(release: Path, place: Path) -> None:
    """Write the sealed release in a folder to the file `place`, whole or not at all.

    Raises:
        BundleError: a name is too long for an archive, or a file too large.
        OSError: the place cannot be written.
    """
    manifest = Manifest.read(release / MANIFEST)
    if fault := name_fault(manifest.name):
        raise BundleError(f"{release} is called {manifest.name[:80]!r}, which {fault}; no archive can be named so")
    paths = order(manifest, (release / SIGNATURE).is_file())
    part = place.with_name(f".{place.name}.part")
    try:
        with part.open("wb") as file, zstandard.ZstdCompressor(LEVEL, write_checksum=True).stream_writer(file) as out:
            for path in paths:
                size = (release / path).stat().st_size
                out.write(header(f"{manifest.name}/{path}", size))
                with (release / path).open("rb") as source:
                    while piece := source.read(PIECE):
                        out.write(piece)
                out.write(bytes(-size % BLOCK))
            out.write(END)
        part.replace(place)
    finally:
        part.unlink(missing_ok=True)


def header(path: str, size: int) -> bytes:
    """The 512 bytes before a file: nothing of this machine, user or day in them.

    Raises:
        BundleError: POSIX ustar has no room for the name or the size.
    """
    about = tarfile.TarInfo(path)
    about.size = size  # mode 644, no owner, no time
    try:
        return about.tobuf(tarfile.USTAR_FORMAT, "utf-8", "strict")
    except ValueError as fault:
        raise BundleError(f"{path} does not fit into an archive ({told(fault)}). Give it a shorter name.") from None


class Unpacked:
    """The bytes of a zstd frame, as many as are asked for. Raises BundleError for a bomb or a damaged frame."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._most = FREE_BYTES + MOST_RATIO * os.fstat(file.fileno()).st_size
        self._frame = zstandard.ZstdDecompressor(max_window_size=MOST_WINDOW).decompressobj()
        self._ready, self._given = bytearray(), 0

    def read(self, size: int) -> bytes:
        """`size` bytes, or fewer where it ends."""
        while len(self._ready) < size and not self._frame.eof and (fed := self._file.read(FED_BYTES)):
            try:
                self._ready += self._frame.decompress(fed)
            except zstandard.ZstdError as fault:
                raise BundleError(f"it is no zstd archive, or damaged ({told(fault)})") from None
            if self._given + len(self._ready) > self._most:
                raise BundleError(f"it grows to more than {MOST_RATIO} times its size: it was not unpacked further")
        found = bytes(self._ready[:size])
        del self._ready[:size]
        self._given += len(found)
        return found

    def ended(self) -> bool:
        """Whether the frame, and the file with it, ends here."""
        return not self.read(1) and self._frame.eof and not self._frame.unused_data and not self._file.read(1)


def read_archive(path: Path, into: Path | None = None) -> Contents:
    """The bundle in an archive. Nothing of it is followed or run, and nothing written but to the folder `into`.

    What is written there is not verified yet, and may be part of it only.
    """
    found = Contents(str(path), into=into)
    try:
        with path.open("rb") as file:
            _read(found, Unpacked(file))
    except EOFError:
        found.faults.append("the archive is cut off")
    except (BundleError, ArtifactError) as fault:
        found.faults.append(told(fault))
    return found


def _read(found: Contents, unpacked: Unpacked) -> None:
    top = _take_sums(found, unpacked)
    about = unpacked.read(BLOCK)
    _take(found, unpacked, about, f"{top}/{MANIFEST}", MOST_RECORD_BYTES)
    manifest = Manifest.parsed(found.records[MANIFEST], MANIFEST)
    if sum(entry.bytes for entry in manifest.files) > MOST_BYTES:
        raise BundleError(f"it holds more than {MOST_BYTES >> 30} GiB")
    about = unpacked.read(BLOCK)
    if about[: len(top) + 1 + len(SIGNATURE)] == f"{top}/{SIGNATURE}".encode():
        _take(found, unpacked, about, f"{top}/{SIGNATURE}", MOST_RECORD_BYTES)
        about = unpacked.read(BLOCK)
    for entry in manifest.files:
        _take(found, unpacked, about, f"{top}/{entry.path}", entry.bytes, exactly=True)
        about = unpacked.read(BLOCK)
    if about + unpacked.read(BLOCK) != END or not unpacked.ended():
        raise BundleError("the archive holds more than its manifest names")


def _take_sums(found: Contents, unpacked: Unpacked) -> str:
    """Take the first file, which is SHA256SUMS; returns the folder that all files of the archive lie in."""
    about = unpacked.read(BLOCK)
    top, _, name = _header_of(about).name.partition("/")
    if name != SUMS or name_fault(top):
        raise BundleError(f"it is no archive of a release: its first file is {name[:80]!r}, not {SUMS}")
    _take(found, unpacked, about, f"{top}/{SUMS}", MOST_SUMS_BYTES)
    return top


def _take(found: Contents, unpacked: Unpacked, about: bytes, path: str, most: int, exactly: bool = False) -> None:
    """Take one file whose header must be the one that `write_archive` gives it."""
    size = _header_of(about).size
    name = path.partition("/")[2]
    if size > most or (exactly and size != most) or about != header(path, size):
        raise BundleError(f"the archive does not hold {name} as it was packed: it is of another size, place or kind")
    found.take(name, size, unpacked.read)
    if any(unpacked.read(-size % BLOCK)):
        raise BundleError(f"the archive holds something behind {name}")


def _header_of(about: bytes) -> tarfile.TarInfo:
    if len(about) < BLOCK:
        raise EOFError
    try:
        return tarfile.TarInfo.frombuf(about, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError):
        raise BundleError("it is no archive of a release, or damaged") from None
