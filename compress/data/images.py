"""Images of .npz files, folders, table columns and scikit-learn's digits.

Arrays stay as they are in memory; image files are decoded when they are asked for, one at a time.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np

from edgepress.targets.errors import DataError, told

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
SPLIT_FOLDERS = {"train": ("train", "training"), "validation": ("validation", "valid", "val", "dev"), "test": ("test",)}
SPLIT_ARRAYS = {"train": ("x_train",), "validation": ("x_validation", "x_val"), "test": ("x_test",)}


class LazyImages:
    """A sequence of images `[height, width, channels]`, uint8, decoded on access. `key` identifies one in a digest."""

    def __init__(self, sources: Sequence[Any], read: Callable[[Any], np.ndarray], key: Callable[[Any], bytes]) -> None:
        self._sources = sources
        self._read = read
        self._key = key

    def __len__(self) -> int:
        return len(self._sources)

    def __getitem__(self, index: int) -> np.ndarray:
        return self._read(self._sources[index])

    def key(self, index: int) -> bytes:
        return self._key(self._sources[index])

    def take(self, indices: np.ndarray) -> LazyImages:
        return LazyImages([self._sources[index] for index in indices], self._read, self._key)


Images = np.ndarray | LazyImages


def decode_image(source: Path | bytes, origin: str) -> np.ndarray:
    """uint8 `[height, width, 1 or 3]`; palettes and transparency become RGB.

    Raises:
        DataError: the file is missing or damaged, or Pillow is not installed.
    """
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        raise DataError("Image files are decoded by Pillow, which is not installed. Fix: pip install pillow") from None
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
            array = np.asarray(image.convert("L" if image.mode in ("1", "L") else "RGB"))
    except FileNotFoundError:
        raise DataError(f"{origin} is missing. Image paths are relative to the file that names them.") from None
    except (UnidentifiedImageError, OSError) as fault:
        raise DataError(f"{origin} is no readable image ({told(fault)}). Mend or remove it.") from None
    return array[:, :, None] if array.ndim == 2 else array


def image_files(paths: Sequence[Path]) -> LazyImages:
    """Files on disk, known in a digest by path, size and time of change."""

    def key(path: Path) -> bytes:
        status = path.stat()
        return f"{path.parent.name}/{path.name}:{status.st_size}:{status.st_mtime_ns}".encode()

    return LazyImages(paths, lambda path: decode_image(path, str(path)), key)


def image_column(values: Sequence[Any], folder: Path, origin: str) -> LazyImages:
    """Images of a table's column: paths relative to the table's folder, bytes, or `datasets`' {bytes, path}."""

    def encoded(value: Any) -> Path | bytes:
        if isinstance(value, dict):
            value = value["bytes"] if value.get("bytes") is not None else value.get("path")
        if isinstance(value, bytes):
            return value
        if isinstance(value, str) and value:
            return folder / value
        raise DataError(f"{origin}: the image column must hold paths or encoded images, got {value!r:.60}.")

    def read(value: Any) -> np.ndarray:
        source = encoded(value)
        return decode_image(source, str(source) if isinstance(source, Path) else f"an image of {origin}")

    def key(value: Any) -> bytes:
        source = encoded(value)
        return source if isinstance(source, bytes) else image_files([source]).key(0)

    return LazyImages(values, read, key)


def folder_splits(folder: Path) -> dict[str, Path]:
    """The folders of train, validation and test, where `folder` has them; otherwise `folder` is train."""
    found = {
        split: folder / name for split, names in SPLIT_FOLDERS.items() for name in names if (folder / name).is_dir()
    }
    return found if "train" in found else {"train": folder}


def read_folder(folder: Path) -> tuple[LazyImages, list[str]]:
    """Images of one subfolder a class, and the class name of each, in a fixed order."""
    paths = [
        path
        for child in sorted(folder.iterdir())
        if child.is_dir()
        for path in sorted(child.rglob("*"))
        if path.suffix.lower() in IMAGE_SUFFIXES
    ]
    if not paths:
        kinds = ", ".join(IMAGE_SUFFIXES[:4])
        raise DataError(f"{folder} is empty: it needs one subfolder a class with images ({kinds} ...) in it.")
    return image_files(paths), [path.relative_to(folder).parts[0] for path in paths]


def npz_splits(path: Path) -> dict[str, str]:
    """split → name of its image array."""
    with _open_npz(path) as file:
        return {split: name for split, names in SPLIT_ARRAYS.items() for name in names if name in file}


def read_npz(path: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Images `[rows, height, width, channels]` and labels of a split.

    A file that was named as the split itself may hold the split's arrays, or x_train and y_train.

    Raises:
        DataError: arrays are missing, of a wrong shape or type, or hold NaN.
    """
    with _open_npz(path) as file:
        names = [name for name in (*SPLIT_ARRAYS[split], "x_train") if name in file]
        if not names or names[0].replace("x_", "y_", 1) not in file:
            want = f"{SPLIT_ARRAYS[split][0]} and {SPLIT_ARRAYS[split][0].replace('x_', 'y_', 1)}"
            raise DataError(f"{path} has no arrays {want}; it has {', '.join(file.files) or 'none'}. Rename them.")
        try:
            images, labels = file[names[0]], file[names[0].replace("x_", "y_", 1)]
        except (ValueError, OSError, EOFError, zipfile.BadZipFile) as fault:
            raise DataError(
                f"{path} is damaged, or holds pickled objects, which are not read ({told(fault)})."
            ) from None
    return checked_images(images, str(path), names[0]), checked_labels(labels, len(images), str(path))


def checked_labels(labels: np.ndarray, rows: int, origin: str) -> np.ndarray:
    if labels.ndim != 1 or len(labels) != rows:
        raise DataError(f"{origin}: {rows} images, but labels of shape {list(labels.shape)}. Give one label an image.")
    return labels


def checked_images(images: np.ndarray, origin: str, name: str) -> np.ndarray:
    """`[rows, height, width, channels]`, uint8 or float32, finite."""
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or images.shape[-1] not in (1, 3):
        want = "[rows, height, width] or [rows, height, width, 1 or 3]"
        raise DataError(f"{origin}: {name} has shape {list(images.shape)}, and must have {want}.")
    if len(images) == 0:
        raise DataError(f"{origin} is empty: {name} needs at least one image.")
    if images.dtype == np.uint8:
        return images
    if images.dtype.kind not in "fiu":
        raise DataError(f"{origin}: {name} is of type {images.dtype}, and must be uint8 or float.")
    bad = ~np.isfinite(images.astype(np.float32)).reshape(len(images), -1).all(axis=1)
    if bad.any():
        row = int(bad.argmax()) + 1
        raise DataError(f"{origin}: {name} has NaN or infinite pixels, first in row {row}. Mend or remove the row.")
    return images.astype(np.float32)


def read_digits() -> tuple[np.ndarray, np.ndarray]:
    """scikit-learn's 1,797 handwritten digits, 8 x 8, their 17 grey levels spread over 0..255."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)[..., None]
    return images, cast(np.ndarray, digits.target)


@contextmanager
def _open_npz(path: Path) -> Iterator[Any]:
    """The arrays of a .npz file; each is checked against its CRC when it is read."""
    with path.open("rb") as stream:
        try:
            file = np.load(stream, allow_pickle=False)
        except (ValueError, OSError, EOFError, zipfile.BadZipFile) as fault:
            raise DataError(f"{path} is no .npz file ({told(fault)}). Fetch or write it again.") from None
        if not hasattr(file, "files"):
            raise DataError(f"{path} is a single array. Save x_train and y_train with numpy.savez.")
        with file:
            yield file
