"""What a recipe may name as data → texts or images with their labels as they are written there.

A reference is `builtin:digits`, a path, or a hub id `owner/name` or `owner/name:split`, pinned as `owner/name@commit`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path

from edgepress.compress.data.clips import read_clip_folder
from edgepress.compress.data.handed import handed
from edgepress.compress.data.images import (
    folder_splits,
    npz_splits,
    read_digits,
    read_folder,
    read_npz,
    without_pictures,
)
from edgepress.compress.data.rows import MASKED, Kind, Raw, ReadingTask
from edgepress.compress.data.tables import SUFFIXES, check_columns, read_table, suffix_of
from edgepress.compress.data.truths.mask_files import read_masked_npz
from edgepress.compress.data.vectors import read_vectors
from edgepress.compress.recipe.data import Data
from edgepress.compress.recipe.paths import PYTHON, in_home, kind_of, pinned
from edgepress.targets.errors import DataError, told

DIGITS = "builtin:digits"
HUB_ID = re.compile(r"[\w][\w.-]*/[\w][\w.-]*(@[\w][\w.-]*)?(:[\w.-]+)?")
HUB_SPLITS = {"train": ("train",), "validation": ("validation", "valid", "dev"), "test": ("test",)}
MOST_NAMES = 10_000  # to look for a name like the one given; a folder of images may have millions
# Sources whose rows are images whatever the task: they have no columns to choose from.
OF_IMAGES = ("digits", "npz", "folder")


@dataclass(frozen=True)
class Source:
    """A reference that was found. `path` is None for the hub and the built-in digits."""

    kind: Kind
    reference: str
    path: Path | None = None


def find_source(reference: str) -> Source:
    """Raises DataError for a path that is not there or a format that is not known."""
    if reference.partition(":")[0] == PYTHON:
        return Source("given", reference)
    if reference.startswith("builtin:"):
        if reference != DIGITS:
            raise DataError(f"{reference} is not built in; {DIGITS} is.")
        return Source("digits", reference)
    path = Path(in_home(reference))
    kind = kind_of(path)
    if kind == "folder":
        if path.resolve() == path.resolve().parent:
            raise DataError(f"{reference} is the root of the file system, all of which would be read. Name a folder.")
        return Source("folder", reference, path)
    if kind == "file":
        if path.stat().st_size == 0:
            raise DataError(f"{path} is empty: 0 bytes. Was its download or export cut off?")
        if path.suffix.lower() == ".npz":
            return Source("npz", reference, path)
        if suffix_of(path) not in SUFFIXES:
            raise DataError(
                f"{path}: unknown format. Known are {', '.join(SUFFIXES)} (also .gz), .npz and image folders."
            )
        return Source("table", reference, path)
    if HUB_ID.fullmatch(reference) and suffix_of(path) not in (*SUFFIXES, ".npz"):
        return Source("hub", reference)
    raise DataError(f"{path} is missing (paths are relative to {Path.cwd()}).{_nearest_file(path)}")


def _nearest_file(path: Path) -> str:
    if kind_of(path.parent) != "folder":
        return f" There is no folder {path.parent} either."
    try:
        names = [child.name for child in islice(path.parent.iterdir(), MOST_NAMES)]
    except OSError:  # may not be listed
        return ""
    close = difflib.get_close_matches(path.name, names, n=1)
    return f" Did you mean {path.parent / close[0]}?" if close else ""


def check_task(source: Source, task: ReadingTask) -> None:
    """Raises DataError for a source of images where the task is about something else, or any other it does not read."""
    if source.kind not in task.inputs.kinds:
        content, wanted = "images" if source.kind in OF_IMAGES else "rows", task.inputs.content
        raise DataError(
            f"{source.reference} holds {content}, and the task is {task.name}. Name a file of {wanted}, or change the "
            f"task."
        )


def own_split(source: Source, split: str, data: Data) -> str | None:
    """The reference of the validation or test split that a training source brings itself; None where it has none."""
    if source.kind == "hub" and ":" not in source.reference:
        from datasets import get_dataset_split_names

        with _hub_errors(source.reference):
            name, revision = pinned(source.reference)
            names = get_dataset_split_names(name, data.config, revision=revision)
        return next((f"{source.reference}:{name}" for name in HUB_SPLITS[split] if name in names), None)
    return local_split(source, split)


def local_split(source: Source, split: str) -> str | None:
    """As `own_split`, for files and folders."""
    if source.kind == "npz" and source.path is not None:
        return source.reference if split in npz_splits(source.path) else None
    if source.kind == "folder" and source.path is not None:
        found = folder_splits(source.path).get(split)
        return str(found) if found else None
    return None


def read_raw(reference: str, split: str, data: Data, task: ReadingTask) -> Raw:
    """All rows of one split.

    Args:
        reference: a path, a hub id or `builtin:digits`.
        split: train, validation or test.
        data: the recipe's section, for the columns.
        task: says which columns hold its inputs, and what is made of them.

    Raises:
        DataError: the source is missing, empty, damaged, lacks a column, or does not hold what the task needs.
    """
    source = find_source(reference)
    check_task(source, task)
    if source.kind == "digits":
        images, labels = read_digits()
        return Raw(reference, labels.tolist(), images=images, label_names=tuple("0123456789"))
    if source.kind == "hub":
        return _read_hub(source, split, data, task)
    if source.kind == "given":
        columns = handed(reference).columns
        check_columns(reference, wanted_of(data, task, columns), list(columns))
        return task.inputs.read(columns, data.columns, Path(), reference)
    assert source.path is not None
    if source.kind == "npz":
        if task.inputs.content == "vectors":
            vectors, labels = read_vectors(source.path, split)
            return Raw(str(source.path), labels.tolist(), vectors=vectors)
        if task.inputs.content == MASKED:
            return read_masked_npz(source.path, split)
        images, labels = read_npz(source.path, split)
        return Raw(str(source.path), labels.tolist(), images=images)
    if source.kind == "folder":
        folder = folder_splits(source.path)["train"] if split == "train" else source.path
        if task.inputs.content == "recordings":
            clips, names = read_clip_folder(folder)
            return Raw(str(folder), names, clips=clips)
        files, names = read_folder(folder)
        return Raw(str(folder), names, images=files, note=without_pictures(folder))
    table = read_table(source.path, partial(wanted_of, data, task))
    return task.inputs.read(table, data.columns, source.path.parent, str(source.path))


def wanted_of(data: Data, task: ReadingTask, there: Container[str]) -> list[str]:
    """The columns to read of those that are there: all of the inputs and labels, or, where rows may lack labels, those
    that are there and the inputs' first one."""
    names = [*task.inputs.columns(data.columns), *(() if task.own_truth else data.columns.labels)]
    return names if not task.unlabelled else [names[0], *(name for name in names[1:] if name in there)]


