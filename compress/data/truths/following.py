"""The truth of texts to go on with: the tokens of the rows themselves, so that there is no column of labels."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Following:
    """A `Truth` without labels: what follows each token is known once the rows are tokens."""

    names: tuple[str, ...] = ()
    note: str = ""

    def encode(self, values: Iterable[Any], origin: str) -> np.ndarray:
        """A place for each row, int64 `[rows]`."""
        return np.zeros(sum(1 for _ in values), np.int64)

    def strata(self, labels: np.ndarray) -> np.ndarray:
        """One group: any row may go to any split, int64 `[rows]`."""
        return labels

    def check(self, labels: np.ndarray, origin: str) -> None:
        """Nothing: a row has something to learn wherever it has two tokens."""
