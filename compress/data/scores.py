"""Scores of pairs of texts, which rows may lack: how alike the two are."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgepress.compress.data.numbers import NumberMap
from edgepress.compress.data.rows import Rows
from edgepress.targets.errors import DataError


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
    if value is None:
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
