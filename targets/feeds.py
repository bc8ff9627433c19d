"""Batches on their way into a process of its own: one .npz each, numbers only."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from targets.base import Feeds


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
