"""What a pre-processing leaves open, taken from the training images: size, scale, mean and deviation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgepress.compress.data.images import Images
from edgepress.targets.errors import DataError
from edgepress.targets.preprocess.pixels import Preprocessing

FIT_ROWS = 4096
"""Images that mean and standard deviation are computed from, at most; evenly spaced."""


def fit(start: Preprocessing, images: Images, image_size: int | None) -> Preprocessing:
    """What `start` leaves open, from the recipe's `image_size` and the training images.

    Raises:
        DataError: the images are of various sizes and no size is given, or are all of one colour.
    """
    first = images[0]
    fitted = replace(start, channels=start.channels or int(first.shape[-1]))
    if image_size is not None:
        fitted = replace(fitted, resize=(image_size, image_size), crop=None, saved=None)
    elif fitted.size is None:
        fitted = replace(fitted, resize=_common_size(images))
    if fitted.rescale is None:
        # Floats up to 1 are scaled already.
        unit = isinstance(images, np.ndarray) and images.dtype != np.uint8 and float(images.max()) <= 1
        fitted = replace(fitted, rescale=1.0 if unit else 1 / 255)
    if fitted.mean is None or fitted.std is None:
        mean, std = _moments(fitted, images)
        fitted = replace(fitted, mean=mean, std=std)
    return fitted


def _common_size(images: Images) -> tuple[int, int]:
    if isinstance(images, np.ndarray):
        return int(images.shape[1]), int(images.shape[2])
    sizes = {images[int(index)].shape[:2] for index in _spread(len(images), 64)}
    if len(sizes) > 1:
        few = ", ".join(f"{height} x {width}" for height, width in sorted(sizes)[:3])
        raise DataError(f"the images have various sizes ({few} ...). Set data.image_size in the recipe.")
    height, width = sizes.pop()
    return int(height), int(width)


def _spread(rows: int, count: int) -> np.ndarray:
    return np.linspace(0, rows - 1, min(rows, count)).astype(np.int64)


def _moments(fitted: Preprocessing, images: Images) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel, after scaling."""
    count = fitted.channels or 1
    plain = replace(fitted, mean=(0.0,) * count, std=(1.0,) * count)
    total, squares, pixels = np.zeros(count), np.zeros(count), 0
    for rows in np.array_split(_spread(len(images), FIT_ROWS), -(-min(len(images), FIT_ROWS) // 256)):
        values = plain.apply(images, rows).astype(np.float64)
        total += values.sum((0, 2, 3))
        squares += (values**2).sum((0, 2, 3))
        pixels += values[:, 0].size
    mean = total / pixels
    std = np.sqrt(np.maximum(squares / pixels - mean**2, 0))
    still = std < 1e-6
    if still.all():
        raise DataError("the training images are all of one colour: nothing can be learned from them.")
    # A channel that is always the same is left at 0; microscopes and satellites have unused ones.
    std[still] = 1
    return tuple(np.round(mean, 6).tolist()), tuple(np.round(std, 6).tolist())
