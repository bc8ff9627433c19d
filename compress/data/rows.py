"""Rows of data, and what reading them asks of a task: `Raw`, `Rows`, `Reader`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from edgepress.compress.data.clips import Clips
from edgepress.compress.data.images import Images, LazyImages
from edgepress.compress.recipe.data import Columns, Data

Kind = Literal["digits", "npz", "folder", "table", "hub", "given"]
MASKED = "masked images"
"""What rows are whose label is a mask: a class for each pixel."""
Texts = tuple[list[str], list[str] | None]
"""First texts and, where rows are pairs, second ones."""


@dataclass(frozen=True)
class Raw:
    """A source before its labels are numbers. `label_names` are those that its integer labels count, if it says so;
    `note` is what a user should know of it."""

    origin: str
    labels: Sequence[Any]
    texts: Texts | None = None
    images: Images | None = None
    clips: Clips | None = None
    vectors: np.ndarray | None = None
    arrays: Mapping[str, np.ndarray] | None = None
    label_names: tuple[str, ...] | None = None
    note: str = ""
    words: Sequence[tuple[str, ...]] | None = None


@dataclass(frozen=True)
class Rows:
    """Texts (first and, for pairs, second), images `[height, width, channels]`, recordings, vectors float32
    `[rows, features]`, arrays `[rows, ...]` by name or the words of each row; and labels `[rows, ...]` as their `Truth`
    made them: int64 class numbers `[rows]` or `[rows, words]`, float32 `[rows, outputs]`, or a mask each, objects
    `[rows]`."""

    labels: np.ndarray
    origin: str
    texts: Texts | None = None
    images: Images | None = None
    clips: Clips | None = None
    vectors: np.ndarray | None = None
    arrays: Mapping[str, np.ndarray] | None = None
    words: Sequence[tuple[str, ...]] | None = None

    @property
    def content(self) -> str:
        """What each row is: `texts`, `words`, `images`, `masked images`, `recordings`, `vectors` or `arrays`."""
        if self.arrays is not None or self.words is not None:
            return "arrays" if self.words is None else "words"
        if self.clips is not None or self.vectors is not None:
            return "recordings" if self.clips is not None else "vectors"
        return ("images" if self.labels.dtype != object else MASKED) if self.texts is None else "texts"

    @property
    def files(self) -> LazyImages | None:
        """What is decoded when it is asked for: recordings, or images of files; None where rows are in memory."""
        return self.clips or (self.images if isinstance(self.images, LazyImages) else None)

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: np.ndarray) -> Rows:
        """The rows at `indices`, in that order."""
        texts, images = self.texts, self.images
        if texts is not None:
            first, second = texts
            texts = ([first[i] for i in indices], [second[i] for i in indices] if second is not None else None)
        if images is not None:
            images = images.take(indices) if isinstance(images, LazyImages) else images[indices]
        clips = self.clips.take(indices) if self.clips is not None else None
        vectors = self.vectors[indices] if self.vectors is not None else None
        arrays = {name: array[indices] for name, array in self.arrays.items()} if self.arrays is not None else None
        words = [self.words[i] for i in indices] if self.words is not None else None
        return Rows(self.labels[indices], self.origin, texts, images, clips, vectors, arrays, words)


class Reader(Protocol):
    """How one kind of inputs is read from data."""

    @property
    def content(self) -> str:
        """What a row of it is, as `Rows.content` calls it."""
        ...

    @property
    def kinds(self) -> frozenset[Kind]:
        """The kinds of sources that can hold such rows."""
        ...

    def columns(self, names: Columns) -> list[str]:
        """The columns of a table that hold the inputs, without the label's."""
        ...

    def read(self, table: Mapping[str, Sequence[Any]], names: Columns, folder: Path, origin: str) -> Raw:
        """The rows of a table.

        Args:
            table: its columns, those of `columns()` and the label's among them.
            names: which column is which.
            folder: what paths in the table are relative to.
            origin: names the table in messages.

        Raises:
            DataError: a value is none of the kind.
        """
        ...


class Truth(Protocol):
    """How the labels of a training file become numbers, and those of other files the same way.

    `names` are those of the outputs, in the model's order; `note` tells what was assumed.
    """

    @property
    def names(self) -> tuple[str, ...]: ...

    @property
    def note(self) -> str: ...

    def encode(self, values: Iterable[Any], origin: str) -> np.ndarray:
        """Labels as numbers, `[rows, ...]`.

        Raises:
            DataError: one is missing or does not fit; names its row.
        """
        ...

    def strata(self, labels: np.ndarray) -> np.ndarray:
        """The group of each row that every split has its share of, int64 `[rows]`."""
        ...

    def check(self, labels: np.ndarray, origin: str) -> None:
        """Raises DataError where nothing can be learned of these rows."""
        ...


class TruthReader(Protocol):
    """How one kind of outputs reads labels."""

    def truth_of(
        self, raw: Raw, data: Data, names: Sequence[str] | None, model_names: Sequence[str] | None, fine_tuned: bool
    ) -> Truth:
        """How the training labels are read.

        Args:
            raw: the training rows.
            data: the recipe's section.
            names: what the file's numbers count: data.labels, or the data set's own names; None where nothing says it.
            model_names: of the teacher's outputs, in its order; None for one that starts at random.
            fine_tuned: the teacher is trained on these rows, so that they say what its outputs are.

        Raises:
            DataError: the labels are no such labels, or not the teacher's.
        """
        ...


class ReadingTask(Protocol):
    """What reading data asks of a task: its name for messages, its inputs, and how and whether it reads labels."""

    @property
    def name(self) -> str: ...

    @property
    def inputs(self) -> Reader: ...

    @property
    def outputs(self) -> TruthReader: ...

    @property
    def unlabelled(self) -> bool:
        """Whether rows to learn from may lack labels and second texts."""
        ...

    @property
    def own_truth(self) -> bool:
        """Whether rows are their own truth, so that there is no column of labels."""
        ...


def label_values(table: Mapping[str, Sequence[Any]], names: Columns) -> Sequence[Any]:
    """The labels of a table, one a row: a column's values, or tuples of several columns'."""
    if isinstance(names.label, str):
        return table[names.label]
    return list(zip(*(table[column] for column in names.label), strict=True))
