"""What of the runs no recipe reaches: found, told, removed.

A run reaches the stages of its index, their checkpoints, and the entries of its cache that its finished stages were
made with. Everything else of a run can go: stages of other options, half-used caches, stages of an older edgepress.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from edgepress.compress.pipeline.disk import disk_faults
from edgepress.compress.pipeline.store import INDEX_FILE, RunFolder, stem_of
from edgepress.compress.recipe.kept import FILE_NAME
from edgepress.targets.errors import StoreError
from edgepress.targets.files import remove, size_of

CACHES = ("exports", "cases", "teacher")


@dataclass(frozen=True)
class Garbage:
    """Something that no recipe reaches."""

    run: str
    path: Path
    bytes: int


def collect(runs: Path, dry_run: bool, warn: Callable[[str], None]) -> list[Garbage]:
    """Remove what no recipe under `runs` reaches; returns what went, or would go.

    Args:
        runs: the folder that holds the runs, or one run.
        dry_run: remove nothing, and lock nothing.
        warn: told of runs that are left as they are: those in use, and those without an index.

    Raises:
        StoreError: there is no run.
    """
    found = []
    for folder in run_folders(runs, warn):
        try:
            with nullcontext() if dry_run else folder.locked():
                ours = list(garbage(folder))
                with disk_faults(folder.root):
                    for one in () if dry_run else ours:
                        remove(one.path)
        except StoreError as fault:
            warn(f"{folder.root} is left as it is: {fault}")
            continue
        found += ours
    return found


def run_folders(runs: Path, warn: Callable[[str], None]) -> list[RunFolder]:
    """The runs in a folder, or the one that it is. A link is no run of the folder: it may lead anywhere.

    Raises:
        StoreError: it is none and holds none.
    """
    places = [runs] if _is_run(runs) else [path for path in _children(runs) if _is_run(path) and not path.is_symlink()]
    if not places:
        raise StoreError(f"{runs} holds no run. Give the folder that `edgepress run` writes to: runs, or its --runs.")
    return [RunFolder.at(path, warn) for path in places]


def garbage(folder: RunFolder) -> Iterator[Garbage]:
    """What of one run no recipe reaches.

    Raises:
        StoreError: it has stages and no index to tell which of them are reached.
    """
    index, stages = folder.index(), folder.root / "stages"
    chain = dict.fromkeys([*index.stages, *index.next])
    if not chain and _children(stages):
        raise StoreError(f"its {INDEX_FILE} is missing or damaged. Run its recipe again, which writes it anew.")
    reached = {folder.folder(key).name for key in chain}
    records = [folder.record(key) for key in chain]
    used = {name for record in records if record is not None for name in record.uses}
    # What a stage that is not finished will want of the caches is not known.
    cached = _cached(folder.cache) if None not in records else []
    for path in [*_children(stages), *folder.old_stages(), *cached]:
        name = path.relative_to(folder.root).as_posix()
        if stem_of(path.name) not in reached and name not in used:
            yield Garbage(folder.name, path, size_of(path))


def _cached(cache: Path) -> list[Path]:
    """Entries of a run's cache; what lies beside its folders is of an older edgepress."""
    inside = [path for name in CACHES for path in _children(cache / name) if path.name not in (".lock", "holds")]
    return inside + [path for path in _children(cache) if path.name not in CACHES]


def _is_run(path: Path) -> bool:
    names = (INDEX_FILE, FILE_NAME, "stages")
    return path.is_dir() and (any((path / name).exists() for name in names) or any(path.glob("[0-9]*-*/stage.json")))


def _children(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []
