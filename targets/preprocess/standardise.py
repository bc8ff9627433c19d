"""Vectors of numbers → a network's features: each standardised by mean and deviation of the rows it was trained on."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgepress.targets.errors import DataError, ModelError, told
from edgepress.targets.records import Feeds

FILE_NAME = "standardisation.json"
NAME = "features"


@dataclass(frozen=True)
class Standardisation:
    """`(value - mean) / std`, feature by feature."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def apply(self, vectors: np.ndarray) -> Feeds:
        """`features` of vectors `[batch, features]`, float32 of the same shape."""
        if vectors.ndim != 2 or vectors.shape[1] != len(self.mean):
            raise DataError(f"vectors of shape {list(vectors.shape)}, and the model takes [rows, {len(self.mean)}].")
        mean, std = np.array(self.mean, np.float32), np.array(self.std, np.float32)
        return {NAME: np.ascontiguousarray((vectors.astype(np.float32) - mean) / std)}


def read_standardisation(path: Path) -> Standardisation:
    """What standardisation.json says.

    Raises:
        ModelError: the file is missing or damaged.
    """
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        mean, std = (tuple(float(value) for value in said[key]) for key in ("mean", "std"))
        if len(mean) != len(std) or not np.isfinite([*mean, *std]).all() or min(std) <= 0:
            raise ValueError("mean and std are finite, of the same length, and std is above 0")
    except (OSError, ValueError, TypeError, KeyError) as fault:
        raise ModelError(f"{path} is no standardisation ({told(fault)}). Write it again.") from None
    return Standardisation(mean, std)