def _read_hub(source: Source, split: str, data: Data, task: ReadingTask) -> Raw:
    from datasets import ClassLabel, Image, load_dataset

    name, _, part = source.reference.partition(":")
    with _hub_errors(name):
        repository, revision = pinned(name)
        rows = load_dataset(repository, data.config, split=part or HUB_SPLITS[split][0], revision=revision)
    origin = f"{name}:{part or split}"
    wanted = wanted_of(data, task, rows.column_names)
    check_columns(origin, wanted, rows.column_names)
    if len(rows) == 0:
        raise DataError(f"{origin} is empty: it needs at least one row.")
    feature = rows.features.get(data.columns.labels[0])
    feature = getattr(feature, "feature", feature)  # of a list of classes: its members
    for column in wanted:
        if isinstance(rows.features[column], Image):
            rows = rows.cast_column(column, Image(decode=False))  # decoded one at a time, when it is asked for
    raw = task.inputs.read({column: rows[column] for column in wanted}, data.columns, Path(), origin)
    names = tuple(feature.names) if isinstance(feature, ClassLabel) else None
    return replace(raw, label_names=names)


@contextmanager
def _hub_errors(name: str) -> Iterator[None]:
    """Everything that `datasets` raises for an id that cannot be had, as one line."""
    from datasets import disable_progress_bars, enable_progress_bars

    disable_progress_bars()
    try:
        yield
    except (OSError, ValueError, RuntimeError) as fault:
        raise DataError(
            f"{name} is no path here, and as a hub id it could not be loaded: {told(fault)}. "
            f"Check the name, or fetch it once with a network (`hf download --repo-type dataset {name}`)."
        ) from None
    finally:
        enable_progress_bars()
