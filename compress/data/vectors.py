"""Vectors of numbers, of tables and .npz files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgepress.compress.data.images import npz_arrays
from edgepress.targets.errors import DataError

MOST_FEATURES = 65_536


def read_vectors(path: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """float32 `[rows, features]` and labels of a split of a .npz file.

    Raises:
        DataError: arrays are missing, of a wrong shape or type, or hold NaN.
    """
    vectors, labels, name = npz_arrays(path, split)
    if labels.ndim != 1 or len(labels) != len(vectors):
        raise DataError(f"{path}: {len(vectors)} vectors, but labels of shape {list(labels.shape)}. Give one a vector.")
    return checked_vectors(vectors, f"{path}: {name}"), labels


def checked_vectors(vectors: np.ndarray, origin: str) -> np.ndarray:
    """float32 `[rows, features]`, finite.

    Raises:
        DataError: the shape or type is another, or a number is NaN or infinite.
    """
    if vectors.ndim != 2 or not vectors.size or vectors.shape[1] > MOST_FEATURES:
        want = f"[rows, features] with 1 to {MOST_FEATURES} features"
        raise DataError(f"{origin} has shape {list(vectors.shape)}, and must have {want}.")
    if vectors.dtype.kind not in "fiub":
        raise DataError(f"{origin} is of type {vectors.dtype}, and must be numbers.")
    with np.errstate(over="ignore"):
        found = vectors.astype(np.float32)
    bad = ~np.isfinite(found).all(axis=1)
    if bad.any():
        row = int(bad.argmax()) + 1
        raise DataError(f"{origin} has NaN or infinite numbers, first in row {row}. Mend or remove the row.")
    return found


def column_vectors(columns: Sequence[Sequence[Any]], names: Sequence[str], origin: str) -> np.ndarray:
    """float32 `[rows, features]` of columns of numbers.

    Args:
        columns: their values, row by row; CSV has texts.
        names: of the columns, for messages.
        origin: names the table in messages.

    Raises:
        DataError: a value is no finite number.
    """
    return np.stack([_numbers(values, name, origin) for values, name in zip(columns, names, strict=True)], axis=1)


def _numbers(values: Sequence[Any], name: str, origin: str) -> np.ndarray:
    found = np.empty(len(values), np.float32)
    for row, value in enumerate(values):
        try:
            found[row] = float(value)
        except (TypeError, ValueError, OverflowError):
            found[row] = np.nan
        if not np.isfinite(found[row]):
            raise DataError(f"{origin}, row {row + 1}: {name!r} is no finite number, got {value!r:.60}. Mend it.")
    return found
