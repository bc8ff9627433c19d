"""Run folders: `runs/<name>/NN-stage/`, each written beside its place and renamed when it is whole.

A stage is finished when its folder holds a `stage.json` whose digest is the wanted one and whose files are all there.
The digest covers everything that went into the stage and, through the digest before it, into all stages before it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Annotated

from filelock import FileLock, Timeout
from pydantic import Field

from edgepress.compress.pipeline.disk import disk_faults
from edgepress.targets.errors import ArtifactError, StoreError
from edgepress.targets.files import remove
from edgepress.targets.records import PlainName, PlainPath, Record

LOG = logging.getLogger("edgepress")
STAGE_FILE = "stage.json"
STAGE_FOLDER = re.compile(r"(\d{2,})-(.+)")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
NOTHING: Mapping[str, object] = MappingProxyType({})


class StoredFile(Record):
    """One file of a finished stage, relative to its folder."""

    path: PlainPath
    bytes: int


class StageRecord(Record):
    """`stage.json`: what a finished stage folder is and holds. Written last."""

    format: int = 1
    index: Annotated[int, Field(ge=0)]
    name: PlainName
    digest: str
    files: tuple[StoredFile, ...]


class Owner(Record):
    """Who holds the lock of a run."""

    pid: int
    host: str


def stage_digest(previous: str, kind: str, options: Mapping[str, object], extra: Mapping[str, object] = NOTHING) -> str:
    """Hex sha256 of a stage: the digest before it, what it does, with which options (plain JSON values)."""
    text = json.dumps([previous, kind, dict(options), dict(extra)], sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


class RunFolder:
    """The folder of one run. Reading needs no lock; writing is done inside `with run.locked():`.

    `warn` is told about damaged stages.
    """

    def __init__(
        self,
        name: str,
        base: Path = Path("runs"),
        warn: Callable[[str], None] = LOG.warning,
    ) -> None:
        if not NAME.fullmatch(name):
            raise StoreError(f"{name!r} is no name for a run: use letters, digits, '.', '_' and '-'")
        self.name = name
        self.root = base / name
        self._warn = warn

    @contextmanager
    def locked(self) -> Iterator[RunFolder]:
        """Hold the run for this process and clear what a killed one left behind.

        Raises:
            StoreError: another process holds the run, the folder cannot be written, or leads out of itself.
        """
        with disk_faults(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            refuse_links(self.root)
            lock = FileLock(self.root / ".lock", timeout=0)
            try:
                lock.acquire()
            except Timeout:
                raise StoreError(
                    f"run {self.name!r} is in use by {self._owner()}; wait for it or use another name"
                ) from None
        try:
            with disk_faults(self.root):
                Owner(pid=os.getpid(), host=socket.gethostname()).write(self.root / ".owner")
                self._recover()
            yield self
            (self.root / ".owner").unlink(missing_ok=True)
        finally:
            lock.release()

    def _owner(self) -> str:
        try:
            owner = Owner.read(self.root / ".owner")
        except ArtifactError:  # it has just begun, or is about to end
            return "another process"
        here = owner.host == socket.gethostname()
        return f"process PID {owner.pid}" + ("" if here else f" on {owner.host}")

    def folder(self, index: int, name: str) -> Path:
        """Where the finished stage lies, or will lie."""
        return self.root / f"{index:02d}-{name}"

    def stages(self) -> list[StageRecord]:
        """The finished stages, in order; damaged ones are left out with a warning."""
        records = [self._whole(path) for _, path in sorted(self._stage_folders())]
        return [record for record in records if record is not None]

    def latest_stage(self) -> Path | None:
        """The folder of the last finished stage."""
        stages = self.stages()
        return self.folder(stages[-1].index, stages[-1].name) if stages else None

    def finished(self, index: int, name: str, digest: str) -> Path | None:
        """The folder of the stage if it was finished with this digest and is still whole, else None."""
        folder = self.folder(index, name)
        if not folder.is_dir():
            return None
        record = self._whole(folder)
        return folder if record is not None and record.digest == digest else None

    @contextmanager
    def write_stage(self, index: int, name: str, digest: str) -> Iterator[Path]:
        """An empty folder to write the stage into; it takes its place, and its scratch goes, when the block ends well.

        A stage that was there before goes only then. Was it another one, the stages made from it go too.

        Raises:
            StoreError: no space is left, or the folder cannot be written.
        """
        temporary = self.root / f".{index:02d}-{name}.part"
        with disk_faults(self.root):
            remove(temporary)
            temporary.mkdir()
            try:
                yield temporary
                _seal(temporary, index, name, digest)
            except BaseException:
                remove(temporary)
                raise
            self._promote(temporary)

    def scratch(self, index: int, name: str, digest: str) -> Path:
        """A folder for what a running stage wants to find again after a kill: checkpoints, the teacher's outputs."""
        folder = self.root / f".{index:02d}-{name}.scratch-{digest[:16]}"
        with disk_faults(self.root):
            for other in self.root.glob(f".{index:02d}-*.scratch-*"):
                if other != folder:
                    remove(other)
            folder.mkdir(parents=True, exist_ok=True)
        return folder

    def drop_after(self, index: int) -> None:
        """Remove stages and scratch behind `index`: those of a recipe that had more stages."""
        for other, path in self._stage_folders():
            if other > index:
                remove(path)
        for path in self.root.glob(".*.scratch-*"):
            if int(path.name[1:].split("-")[0]) > index:
                remove(path)

    def _stage_folders(self) -> list[tuple[int, Path]]:
        if not self.root.is_dir():
            return []
        found = [(STAGE_FOLDER.fullmatch(path.name), path) for path in self.root.iterdir() if path.is_dir()]
        return [(int(match[1]), path) for match, path in found if match]

    def _whole(self, folder: Path) -> StageRecord | None:
        """The record of a stage folder whose files are all there."""
        try:
            record = StageRecord.read(folder / STAGE_FILE)
        except ArtifactError as fault:
            self._warn(f"{fault} The stage counts as not done.")
            return None
        for file in record.files:
            path = folder / file.path
            size = path.stat().st_size if path.is_file() else None
            if size != file.bytes:
                got = "missing" if size is None else f"{size} bytes"
                self._warn(f"{path} is damaged ({got}, {file.bytes} were written). The stage counts as not done.")
                return None
        return record

    def _promote(self, temporary: Path) -> None:
        """Give a sealed folder its place. Killed between the renames, the next run finds it sealed and goes on here."""
        record = StageRecord.read(temporary / STAGE_FILE)
        for index, path in self._stage_folders():
            if index == record.index:
                if self._replaces(record, path):
                    self.drop_after(index)
                path.rename(self.root / f".{path.name}.old")
        temporary.rename(self.folder(record.index, record.name))
        _sync(self.root)
        for path in self.root.glob(f".{record.index:02d}-*"):
            remove(path)

    def _replaces(self, record: StageRecord, folder: Path) -> bool:
        """Whether the stage in `folder` was made from other inputs, so that those behind it are stale."""
        try:
            old = StageRecord.read(folder / STAGE_FILE)
        except ArtifactError:  # unknown: the digests of those behind it tell whether they still fit
            return False
        return (old.name, old.digest) != (record.name, record.digest)

    def _recover(self) -> None:
        """Finish the rename of a sealed folder, drop unsealed ones, and put back what was moved away for nothing."""
        for path in self.root.glob(".*.part"):
            if (path / STAGE_FILE).is_file() and self._whole(path):
                self._promote(path)
            else:
                remove(path)
        taken = {index for index, _ in self._stage_folders()}
        for path in self.root.glob(".*.old"):
            original = self.root / path.name.removeprefix(".").removesuffix(".old")
            if int(original.name.split("-")[0]) in taken:
                remove(path)
            else:
                path.rename(original)


def _seal(folder: Path, index: int, name: str, digest: str) -> None:
    """Write `stage.json` as the last file, and have the disk confirm all of them."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    files = tuple(StoredFile(path=path.relative_to(folder).as_posix(), bytes=path.stat().st_size) for path in paths)
    for path in paths:
        _sync(path)
    StageRecord(index=index, name=name, digest=digest, files=files).write(folder / STAGE_FILE)
    _sync(folder / STAGE_FILE)
    _sync(folder)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def refuse_links(root: Path) -> None:
    """Raises StoreError for a link in the run that leads out of it: what is written there would change another file."""
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = Path(folder, name)
            if path.is_symlink() and not path.resolve().is_relative_to(root.resolve()):
                raise StoreError(
                    f"{path} is a link that leads out of the run. Put what it points to there, or remove it."
                )
