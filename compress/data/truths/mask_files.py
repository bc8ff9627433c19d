"""Pictures with their masks: PNG files that a table names beside their pictures, and arrays of .npz files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgepress.compress.data.images import checked_images, image_column, npz_arrays
from edgepress.compress.data.rows import Raw
from edgepress.targets.errors import DataError
from edgepress.targets.preprocess.pictures import opened_picture, picture_size

MOST_PIXELS = 1 << 26
"""A mask of more is not decoded."""
BITS_AT = 24
"""Where the head of a PNG says how many bits a pixel has."""


def masked_pictures(pictures: Sequence[Any], masks: Sequence[Any], folder: Path, origin: str) -> Raw:
    """The rows of a table: pictures, decoded when they are asked for, and masks, decoded now.

    Args:
        pictures: paths, bytes, or `datasets`' {bytes, path}.
        masks: likewise, of PNG files.
        folder: what paths are relative to.
        origin: names the table in messages.

    Raises:
        DataError: a file is missing or damaged, or a mask has another size than its picture.
    """
    sizes = image_column(pictures, folder, origin, picture_size)
    files = image_column(masks, folder, origin, decode_mask, "mask")
    found = []
    for row in range(len(files)):
        mask = files[row]
        if mask.shape != (size := sizes[row]):
            raise DataError(
                f"{origin}, row {row + 1}: the picture has {size[1]} x {size[0]} pixels and its mask "
                f"{mask.shape[1]} x {mask.shape[0]}; a mask has a number for each pixel. Mend or remove the row."
            )
        found.append(mask)
    return Raw(origin, found, images=image_column(pictures, folder, origin))


def decode_mask(source: Path | bytes, origin: str) -> np.ndarray:
    """uint8 `[height, width]`: the numbers as they are written, whatever colours a palette gives them.

    Raises:
        DataError: the file is missing, damaged, no PNG, too large, or its pixels are colours or of 16 bits.
    """
    with opened_picture(source, origin, formats=("PNG",)) as image:
        if image.width * image.height > MOST_PIXELS:
            raise DataError(
                f"{origin} has {image.width} x {image.height} pixels; masks of {MOST_PIXELS:,} at most are read."
            )
        if image.mode not in ("1", "L", "P"):
            raise DataError(
                f"{origin}: its pixels are of mode {image.mode}, and a mask has one number of 8 bits a pixel. Save it "
                f"as a grey PNG or one with a palette."
            )
        numbers = np.asarray(image).astype(np.uint8)
        return numbers // (255 // (2**bits - 1)) if image.mode == "L" and (bits := _bits(source)) < 8 else numbers


def _bits(source: Path | bytes) -> int:
    """Bits a pixel of a PNG: grey ones of fewer than 8 are spread over 0..255 when they are decoded."""
    if isinstance(source, bytes):
        return source[BITS_AT]
    with source.open("rb") as file:
        return file.read(BITS_AT + 1)[BITS_AT]


def read_masked_npz(path: Path, split: str) -> Raw:
    """Images and masks, uint8 `[rows, height, width]`, of a split of a .npz file.

    Raises:
        DataError: arrays are missing, of a wrong shape or type, or hold NaN.
    """
    images, masks, name = npz_arrays(path, split)
    images = checked_images(images, str(path), name)
    if masks.shape != images.shape[:3] or masks.dtype.kind not in "iu" or masks.min() < 0 or masks.max() > 255:
        raise DataError(
            f"{path}: the masks of {name} must be whole numbers of 0 to 255, shaped {list(images.shape[:3])} as the "
            f"images are, got {masks.dtype} {list(masks.shape)}. Save one number a pixel."
        )
    return Raw(str(path), list(masks.astype(np.uint8)), images=images)
