"""Labels of pixels: a mask a row, with the class number of each pixel of its picture."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgepress.benchmarks.metrics.base import IGNORED
from edgepress.compress.data.classes import same_classes
from edgepress.compress.data.labels import LabelMap, few, label_map
from edgepress.targets.errors import DataError

UNJUDGED = 255
"""The class number in a mask of pixels that nobody judges, as PASCAL VOC and Cityscapes write it."""


@dataclass(frozen=True)
class MaskMap:
    """How the numbers of a mask become class numbers: as `labels` maps the single ones."""

    labels: LabelMap

    @property
    def names(self) -> tuple[str, ...]:
        """Of the classes, in the model's order."""
        return self.labels.names

    @property
    def note(self) -> str:
        """What was assumed of the names."""
        return self.labels.note

    def encode(self, values: Iterable[Any], origin: str) -> np.ndarray:
        """Masks of classes, each int16 `[height, width]`, in an array of objects `[rows]`, since pictures may be of
        various sizes; -100 where nothing is judged.

        Raises:
            DataError: a mask has a number that is no class; names its row, the number and its pixel.
        """
        table = self._table()
        masks = [self._mask(value, table, f"{origin}, row {row}") for row, value in enumerate(values, start=1)]
        found = np.empty(len(masks), object)
        for row, mask in enumerate(masks):  # all at once, masks of one size would become one array of numbers
            found[row] = mask
        return found

    def _table(self) -> np.ndarray:
        """Number in a file → class."""
        table = np.full(UNJUDGED + 1, -1, np.int16)
        for key, number in self.labels.classes.items():
            if key.isdecimal() and int(key) < UNJUDGED:
                table[int(key)] = number
        table[UNJUDGED] = IGNORED
        return table

    def _mask(self, value: np.ndarray, table: np.ndarray, place: str) -> np.ndarray:
        found: np.ndarray = table[value]
        if (strange := found == -1).any():
            row, column = np.argwhere(strange)[0]
            known = [str(number) for number in np.flatnonzero(table[:UNJUDGED] >= 0)]
            raise DataError(
                f"{place}: the mask has the number {value[row, column]} at pixel ({row}, {column}), counted from 0, "
                f"which is none of the model's {len(self.names)} classes; allowed: {few(known, 10)}, and {UNJUDGED} "
                f"where nothing is judged. Mend the mask, or name all classes in data.labels."
            )
        return found

    def strata(self, labels: np.ndarray) -> np.ndarray:
        """The class that is in fewest pictures of those in each row, so that every split has its share of it, int64
        `[rows]`; a picture without a judged pixel is one group more."""
        there = np.zeros((len(labels), len(self.names) + 1), bool)
        for row, mask in enumerate(labels):
            there[row, np.unique(mask[mask != IGNORED])] = True
        there[:, -1] = True
        order = np.append(np.argsort(there[:, :-1].sum(0), kind="stable"), len(self.names))
        return np.asarray(order[there[:, order].argmax(1)], np.int64)

    def check(self, labels: np.ndarray, origin: str) -> None:
        """Raises DataError where all pixels are of one class: there is nothing to learn."""
        there = sorted({int(number) for mask in labels for number in np.unique(mask)} - {IGNORED})
        if len(there) < 2:
            only = f"of the class {self.names[there[0]]!r}" if there else f"{UNJUDGED}, which is not judged"
            raise DataError(f"{origin}: all pixels are {only}; there is nothing to learn. Add rows.")


def masks_of(
    values: Sequence[np.ndarray],
    origin: str,
    file_names: Sequence[str] | None,
    model_names: Sequence[str] | None,
    fine_tuned: bool,
) -> MaskMap:
    """Which classes there are.

    Args:
        values: the masks as they are in the files, uint8 `[height, width]` each.
        origin: names the table in messages.
        file_names: what the masks' numbers count: data.labels, or the data set's own names.
        model_names: the model's classes in its order; None for one that starts at random.
        fine_tuned: the model is going to be trained on these rows, which then say which classes there are.

    Raises:
        DataError: the names are not the model's, there are too many of them, or numbers are left out and nothing names
            them.
    """
    seen = sorted({str(number) for value in values for number in np.unique(value) if number != UNJUDGED}, key=int)
    if fine_tuned and model_names is not None and not same_classes(seen, file_names, model_names):
        model_names = None
    # Twice, since labels of which no two rows have the same are taken for no classes.
    found = label_map(seen * 2, f"{origin}, pixels of all rows", file_names, model_names)
    if len(found.names) > UNJUDGED:
        raise DataError(f"{origin}: {len(found.names)} classes; masks of 8 bits tell {UNJUDGED} at most apart.")
    return MaskMap(found)
