"""Arrays by name, as a script hands them over: for networks of one's own, with one input or several."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgepress.compress.data.rows import Kind, Raw, Rows, label_values
from edgepress.compress.recipe.data import Columns, Data
from edgepress.compress.tasks.base import MAX_BATCH, Features
from edgepress.compress.tasks.inputs.columns import Column
from edgepress.compress.tasks.trial import Trial
from edgepress.targets.errors import DataError
from edgepress.targets.records import Description, Feeds, TensorSpec

if TYPE_CHECKING:
    from torch import nn

FILE_NAME = "inputs.json"
HINT = "Rows must be as forward takes them: called as it calls them, of the shape and type that it computes with."


@dataclass(frozen=True)
class ArrayShapes:
    """A processor that changes nothing: (name, dtype, shape of one row) of each input."""

    inputs: tuple[tuple[str, str, tuple[int, ...]], ...]

    def checked(self, arrays: Mapping[str, np.ndarray]) -> Feeds:
        """The arrays in their own types. Raises DataError for other names or shapes."""
        feeds = {}
        for name, dtype, shape in self.inputs:
            if name not in arrays or arrays[name].shape[1:] != shape:
                got = f"{list(arrays[name].shape[1:])}" if name in arrays else f"only {', '.join(arrays)}"
                raise DataError(f"the model takes {name!r} of shape {list(shape)} a row, got {got}.")
            feeds[name] = np.ascontiguousarray(arrays[name], np.dtype(dtype))
        return feeds


class ArrayFeatures:
    """Arrays in memory, a batch at a time."""

    lengths: np.ndarray | None = None

    def __init__(self, arrays: Mapping[str, np.ndarray], labels: np.ndarray) -> None:
        self.labels = labels
        self._arrays = arrays
        digest = hashlib.sha256(np.ascontiguousarray(labels).tobytes())
        for name, array in arrays.items():
            digest.update(f"{name} {array.dtype} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        self.digest = digest.hexdigest()

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices: Sequence[int] | np.ndarray, length: int | None = None) -> dict[str, np.ndarray]:
        """`[batch, ...]` by name; these have no `length`."""
        chosen = np.asarray(indices)
        return {name: array[chosen] for name, array in self._arrays.items()}


@dataclass(frozen=True)
class ArrayInputs:
    """float32 or int64 `[batch, ...]` by name."""

    content: str = "arrays"
    kinds: frozenset[Kind] = frozenset({"given"})
    sequences: bool = False
    needs_tokenizer: bool = False
    example: str = "python"
    usual_names: tuple[str, ...] = ()

    def columns(self, names: Columns) -> list[str]:
        """None by name: all but the label are inputs."""
        return []

    def read(self, table: Mapping[str, Sequence[Any]], names: Columns, folder: Path, origin: str) -> Raw:
        """Every column but the label's.

        Args:
            table: the columns.
            names: which one is the label.
            folder: of no matter here.
            origin: names the rows in messages.

        Raises:
            DataError: shapes differ, or a value is no finite number.
        """
        inputs = {name: values for name, values in table.items() if name not in names.labels}
        return Raw(origin, label_values(table, names), arrays=stacked(inputs, origin))

    def load_processor(self, source: str, network: str) -> None:
        """None: the training rows say it.

        Args:
            source: a folder or hub id.
            network: the class that reads the model.
        """

    def begin_processor(self, config: Mapping[str, Any]) -> None:
        """None: the training rows say it.

        Args:
            config: of a teacher that is trained in the run.
        """

    def fit_processor(self, processor: Any | None, train: Rows, data: Data) -> ArrayShapes:
        """Names, types and shapes of the training rows.

        Args:
            processor: there is none.
            train: the training rows.
            data: nothing of it matters here.
        """
        assert train.arrays is not None  # Task hands over rows of its own kind
        return ArrayShapes(tuple((name, array.dtype.name, array.shape[1:]) for name, array in train.arrays.items()))

    def features(self, rows: Rows, processor: Any, data: Data) -> ArrayFeatures:
        """The rows' arrays. Raises DataError where they are not shaped as the training rows."""
        assert rows.arrays is not None  # Task hands over rows of its own kind
        return ArrayFeatures(processor.checked(rows.arrays), rows.labels)

    def apply(self, raw: Any, processor: Any, data: Data) -> Feeds:
        """The arrays of one batch, checked.

        Args:
            raw: `[batch, ...]` by name.
            processor: a fitted one.
            data: nothing of it matters here.
        """
        feeds: Feeds = processor.checked({name: np.asarray(value) for name, value in raw.items()})
        return feeds

    def trial(self, network: nn.Module, processor: Any, data: Data) -> Trial:
        """One row of zeros."""
        inputs = tuple(
            TensorSpec(name=name, dtype=dtype, shape=("batch", *shape)) for name, dtype, shape in processor.inputs
        )
        feeds = {name: np.zeros((1, *shape), dtype) for name, dtype, shape in processor.inputs}
        return Trial(inputs, {"batch": (1, MAX_BATCH)}, feeds, HINT)

    def sample_feeds(self, features: Features, batch: int, sequence: int | None) -> Feeds:
        """The first rows, again from the start where they are too few."""
        return features.batch(np.resize(np.arange(len(features)), batch))

    def describe(self, processor: Any) -> Description:
        """Nothing: arrays are as they are."""
        return Description()

    def save_processor(self, processor: Any, folder: Path) -> None:
        """inputs.json: dtype and shape of a row, by name."""
        said = {name: {"dtype": dtype, "shape": list(shape)} for name, dtype, shape in processor.inputs}
        (folder / FILE_NAME).write_text(json.dumps(said, indent=1) + "\n")

    def guess_columns(self, columns: Mapping[str, Column]) -> None:
        """None: arrays are no columns of a table."""

    def python_feeds(self, specs: Sequence[TensorSpec]) -> tuple[str, str]:
        """One row of zeros."""
        parts = (f'"{spec.name}": np.zeros({(1, *spec.shape[1:])}, np.{spec.dtype})' for spec in specs)
        return "numpy as np", f"{{{', '.join(parts)}}}"


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
