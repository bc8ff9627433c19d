"""What a recipe may name as data → texts or images with their labels as they are written there.

A reference is `builtin:digits`, a path, or a hub id `owner/name` or `owner/name:split`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from edgepress.compress.data.images import (
    Images,
    folder_splits,
    image_column,
    npz_splits,
    read_digits,
    read_folder,
    read_npz,
)
from edgepress.compress.data.tables import SUFFIXES, check_columns, read_table, suffix_of
from edgepress.compress.recipe.paths import in_home, kind_of
from edgepress.compress.recipe.recipe import Columns, Data
from edgepress.targets.errors import DataError, told

DIGITS = "builtin:digits"
HUB_ID = re.compile(r"[\w][\w.-]*/[\w][\w.-]*(:[\w.-]+)?")
HUB_SPLITS = {"train": ("train",), "validation": ("validation", "valid", "dev"), "test": ("test",)}
MOST_NAMES = 10_000  # to look for a name like the one given; a folder of images may have millions
Texts = tuple[list[str], list[str] | None]


@dataclass(frozen=True)
class Raw:
    """A source before its labels are numbers. `label_names` are those that its integer labels count, if it says so."""

    origin: str
    labels: Sequence[Any]
    texts: Texts | None = None
    images: Images | None = None
    label_names: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Source:
    """A reference that was found. `path` is None for the hub and the built-in digits."""

    kind: Literal["digits", "npz", "folder", "table", "hub"]
    reference: str
    path: Path | None = None


def find_source(reference: str) -> Source:
    """Raises DataError for a path that is not there or a format that is not known."""
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


def check_task(source: Source, task: str) -> None:
    """Raises DataError for a source of images where the task is about texts."""
    if source.kind in ("digits", "npz", "folder") and task == "text-classification":
        raise DataError(
            f"{source.reference} holds images, and the task is {task}. Name a file of texts, or change the task."
        )


def own_split(source: Source, split: str, data: Data) -> str | None:
    """The reference of the validation or test split that a training source brings itself; None where it has none."""
    if source.kind == "npz" and source.path is not None:
        return source.reference if split in npz_splits(source.path) else None
    if source.kind == "folder" and source.path is not None:
        found = folder_splits(source.path).get(split)
        return str(found) if found else None
    if source.kind == "hub" and ":" not in source.reference:
        from datasets import get_dataset_split_names

        with _hub_errors(source.reference):
            names = get_dataset_split_names(source.reference, data.config)
        return next((f"{source.reference}:{name}" for name in HUB_SPLITS[split] if name in names), None)
    return None


def read_raw(reference: str, split: str, data: Data, task: str) -> Raw:
    """All rows of one split.

    Raises:
        DataError: the source is missing, empty, damaged, lacks a column, or does not hold what the task needs.
    """
    source = find_source(reference)
    is_text = task == "text-classification"
    if source.kind in ("digits", "npz", "folder") and is_text:
        raise DataError(
            f"{reference} holds images, and the task is {task}. Name a file with texts, or change the task."
        )
    if source.kind == "digits":
        images, labels = read_digits()
        return Raw(reference, labels.tolist(), images=images, label_names=tuple("0123456789"))
    if source.kind == "hub":
        return _read_hub(source, split, data, is_text)
    assert source.path is not None
    if source.kind == "npz":
        images, labels = read_npz(source.path, split)
        return Raw(str(source.path), labels.tolist(), images=images)
    if source.kind == "folder":
        folder = folder_splits(source.path)["train"] if split == "train" else source.path
        files, names = read_folder(folder)
        return Raw(str(folder), names, images=files)
    table = read_table(source.path, _wanted(data.columns, is_text))
    return _from_columns(str(source.path), table, data.columns, is_text, source.path.parent)


def _wanted(columns: Columns, is_text: bool) -> list[str]:
    if not is_text:
        return [columns.image, columns.label]
    return [columns.text, *([columns.text_pair] if columns.text_pair else []), columns.label]


def _from_columns(origin: str, table: Any, columns: Columns, is_text: bool, folder: Path) -> Raw:
    labels = table[columns.label]
    if not is_text:
        return Raw(origin, labels, images=image_column(table[columns.image], folder, origin))
    pair = columns.text_pair
    first = _checked_texts(table[columns.text], columns.text, origin)
    second = _checked_texts(table[pair], pair, origin) if pair else None
    return Raw(origin, labels, texts=(first, second))


def _checked_texts(values: Sequence[Any], column: str, origin: str) -> list[str]:
    for row, value in enumerate(values, start=1):
        if not isinstance(value, str):
            raise DataError(f"{origin}, row {row}: {column!r} must be text, got {value!r:.60}. Mend or remove the row.")
    return list(values)


def _read_hub(source: Source, split: str, data: Data, is_text: bool) -> Raw:
    from datasets import ClassLabel, Image, load_dataset

    name, _, part = source.reference.partition(":")
    with _hub_errors(name):
        rows = load_dataset(name, data.config, split=part or HUB_SPLITS[split][0])
    origin = f"{name}:{part or split}"
    wanted = _wanted(data.columns, is_text)
    check_columns(origin, wanted, rows.column_names)
    if len(rows) == 0:
        raise DataError(f"{origin} is empty: it needs at least one row.")
    feature = rows.features[data.columns.label]
    if not is_text and isinstance(rows.features[data.columns.image], Image):
        rows = rows.cast_column(data.columns.image, Image(decode=False))
    raw = _from_columns(origin, {column: rows[column] for column in wanted}, data.columns, is_text, Path())
    names = tuple(feature.names) if isinstance(feature, ClassLabel) else None
    return Raw(raw.origin, raw.labels, raw.texts, raw.images, names)


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
