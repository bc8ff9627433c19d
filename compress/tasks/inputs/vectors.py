"""Vectors of numbers, each feature standardised by the training rows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgepress.compress.data.rows import Kind, Raw, Rows, label_values
from edgepress.compress.data.vectors import checked_vectors, column_vectors
from edgepress.compress.model.hub import find_file
from edgepress.compress.recipe.data import Columns, Data
from edgepress.compress.tasks.base import MAX_BATCH, Features
from edgepress.compress.tasks.inputs.columns import Column
from edgepress.compress.tasks.trial import Trial
from edgepress.targets.errors import DataError
from edgepress.targets.preprocess.standardise import FILE_NAME, NAME, Standardisation, read_standardisation
from edgepress.targets.records import Description, Feeds, TensorSpec

if TYPE_CHECKING:
    from torch import nn


class VectorFeatures:
    """Vectors in memory, standardised a batch at a time."""

    lengths: np.ndarray | None = None

    def __init__(self, vectors: np.ndarray, labels: np.ndarray, processor: Standardisation) -> None:
        self.labels = labels
        self._vectors, self._processor = vectors, processor
        digest = hashlib.sha256(json.dumps([processor.mean, processor.std]).encode())
        digest.update(np.ascontiguousarray(labels).tobytes())
        digest.update(np.ascontiguousarray(vectors).tobytes())
        self.digest = digest.hexdigest()

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices: Sequence[int] | np.ndarray, length: int | None = None) -> dict[str, np.ndarray]:
        """`features`, float32 `[batch, features]`; vectors have no `length`."""
        return dict(self._processor.apply(self._vectors[np.asarray(indices)]))


@dataclass(frozen=True)
class VectorInputs:
    """`features`, float32 `[batch, features]`: measurements, or what an agent observes."""

    content: str = "vectors"
    kinds: frozenset[Kind] = frozenset({"npz", "table", "hub", "given"})
    sequences: bool = False
    needs_tokenizer: bool = False
    example: str = "path/to/vectors.npz"
    usual_names: tuple[str, ...] = ()

    def columns(self, names: Columns) -> list[str]:
        """The columns of numbers.

        Raises:
            DataError: the recipe names none.
        """
        if not names.features:
            raise DataError("data.columns.features is missing: name the columns of numbers, e.g. [width, height].")
        return list(names.features)

    def read(self, table: Mapping[str, Sequence[Any]], names: Columns, folder: Path, origin: str) -> Raw:
        """Columns of numbers, side by side.

        Args:
            table: the columns.
            names: which one is which.
            folder: vectors are no files.
            origin: names the table in messages.
        """
        features = self.columns(names)
        vectors = column_vectors([table[name] for name in features], features, origin)
        return Raw(origin, label_values(table, names), vectors=checked_vectors(vectors, origin))

    def load_processor(self, source: str, network: str) -> Standardisation | None:
        """standardisation.json beside a model; None where it has none, and the training rows say it.

        Args:
            source: a folder or hub id.
            network: the class that reads the model.

        Raises:
            ModelError: the file is damaged.
        """
        path = find_file(source, FILE_NAME)
        return read_standardisation(path) if path is not None else None

    def begin_processor(self, config: Mapping[str, Any]) -> None:
        """Nothing: the training rows say it.

        Args:
            config: of a teacher that is trained in the run.
        """

    def fit_processor(self, processor: Any | None, train: Rows, data: Data) -> Standardisation:
        """Mean and deviation of the training rows, where the model's folder says none; a constant feature becomes 0.

        Args:
            processor: of the model's folder; None where there is none.
            train: the training rows.
            data: nothing of it matters here.

        Raises:
            DataError: the model's folder speaks of another number of features.
        """
        assert train.vectors is not None  # Task hands over rows of its own kind
        if processor is not None:
            processor.apply(train.vectors[:1])
            return processor  # type: ignore[no-any-return]
        mean, std = train.vectors.mean(0, dtype=np.float64), train.vectors.std(0, dtype=np.float64)
        std[std < 1e-12] = 1
        return Standardisation(tuple(mean.tolist()), tuple(std.tolist()))

    def features(self, rows: Rows, processor: Any, data: Data) -> VectorFeatures:
        """The rows' vectors, and how they are prepared."""
        assert rows.vectors is not None  # Task hands over rows of its own kind
        return VectorFeatures(rows.vectors, rows.labels, processor)

    def apply(self, raw: Any, processor: Any, data: Data) -> Feeds:
        """`features` of one batch, float32 `[batch, features]`.

        Args:
            raw: numbers `[batch, features]`.
            processor: a fitted one.
            data: the recipe's section; nothing of it matters here.
        """
        feeds: Feeds = processor.apply(np.asarray(raw))
        return feeds

    def trial(self, network: nn.Module, processor: Any, data: Data) -> Trial:
        """One row of zeros."""
        width = len(processor.mean)
        inputs = (TensorSpec(name=NAME, dtype="float32", shape=("batch", width)),)
        hint = f"The data has {width} features; match it in the model's config (num_features)."
        return Trial(inputs, {"batch": (1, MAX_BATCH)}, {NAME: np.zeros((1, width), np.float32)}, hint)

    def sample_feeds(self, features: Features, batch: int, sequence: int | None) -> Feeds:
        """The first rows, again from the start where they are too few; vectors have no `sequence`."""
        return features.batch(np.resize(np.arange(len(features)), batch))

    def describe(self, processor: Any) -> Description:
        """Nothing beside standardisation.json."""
        return Description()

    def save_processor(self, processor: Any, folder: Path) -> None:
        """standardisation.json: {mean, std}, a number for each feature."""
        said = {"mean": list(processor.mean), "std": list(processor.std)}
        (folder / FILE_NAME).write_text(json.dumps(said, indent=1) + "\n")

    def guess_columns(self, columns: Mapping[str, Column]) -> dict[str, list[str]] | None:
        """`features`: every column of numbers."""
        found = [name for name, column in columns.items() if all(_is_number(value) for value in column.values)]
        return {"features": found} if found else None

    def python_feeds(self, specs: Sequence[TensorSpec]) -> tuple[str, str]:
        """One row of zeros, which is the mean row; standardisation.json beside the model says how."""
        zeros = f'{{"{specs[0].name}": np.zeros((1, {specs[0].shape[1]}), np.float32)}}'
        return "numpy as np", f"{zeros}  # a row, by standardisation.json"


def _is_number(value: Any) -> bool:
    try:
        return bool(np.isfinite(float(value)))
    except (TypeError, ValueError, OverflowError):
        return False
