"""Pillow's resampling in NumPy, up to rounding: each pixel that comes out is a weighted sum of a window of those that
go in, first along the height, then along the width."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Filter = Callable[[np.ndarray], np.ndarray]


def _triangle(x: np.ndarray) -> np.ndarray:
    weight: np.ndarray = np.maximum(0.0, 1.0 - np.abs(x))
    return weight


def _cubic(x: np.ndarray) -> np.ndarray:
    """Keys' cubic convolution with a = -1/2, which is Pillow's."""
    x = np.abs(x)
    near = (1.5 * x - 2.5) * x * x + 1.0
    far = ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    return np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))


# By Pillow's numbers: how far a filter reaches and its shape; None takes the nearest pixel.
FILTERS: dict[int, tuple[float, Filter] | None] = {0: None, 2: (1.0, _triangle), 3: (2.0, _cubic)}


def resized(pixels: np.ndarray, size: tuple[int, int], resample: int) -> np.ndarray:
    """Images `[..., height, width]`, float32, in another size.

    Args:
        pixels: the images.
        size: (height, width) of what comes out.
        resample: Pillow's number of the filter: 0 nearest, 2 bilinear, 3 bicubic. A smaller image gets wider filters,
            which keeps fine patterns from becoming coarse ones.

    >>> resized(np.array([[0.0, 7.0, 14.0, 0.0]], np.float32), (1, 2), 2).round(4).tolist()
    [[5.0, 7.0]]
    """
    tall = _along_height(pixels, size[0], resample)
    # Whole rows are gathered quickly, single columns slowly: the width becomes the height.
    return np.ascontiguousarray(_along_height(tall.swapaxes(-1, -2), size[1], resample).swapaxes(-1, -2))


def _along_height(pixels: np.ndarray, length: int, resample: int) -> np.ndarray:
    before = pixels.shape[-2]
    if before == length:
        return pixels
    if (kind := FILTERS[resample]) is None:
        nearest = ((np.arange(length) + 0.5) * (before / length)).astype(np.int64)
        return pixels[..., np.minimum(nearest, before - 1), :]
    pixels = np.ascontiguousarray(pixels)
    total = np.zeros((*pixels.shape[:-2], length, pixels.shape[-1]), np.float32)
    for tap, weight in zip(*_windows(before, length, *kind), strict=True):
        total += pixels.take(tap, -2) * weight[:, None]
    return total


def _windows(before: int, after: int, reach: float, shape: Filter) -> tuple[np.ndarray, np.ndarray]:
    """Which pixels make up each pixel that comes out, int64 `[taps, after]`, and their weights, float32 alike."""
    scale = before / after
    wide = max(scale, 1.0)
    centers = (np.arange(after) + 0.5) * scale
    first = np.maximum((centers - reach * wide + 0.5).astype(np.int64), 0)
    end = np.minimum((centers + reach * wide + 0.5).astype(np.int64), before)
    taps = first + np.arange(int((end - first).max()))[:, None]
    weights = np.where(taps < end, shape((taps - centers + 0.5) / wide), 0.0)
    return np.minimum(taps, before - 1), (weights / weights.sum(0)).astype(np.float32)
