"""One encoded picture → uint8 pixels, as every viewer shows them: turned by its tag, 16 bits scaled to 8."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgepress.targets.errors import DataError, told

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

# By content Pillow opens some forty formats, and a data set's file is one of these, whatever its name says.
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
# Formats whose 32-bit grey pixels hold 16-bit values; a 32-bit TIFF's may be anything.
SIXTEEN_BITS = ("PNG", "PPM")
# The tag that says how a picture was held, and from which of its values on height and width change places.
ORIENTATION, LYING = 0x0112, 5


def decode_image(source: Path | bytes, origin: str) -> np.ndarray:
    """uint8 `[height, width, 1 or 3]`, turned as its orientation tag says.

    Grey stays grey, 16-bit grey is divided by 257; palettes, CMYK and the like become RGB, transparency is dropped. Of
    an animation or a file of several pages it is the first picture.

    Raises:
        DataError: the file is missing or damaged, of another format, or its pixels are 32-bit or floating-point numbers
            of which nothing says what is white; or Pillow is not installed.
    """
    with opened_picture(source, origin) as image:
        from PIL import ImageOps

        array = _pixels(ImageOps.exif_transpose(image), image.format or "", origin)
    return array[:, :, None] if array.ndim == 2 else array


def picture_size(source: Path | bytes, origin: str) -> tuple[int, int]:
    """(height, width) of what `decode_image` gives, read from the file's head alone.

    Raises:
        DataError: as `decode_image`, as far as the head tells.
    """
    with opened_picture(source, origin) as image:
        turned = image.getexif().get(ORIENTATION, 1) >= LYING
        return (image.width, image.height) if turned else (image.height, image.width)


@contextmanager
def opened_picture(source: Path | bytes, origin: str, formats: tuple[str, ...] = FORMATS) -> Iterator[Picture]:
    """A picture whose head is read; pixels are decoded when they are asked for.

    Args:
        source: the file, or its bytes.
        origin: names it in messages.
        formats: of Pillow's, which it may be.

    Raises:
        DataError: as `decode_image`, for whatever goes wrong in the block too.
    """
    try:
        from PIL import Image
    except ImportError:
        raise DataError("Image files are decoded by Pillow, which is not installed. Fix: pip install pillow") from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of tags and chunks that do not concern the pixels
            with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=formats) as image:
                yield image
    except DataError:
        raise
    except FileNotFoundError:
        raise DataError(f"{origin} is missing. Image paths are relative to the file that names them.") from None
    except Exception as fault:  # of a damaged file each decoder raises what it happens to meet
        raise DataError(f"{origin} is no readable image ({told(fault)}). Mend or remove it.") from None


def _pixels(image: Picture, kind: str, origin: str) -> np.ndarray:
    if image.mode in ("1", "L"):
        return np.array(image.convert("L"))
    if image.mode in ("LA", "La"):
        return np.array(image.convert("LA"))[..., 0]
    if image.mode.startswith("I;16") or (image.mode == "I" and kind in SIXTEEN_BITS):
        deep: np.ndarray = np.asarray(image).astype(np.float32)
        return np.rint(deep.clip(0, 65535) / 257).astype(np.uint8)
    if image.mode in ("I", "F"):
        what = "32-bit integers" if image.mode == "I" else "floating-point numbers"
        raise DataError(
            f"{origin}: its pixels are {what} (mode {image.mode}), and nothing says which of them is white. Save it "
            f"with 8 or 16 bits a pixel."
        )
    if image.mode in ("P", "PA") and "transparency" in image.info:
        image = image.convert("RGBA")
    return np.array(image.convert("RGB"))
