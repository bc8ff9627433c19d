"""Inputs that are arrays already: as many and of whatever names as a network takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgepress.targets.errors import DataError


def stacked(columns: Mapping[str, Sequence[Any]], origin: str) -> dict[str, np.ndarray]:
    """float32 or int64 `[rows, ...]` by name, of values that are all of one shape.

    >>> stacked({"x": [[1, 2], [3, 4]]}, "rows")["x"].dtype.name
    'int64'

    Raises:
        DataError: shapes differ, or a value is no finite number.
    """
    return {name: _stacked(values, name, origin) for name, values in columns.items()}


def _stacked(values: Sequence[Any], name: str, origin: str) -> np.ndarray:
    arrays = [_array(value, name, f"{origin}, row {row}") for row, value in enumerate(values, start=1)]
    for row, array in enumerate(arrays, start=1):
        if array.shape != arrays[0].shape:
            raise DataError(
                f"{origin}, row {row}: {name!r} has shape {list(array.shape)}, the first row {list(arrays[0].shape)}. "
                f"Give all rows one shape."
            )
    whole = all(array.dtype.kind in "iub" for array in arrays)
    return np.stack(arrays).astype(np.int64 if whole else np.float32)


def _array(value: Any, name: str, origin: str) -> np.ndarray:
    try:
        array = np.asarray(value)
    except ValueError:
        array = np.empty(0, object)
    if array.dtype.kind not in "fiub" or not np.isfinite(array).all():
        raise DataError(f"{origin}: {name!r} must be finite numbers, got {value!r:.60}. Mend or remove the row.")
    return array
