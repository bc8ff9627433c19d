"""Raw images → `pixel_values`: resize, crop, scale and normalise with NumPy alone, so that a device can do the same."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from edgepress.compress.data.images import Images
from edgepress.compress.tasks.inputs.resize import resized
from edgepress.targets.errors import DataError

LUMINANCE = (0.299, 0.587, 0.114)
FIT_ROWS = 4096
"""Images that mean and standard deviation are computed from, at most; evenly spaced."""


@dataclass(frozen=True)
class Preprocessing:
    """One image's way into a model. `resize` is an exact (height, width) or the length of the shortest edge.

    A pixel becomes `(pixel * rescale - mean) / std`, channel by channel. `size` and `mean` are None until fitted.
    """

    channels: int | None = None
    resize: tuple[int, int] | int | None = None
    crop: tuple[int, int] | None = None
    resample: int = 2
    rescale: float | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    flip: bool = False
    saved: str | None = None

    @property
    def size(self) -> tuple[int, int] | None:
        """(height, width) of what comes out."""
        return self.crop or (self.resize if isinstance(self.resize, tuple) else None)

    def apply(self, images: Images, indices: np.ndarray) -> np.ndarray:
        """float32 `[batch, channels, height, width]`."""
        if isinstance(images, np.ndarray):
            return self._apply(images[indices])
        return np.concatenate([self._apply(images[int(index)][None]) for index in indices])

    def _apply(self, batch: np.ndarray) -> np.ndarray:
        """`batch` is `[batch, height, width, channels]` of one size."""
        if self.rescale is None or self.mean is None or self.std is None or self.size is None:
            raise ValueError("this pre-processing is not fitted: call fit_processor first")
        is_bytes = batch.dtype == np.uint8
        pixels = batch.transpose(0, 3, 1, 2).astype(np.float32)
        pixels = self._crop(self._resize(_with_channels(pixels, self.channels, is_bytes), is_bytes))
        pixels = pixels[:, ::-1] if self.flip else pixels
        mean, std = (np.array(values, np.float32).reshape(-1, 1, 1) for values in (self.mean, self.std))
        return np.ascontiguousarray((pixels * self.rescale - mean) / std)

    def _resize(self, pixels: np.ndarray, is_bytes: bool) -> np.ndarray:
        height, width = pixels.shape[-2:]
        if isinstance(self.resize, int):
            # As Pillow-based processors do: the longer edge is cut to whole pixels.
            short = min(height, width)
            size = (int(self.resize * height / short), int(self.resize * width / short))
        else:
            size = self.resize or (height, width)
        if size == (height, width):
            return pixels
        smooth = resized(pixels, size, self.resample)
        return smooth.round().clip(0, 255) if is_bytes else smooth

    def _crop(self, pixels: np.ndarray) -> np.ndarray:
        if self.crop is None:
            return pixels
        height, width = self.crop
        top, left = (pixels.shape[-2] - height) // 2, (pixels.shape[-1] - width) // 2
        return pixels[..., top : top + height, left : left + width]


def _with_channels(pixels: np.ndarray, channels: int | None, is_bytes: bool) -> np.ndarray:
    if channels is None or pixels.shape[1] == channels:
        return pixels
    if channels == 3:
        return pixels.repeat(3, 1)
    grey = np.tensordot(pixels, np.array(LUMINANCE, np.float32), (1, 0))[:, None]
    return grey.round() if is_bytes else grey


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
