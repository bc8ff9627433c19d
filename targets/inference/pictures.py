"""Pictures as users have them → what a network of images takes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgepress.targets.errors import DataError
from edgepress.targets.preprocess.pictures import decode_image
from edgepress.targets.preprocess.pixels import Preprocessing
from edgepress.targets.records import Feeds


class Pictures:
    """A row is a path, the bytes of a picture, or pixels uint8 `[height, width, channels]`."""

    content = "a picture: a path, its bytes, or pixels uint8 [height, width, channels]"

    def __init__(self, preprocessing: Preprocessing, name: str) -> None:
        self.preprocessing, self._name = preprocessing, name

    def feeds(self, rows: Sequence[Any]) -> Feeds:
        """float32 `[batch, channels, height, width]`."""
        return self.feeds_of([self.pixels(row) for row in rows])

    def feeds_of(self, pictures: Sequence[np.ndarray]) -> Feeds:
        """The same of decoded pictures, uint8 `[height, width, channels]` each."""
        made = [self.preprocessing.apply(picture[None], np.arange(1)) for picture in pictures]
        return {self._name: np.concatenate(made)}

    def pixels(self, row: Any) -> np.ndarray:
        """One picture, uint8 `[height, width, channels]`. Raises DataError where it is none."""
        if isinstance(row, str | os.PathLike):
            return decode_image(Path(row), str(row))
        if isinstance(row, bytes):
            return decode_image(row, "this picture")
        pixels = np.asarray(row)
        pixels = pixels[..., None] if pixels.ndim == 2 else pixels
        if pixels.ndim != 3 or pixels.shape[-1] not in (1, 3) or pixels.dtype != np.uint8:
            raise DataError(f"{self.content} is asked for, got {pixels.dtype} {list(pixels.shape)}.")
        return pixels
