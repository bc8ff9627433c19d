"""Labels that are numbers: one a row, or a list of several; or scores of pairs of texts, which rows may lack."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgepress.compress.data.labels import few
from edgepress.compress.data.rows import Rows
from edgepress.targets.errors import DataError

STRATA = 10
"""Into so many groups of equal size rows are put by their first number, each of which every split has its share of."""


@dataclass(frozen=True)
class NumberMap:
    """`names` of the numbers of a row, in the model's order."""

    names: tuple[str, ...]
    note: str = ""

    def encode(self, values: Iterable[Any], origin: str) -> np.ndarray:
        """The numbers, float32 `[rows, names]`.

        Raises:
            DataError: a row has other than so many finite numbers; names the row and the value.
        """
        return np.asarray([self._row(value, row, origin) for row, value in enumerate(values, start=1)], np.float32)

    def _row(self, value: Any, row: int, origin: str) -> list[float]:
        try:
            numbers = [float(one) for one in parts_of(value)]
        except (TypeError, ValueError, OverflowError):
            numbers = []
        if len(numbers) != len(self.names) or not all(map(math.isfinite, numbers)):
            wanted = "a finite number" if len(self.names) == 1 else f"{len(self.names)} finite numbers"
            raise DataError(
                f"{origin}, row {row}: the label must be {wanted}, got {value!r:.60}. Mend or remove the row."
            )
        return numbers

    def strata(self, labels: np.ndarray) -> np.ndarray:
        """The tenth of all rows that each row's first number lies in, int64 `[rows]`."""
        order = np.argsort(labels[:, 0], kind="stable")
        found = np.empty(len(labels), np.int64)
        found[order] = np.arange(len(labels)) * min(STRATA, len(labels)) // max(1, len(labels))
        return found

    def check(self, labels: np.ndarray, origin: str) -> None:
        """Raises DataError where every number is the same in all rows: there is nothing to learn. Of many numbers some
        may stand still, as those of a detector's cells at an edge that no object's middle ever reaches."""
        still = np.ptp(labels, axis=0) == 0
        if still.all():
            name = self.names[0] if len(self.names) == 1 else f"each of {len(self.names)} numbers"
            value = f"{labels[0, 0]:g}" if len(self.names) == 1 else "the same"
            raise DataError(f"{origin}: {name} is {value} in all rows; there is nothing to learn. Add rows.")


def parts_of(value: Any) -> list[Any]:
    """One label as its parts: a list's, or itself alone."""
    return list(value) if isinstance(value, list | tuple | np.ndarray) else [value]


def numbers_of(
    values: Sequence[Any],
    origin: str,
    file_names: Sequence[str] | None,
    model_names: Sequence[str] | None,
    column: str = "value",
) -> NumberMap:
    """How many numbers a row has, and what they are called.

    Args:
        values: the labels as they are in the file.
        file_names: data.labels, or the columns that the numbers lie in.
        model_names: what the model calls its outputs; None for one that starts at random.
        column: what the column is called that they lie in.

    Raises:
        DataError: the model gives another number of numbers, or a name is there twice.
    """
    count = len(parts_of(values[0]))
    known = len(model_names) if model_names is not None else count
    if count != known:
        raise DataError(
            f"{origin}: a row has {count} number{'s' * (count != 1)}, and the model gives {known}. Name other columns "
            f"in data.columns.label, or have the model fine-tuned on these rows: teacher.training."
        )
    names = file_names or model_names or ((column,) if count == 1 else tuple(f"{column} {i + 1}" for i in range(count)))
    if len(names) != count or len(set(names)) != count:
        raise DataError(f"{origin}: data.labels names {few(names)}, and a row has {count} numbers. Name each once.")
    return NumberMap(tuple(names))


@dataclass(frozen=True)
class ScoreMap:
    """A number a row, or none. The outputs have no names."""

    names: tuple[str, ...] = ()
    note: str = ""

    def encode(self, values: Iterable[Any], origin: str) -> np.ndarray:
        """The scores, float32 `[rows, 1]`, NaN where a row has none.

        Raises:
            DataError: one is no finite number; names the row and the value.
        """
        return np.asarray([[_score(value, row, origin)] for row, value in enumerate(values, start=1)], np.float32)

    def strata(self, labels: np.ndarray) -> np.ndarray:
        """The tenth of all rows that each row's score lies in, int64 `[rows]`; those without count as the highest."""
        return NumberMap(("score",)).strata(labels)

    def check(self, labels: np.ndarray, origin: str) -> None:
        """Nothing: a teacher says what there is to learn."""


def _score(value: Any, row: int, origin: str) -> float:
    if value is None or value == "":  # an empty cell of a CSV file
        return math.nan
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise DataError(
            f"{origin}, row {row}: the score must be a finite number or null, got {value!r:.60}. "
            f"Mend or remove the row."
        )
    return number


def check_judged(rows: Rows) -> Rows:
    """The same rows, which figures are taken on: some are pairs with scores, and these differ.

    Raises:
        DataError: none are, or all scores are the same.
    """
    known = rows.labels[np.isfinite(rows.labels)]
    if rows.texts is None or rows.texts[1] is None or len(known) < 2 or np.ptp(known) == 0:
        raise DataError(
            f"{rows.origin} holds no pairs of texts with scores that differ, and figures are taken on them. Name "
            f"such a file (data.validation, data.test), and its columns in data.columns.text_pair and "
            f"data.columns.label."
        )
    return rows
