"""Pictures for a model that gives each pixel a class: pictures in, masks out."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from edgepress.targets.inference.answers import Answer
from edgepress.targets.inference.pictures import Pictures
from edgepress.targets.preprocess.bilinear import interpolated
from edgepress.targets.records import Feeds


class MaskedPictures(Pictures):
    """A row is a picture; its answer is a mask of its size."""

    def read(self, rows: Sequence[Any]) -> tuple[Feeds, list[tuple[int, int]]]:
        """Feeds, and (height, width) of each row's mask: those of the picture, or of what is cropped out of it.

        Args:
            rows: pictures.
        """
        pictures = [self.pixels(row) for row in rows]
        made = self.preprocessing
        whole = isinstance(made.resize, tuple) and made.crop is None
        sizes = [picture.shape[:2] if whole or made.size is None else made.size for picture in pictures]
        return self.feeds_of(pictures), [(int(height), int(width)) for height, width in sizes]


def mask_answer(logits: np.ndarray, size: tuple[int, int], names: Sequence[str]) -> Answer:
    """The class of each pixel, and which classes there are, the largest area first.

    Args:
        logits: `[classes, height, width]`.
        size: (height, width) of the mask.
        names: of the classes.

    >>> mask_answer(np.array([[[0.0, 2.0, 2.0]], [[1.0, 0.0, 0.0]]]), (1, 3), ("sky", "sea")).labels
    ('sky', 'sea')
    """
    mask = interpolated(logits, size).argmax(0).astype(np.uint8 if len(names) <= 256 else np.uint16)
    areas = np.bincount(mask.ravel(), minlength=len(names))
    order = [int(number) for number in np.argsort(-areas, kind="stable") if areas[number]]
    shares = {names[number]: float(areas[number] / mask.size) for number in order}
    return Answer(tuple(names[number] for number in order), shares, mask=mask)


def png_of(mask: np.ndarray) -> str:
    """A mask as a grey PNG of its class numbers, in base64.

    Args:
        mask: uint8 or uint16 `[height, width]`.
    """
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(mask).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode("ascii")
