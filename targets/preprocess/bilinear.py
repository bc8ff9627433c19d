"""Maps in another size, as torch's bilinear interpolation gives them, in NumPy: what a network says of its pixels is
coarser than a picture. It travels in releases: one rule, two places."""

from __future__ import annotations

import numpy as np


def interpolated(maps: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Maps `[..., height, width]` in another size: `torch.nn.functional.interpolate(mode="bilinear",
    align_corners=False)`, up to rounding. Each place lies at its middle; beyond the outer middles nothing changes.

    Args:
        maps: float `[..., height, width]`.
        size: (height, width) of what comes out.

    >>> interpolated(np.array([[0.0, 8.0]], np.float32), (1, 4)).tolist()
    [[0.0, 2.0, 6.0, 8.0]]
    """
    tall = _along_width(maps.swapaxes(-1, -2), size[0]).swapaxes(-1, -2)
    return _along_width(tall, size[1])


def on_one_grid(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both maps on the finer of their grids, `[rows, channels, height, width]`; those of one grid as they are.

    Args:
        one: `[rows, channels, height, width]`.
        other: likewise, of any height and width.

    >>> [values.shape for values in on_one_grid(np.zeros((1, 2, 4, 4)), np.zeros((1, 2, 8, 8)))]
    [(1, 2, 8, 8), (1, 2, 8, 8)]
    """
    size = (max(one.shape[2], other.shape[2]), max(one.shape[3], other.shape[3]))
    return interpolated(one, size), interpolated(other, size)


def _along_width(maps: np.ndarray, length: int) -> np.ndarray:
    before = maps.shape[-1]
    if before == length:
        return maps
    places = np.maximum((np.arange(length) + 0.5) * (before / length) - 0.5, 0.0)
    first = places.astype(np.int64)
    share = (places - first).astype(maps.dtype)
    mixed: np.ndarray = maps[..., first] * (1 - share) + maps[..., np.minimum(first + 1, before - 1)] * share
    return mixed
