"""Batches on their way into a process of its own, one .npz each, numbers only; and into programs of few shapes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from edgepress.targets.records import Feeds, Signature


def save_feeds(batches: Iterable[Feeds], folder: Path) -> list[str]:
    """Write each batch into `folder` (made where it is missing); their paths, in order."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, feeds in enumerate(batches):
        paths.append(str(folder / f"{number:06}.npz"))
        np.savez(paths[-1], **feeds)  # type: ignore[arg-type]
    return paths


def load_feeds(path: str) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def rounded_up(feeds: Feeds, signature: Signature, batch: int) -> dict[str, np.ndarray]:
    """The same answers from fewer shapes: a stand-in compiles a program for each, and masked positions and other rows
    change none of the answers.

    Args:
        feeds: {input: array} of at most `batch` rows.
        signature: of the model; its bounds are kept.
        batch: rows of what is returned: the last one is repeated.

    Returns:
        The feeds, their sequences padded with zeros to a multiple of 32 where there is an attention mask.
    """
    arrays = {}
    for spec in signature.inputs:
        value = feeds[spec.name]
        rows = min(batch, signature.bounds.get("batch", (1, batch))[1])
        value = np.pad(value, [(0, max(0, rows - len(value)))] + [(0, 0)] * (value.ndim - 1), mode="edge")
        if "attention_mask" in feeds and "sequence" in spec.shape:
            axis = spec.shape.index("sequence")
            longer = min(-(-value.shape[axis] // 32) * 32, signature.bounds["sequence"][1])
            grown = [(0, longer - size if place == axis else 0) for place, size in enumerate(value.shape)]
            value = np.pad(value, grown)
        arrays[spec.name] = value
    return arrays
