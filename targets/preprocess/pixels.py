"""Raw images → `pixel_values`: resize, crop, scale and normalise with NumPy alone, so that a device can do the same."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from edgepress.targets.preprocess.resize import resized

LUMINANCE = (0.299, 0.587, 0.114)


class Pictures(Protocol):
    """Images by their number, uint8 or float `[height, width, channels]` each; an array of all of them is one too."""

    def __getitem__(self, index: int, /) -> np.ndarray: ...


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

    def apply(self, images: Pictures, indices: np.ndarray) -> np.ndarray:
        """float32 `[batch, channels, height, width]`."""
        if isinstance(images, np.ndarray):
            return self._apply(images[indices])
        return np.concatenate([self._apply(images[int(index)][None]) for index in indices])

    def placed(self, numbers: np.ndarray) -> np.ndarray:
        """A number for each pixel of a picture, brought to where the pixels come: resized and cropped as they are, each
        the number of the nearest one, since a mixture of two classes is none.

        Args:
            numbers: of any type, `[height, width]`.
        """
        nearest = replace(self, resample=0)
        found: np.ndarray = nearest._crop(nearest._resize(numbers[None, None], is_bytes=False))[0, 0]
        return found

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
