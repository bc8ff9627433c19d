"""Token rows of different lengths in an entry of the teacher's outputs, whole when its card is there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgepress.compress.training.teacher_cache import write_card

FILE_NAME = "targets.npz"


def save_ragged(folder: Path, rows: Sequence[np.ndarray]) -> None:
    """Write rows of tokens, int64 `[tokens]` each, and last the card.

    Args:
        folder: the entry, held by who fills it.
        rows: one or more.
    """
    counts = np.array([len(row) for row in rows], np.int64)
    flat = np.concatenate([np.empty(0, np.int64), *rows]).astype(np.int64)
    np.savez(folder / FILE_NAME, tokens=flat, counts=counts)
    write_card(folder, {"rows": len(rows)})


def load_ragged(folder: Path) -> list[np.ndarray]:
    """The rows that `save_ragged` wrote."""
    with np.load(folder / FILE_NAME, allow_pickle=False) as file:
        ends = np.cumsum(file["counts"])
        return np.split(file["tokens"], ends)[: len(ends)]
