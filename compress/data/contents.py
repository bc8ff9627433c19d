"""What a split is made of, as a digest: whether a stage's rows are still the same, without reading them as rows.

Files count with their content, whatever their path; pictures of folders and tables with their names, sizes and times of
change; hub ids with their name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from edgepress.compress.data.clips import clip_files
from edgepress.compress.data.handed import handed
from edgepress.compress.data.images import (
    LazyImages,
    folder_splits,
    image_column,
    image_files,
    npz_digest,
    picture_files,
)
from edgepress.compress.data.rows import MASKED, ReadingTask
from edgepress.compress.data.sources import Source, find_source, local_split
from edgepress.compress.data.tables import read_table
from edgepress.compress.recipe.data import Data
from edgepress.targets.files import sha256_of

OF_FILES = ("images", MASKED, "recordings")
"""What rows are of which a table names files."""


def split_content(data: Data, split: str, task: ReadingTask | None) -> str:
    """A text that changes with the rows of a split: `cut` where they are cut from train.

    Args:
        split: train, validation or test. Train has all rows of its source that are not of its own test split.
        task: None takes tables as they are, whatever pictures they name.

    Raises:
        DataError: a file is missing or damaged.
    """
    source = find_source(data.train)
    if split == "train":
        return _content(source, data, task, is_train=True)
    given: str | None = getattr(data, split)
    if given is not None:
        return _content(find_source(given), data, task, is_train=False)
    if (own := local_split(source, split)) is None:
        return "cut"
    if source.kind == "npz" and source.path is not None:
        return npz_digest(source.path, only=split)
    return _content(find_source(own), data, task, is_train=False)


def _content(source: Source, data: Data, task: ReadingTask | None, is_train: bool) -> str:
    if source.kind == "given":
        return handed(source.reference).digest
    if source.path is None:
        return source.reference
    if source.kind == "npz":
        return npz_digest(source.path, without="test") if is_train else sha256_of(source.path)
    if source.kind == "folder":
        folder = folder_splits(source.path)["train"] if is_train else source.path
        of_audio = task is not None and task.inputs.content == "recordings"
        files = clip_files(folder) if of_audio else picture_files(folder)
        return _keys(image_files(files), [str(path.relative_to(folder)) for path in files])
    if task is None or task.inputs.content not in OF_FILES:
        return sha256_of(source.path)
    columns = [task.inputs.columns(data.columns)[0]]
    columns += data.columns.labels if task.inputs.content == MASKED else ()
    table = read_table(source.path, columns)
    named = (image_column(table[column], source.path.parent, str(source.path)) for column in columns)
    return sha256_of(source.path) + "".join(_keys(each, [""] * len(each)) for each in named)


def _keys(pictures: LazyImages, names: Sequence[str]) -> str:
    digest = hashlib.sha256()
    for row, name in enumerate(names):
        digest.update(hashlib.sha256(name.encode("utf-8", "surrogateescape") + b"\0" + pictures.key(row)).digest())
    return digest.hexdigest()


def check_pictures(images: LazyImages) -> None:
    """Whether the files of all pictures are there, without decoding any.

    Raises:
        DataError: names the first that is missing.
    """
    for row in range(len(images)):
        images.key(row)
