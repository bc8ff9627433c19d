"""Run folders: `runs/<name>/stages/<digest>-<name>/`, each written beside its place and renamed when it is whole.

A stage is finished when its folder holds a `stage.json` whose digest is the wanted one and whose files are all there.
The digest covers everything that went into the stage and, through the digest before it, into all stages before it: two
recipes that begin alike share those stages, and what was finished under another option is there when one goes back.
`stages.json` says which of the folders are, in order, the stages of the recipe that the run is at.
"""

from __future__ import annotations

import logging
import os
import re
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from edgepress.compress.pipeline.disk import disk_faults
from edgepress.compress.pipeline.keys import STAGES, Index, Owner, StageKey, StageRecord, StoredFile
from edgepress.targets.errors import ArtifactError, StoreError
from edgepress.targets.files import remove, write_whole

LOG = logging.getLogger("edgepress")
STAGE_FILE, INDEX_FILE = "stage.json", "stages.json"
# What edgepress 0.1 wrote before stages were stored by digest.
OLD_STAGE = re.compile(r"\d{2,}-.+")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


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

    @classmethod
    def at(cls, path: Path, warn: Callable[[str], None] = LOG.warning) -> RunFolder:
        """The run whose folder is `path`; one that names itself by dots alone gets its own name."""
        path = path if path.name.strip(".") else path.resolve()
        return cls(path.name, path.parent, warn)

    @property
    def cache(self) -> Path:
        """Fp32 exports, timed inputs and the teacher's outputs: all of it can be made again."""
        return self.root / "cache"

    @property
    def _stages(self) -> Path:
        return self.root / STAGES

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

    def folder(self, key: StageKey) -> Path:
        """Where the finished stage lies, or will lie."""
        return self.root / key.folder

    def index(self) -> Index:
        """Which stages the recipe has; none where nothing ran, or where `stages.json` is damaged: it is told, and the
        next run writes it anew."""
        path = self.root / INDEX_FILE
        if not path.is_file():
            return Index(stages=())
        try:
            return Index.read(path)
        except ArtifactError as fault:
            self._warn(f"{fault} Run the recipe again: what is finished is kept.")
            return Index(stages=())

    def chain(self) -> tuple[StageKey, ...]:
        """The stages of the recipe that the run is at, in order, whether finished or not."""
        return self.index().stages

    def set_chain(self, keys: Sequence[StageKey]) -> None:
        """Write which stages the recipe has now. What was finished under other options stays: going back finds it,
        `edgepress gc` removes it."""
        self._write_index(Index(stages=tuple(keys)))

    def announce(self, keys: Sequence[StageKey]) -> None:
        """Write which stages the recipe will have as soon as the first of them that is new is finished: a changed
        recipe that fails before leaves the run as it was. Checkpoints of any other recipe are removed."""
        self._write_index(Index(stages=self.chain(), next=tuple(keys)))
        wanted = {self._scratch(key) for key in keys}
        with disk_faults(self.root):
            for path in self._stages.glob(".*.scratch"):
                if path not in wanted:
                    remove(path)

    def _write_index(self, index: Index) -> None:
        with disk_faults(self.root):
            write_whole(self.root / INDEX_FILE, index.model_dump_json(indent=1) + "\n")

    def stages(self) -> list[StageRecord]:
        """The leading stages of the chain that are finished, in order; a damaged one counts as not done and is told."""
        found = []
        for key in self.chain():
            record = self.record(key)
            if record is None:
                break
            found.append(record)
        return found

    def latest_stage(self) -> Path | None:
        """The folder of the last finished stage of the chain."""
        stages = self.stages()
        return self.folder(stages[-1].key) if stages else None

    def finished(self, key: StageKey) -> Path | None:
        """The folder of the stage if it was finished and is still whole, else None."""
        return self.folder(key) if self.record(key) is not None else None

    def record(self, key: StageKey) -> StageRecord | None:
        """What a stage says of itself; None where it is not finished, or damaged, which is told."""
        folder = self.folder(key)
        record = self._whole(folder) if folder.is_dir() else None
        return record if record is not None and record.key == key else None

    @contextmanager
    def write_stage(self, key: StageKey, uses: Callable[[], Sequence[str]] = tuple) -> Iterator[Path]:
        """An empty folder to write the stage into; it takes its place, and its scratch goes, when the block ends well.

        A damaged stage of the same key that was there before goes only then. `uses` tells, at the end, which entries
        of the cache the stage was made with.

        Raises:
            StoreError: no space is left, or the folder cannot be written.
        """
        temporary = self._stages / f".{key.stem}.part"
        with disk_faults(self.root):
            remove(temporary)
            temporary.mkdir(parents=True)
            try:
                yield temporary
                _seal(temporary, key, tuple(uses()))
            except BaseException:
                remove(temporary)
                raise
            self._promote(temporary)

    def scratch(self, key: StageKey) -> Path:
        """A folder for what a running stage wants to find again after a kill: its checkpoints."""
        folder = self._scratch(key)
        with disk_faults(self.root):
            folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _scratch(self, key: StageKey) -> Path:
        return self._stages / f".{key.stem}.scratch"

    def relative(self, paths: Iterable[Path]) -> tuple[str, ...]:
        """Those of `paths` that lie in the run folder, seen from there, sorted."""
        root = self.root.resolve()
        inside = (path.resolve() for path in paths)
        return tuple(sorted(path.relative_to(root).as_posix() for path in inside if root in path.parents))

    def old_stages(self) -> list[Path]:
        """Stage folders as edgepress wrote them before they were stored by digest; nothing reads them any more."""
        if not self.root.is_dir():
            return []
        named = (path for path in self.root.iterdir() if OLD_STAGE.fullmatch(path.name))
        return sorted(path for path in named if (path / STAGE_FILE).is_file())

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
        key = StageRecord.read(temporary / STAGE_FILE).key
        place, old = self.folder(key), self._stages / f".{key.stem}.old"
        if place.exists():
            place.rename(old)
        temporary.rename(place)
        _sync(self._stages)
        remove(old)
        remove(self._scratch(key))
        if key in (announced := self.index().next):
            self.set_chain(announced)

    def _recover(self) -> None:
        """Finish the rename of a sealed folder, drop unsealed ones, and put back what was moved away for nothing."""
        for path in self._stages.glob(".*.part"):
            if (path / STAGE_FILE).is_file() and self._whole(path):
                self._promote(path)
            else:
                remove(path)
        for path in self._stages.glob(".*.old"):
            original = path.with_name(stem_of(path.name))
            if original.exists():
                remove(path)
            else:
                path.rename(original)
        for path in self._stages.glob(".*.scratch"):
            if path.with_name(stem_of(path.name)).exists():
                remove(path)


def stem_of(name: str) -> str:
    """The stage that a folder is of, be it finished, its scratch, or still written.

    >>> stem_of("0123-prune"), stem_of(".0123-prune.part")
    ('0123-prune', '0123-prune')
    """
    for suffix in (".scratch", ".part", ".old"):
        name = name.removesuffix(suffix)
    return name.removeprefix(".")


def _seal(folder: Path, key: StageKey, uses: tuple[str, ...]) -> None:
    """Write `stage.json` as the last file, and have the disk confirm all of them."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    files = tuple(StoredFile(path=path.relative_to(folder).as_posix(), bytes=path.stat().st_size) for path in paths)
    for path in paths:
        _sync(path)
    StageRecord(key=key, files=files, uses=uses).write(folder / STAGE_FILE)
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
