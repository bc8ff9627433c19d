"""Images of .npz files, folders, table columns and scikit-learn's digits.

Arrays stay as they are in memory; image files are decoded when they are asked for, one at a time.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np

from edgepress.targets.errors import DataError, told
from edgepress.targets.preprocess.pictures import decode_image

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


def image_files(paths: Sequence[Path], decode: Callable[[Any, str], Any] | None = None) -> LazyImages:
    """Files on disk, known in a digest by path, size and time of change; a link by those of its target.

    Raises:
        DataError: a key is asked of a file that is missing.
    """

    def key(path: Path) -> bytes:
        try:
            status = path.stat()
        except (OSError, ValueError):  # ValueError: a NUL in the name
            raise DataError(
                f"{str(path)!r} is missing. Image paths are relative to the file that names them."
            ) from None
        text = f"{path.parent.name}/{path.name}:{status.st_size}:{status.st_mtime_ns}"
        return text.encode("utf-8", "surrogateescape")  # names of other systems need not be UTF-8

    return LazyImages(paths, lambda path: (decode or decode_image)(path, str(path)), key)


def image_column(
    values: Sequence[Any],
    folder: Path,
    origin: str,
    decode: Callable[[Any, str], Any] | None = None,
    what: str = "image",
) -> LazyImages:
    """Images of a table's column: paths relative to the table's folder, bytes, or `datasets`' {bytes, path}.

    Args:
        values: of the column.
        folder: what paths are relative to.
        origin: names the table in messages.
        decode: one file's path or bytes, and its name in messages → what is read of it; None: `decode_image`.
        what: such a file, for messages.
    """

    def encoded(value: Any) -> Path | bytes:
        if isinstance(value, dict):
            value = value["bytes"] if value.get("bytes") is not None else value.get("path")
        if isinstance(value, bytes):
            return value
        if isinstance(value, str) and value:
            return folder / value
        raise DataError(f"{origin}: the {what} column must hold paths or encoded {what}s, got {value!r:.60}.")

    def read(value: Any) -> np.ndarray:
        source = encoded(value)
        name = str(source) if isinstance(source, Path) else f"an {what} of {origin}"
        return (decode or decode_image)(source, name)

    def key(value: Any) -> bytes:
        source = encoded(value)
        return source if isinstance(source, bytes) else image_files([source]).key(0)

    return LazyImages(values, read, key)


def folder_splits(folder: Path) -> dict[str, Path]:
    """The folders of train, validation and test, where `folder` has them; otherwise `folder` is train."""
    found = {
        split: folder / name for split, names in SPLIT_FOLDERS.items() for name in names if (folder / name).is_dir()
    }
    if "train" not in found:
        return {"train": folder}
    # A class may be called train: then it has pictures in it, and other classes beside it.
    others = set(class_folders(folder)) - set(found.values())
    return {"train": folder} if others and not class_folders(found["train"]) else found


def class_folders(folder: Path) -> list[Path]:
    """The subfolders that are classes, in order."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and not is_hidden(path.name))


def without_pictures(folder: Path) -> str:
    """A warning of class folders in which nothing is read, as those of phones' .heic files."""
    there = {path.relative_to(folder).parts[0] for path in picture_files(folder)}
    lacking = [child.name for child in class_folders(folder) if child.name not in there]
    few = ", ".join(lacking[:3]) + (" ..." if len(lacking) > 3 else "")
    return f"{folder} has no pictures of a known kind in {few}: no class is made of it" if lacking else ""


def read_folder(folder: Path) -> tuple[LazyImages, list[str]]:
    """Images of one subfolder a class, and the class name of each, in a fixed order."""
    paths = picture_files(folder)
    if not paths:
        kinds = ", ".join(IMAGE_SUFFIXES[:4])
        raise DataError(f"{folder} is empty: it needs one subfolder a class with images ({kinds} ...) in it.")
    return image_files(paths), [path.relative_to(folder).parts[0] for path in paths]


def picture_files(folder: Path) -> list[Path]:
    """The image files of one subfolder a class, links followed, in a fixed order."""
    return files_of(folder, IMAGE_SUFFIXES)


def files_of(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """The files with one of `suffixes` of one subfolder a class, links followed, in a fixed order.

    What begins with a dot and `__MACOSX` is no picture of anybody's: editors and archives leave such copies behind.
    """
    paths: list[Path] = []
    for child in class_folders(folder):
        seen: set[str] = set()
        for place, folders, names in os.walk(child, followlinks=True):
            true = os.path.realpath(place)
            # A link to a folder above it would be followed for ever.
            folders[:] = [] if true in seen else [name for name in folders if not is_hidden(name)]
            found = [] if true in seen else [Path(place, name) for name in names if not is_hidden(name)]
            paths.extend(path for path in found if path.suffix.lower() in suffixes and path.is_file())
            seen.add(true)
    return sorted(paths)


def is_hidden(name: str) -> bool:
    """
    >>> is_hidden(".ipynb_checkpoints"), is_hidden("__MACOSX"), is_hidden("cat")
    (True, True, False)
    """
    return name.startswith(".") or name == "__MACOSX"


def npz_splits(path: Path) -> dict[str, str]:
    """split → name of its image array."""
    with _open_npz(path) as file:
        return {split: name for split, names in SPLIT_ARRAYS.items() for name in names if name in file.files}


def npz_digest(path: Path, only: str = "", without: str = "") -> str:
    """Hex sha256 of the arrays of one split, or of all that are not of one.

    Raises:
        DataError: the file is damaged.
    """

    def of(split: str) -> set[str]:
        return {each for name in SPLIT_ARRAYS.get(split, ()) for each in (name, name.replace("x_", "y_", 1))}

    digest = hashlib.sha256()
    with _npz_faults(path), zipfile.ZipFile(path) as file:
        for entry in sorted(file.infolist(), key=lambda entry: entry.filename):
            name = entry.filename.removesuffix(".npy")
            if (only and name not in of(only)) or name in of(without):
                continue
            digest.update(f"{entry.filename} {entry.file_size} ".encode())
            with file.open(entry) as stream:
                while block := stream.read(1 << 20):
                    digest.update(block)
    return digest.hexdigest()


def read_npz(path: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Images `[rows, height, width, channels]` and labels of a split.

    A file that was named as the split itself may hold the split's arrays, or x_train and y_train.

    Raises:
        DataError: arrays are missing, of a wrong shape or type, or hold NaN.
    """
    images, labels, name = npz_arrays(path, split)
    return checked_images(images, str(path), name), checked_labels(labels, len(images), str(path))


def npz_arrays(path: Path, split: str) -> tuple[np.ndarray, np.ndarray, str]:
    """The arrays of inputs and of labels of a split, and the name of the first.

    Raises:
        DataError: one of them is missing or damaged.
    """
    with _open_npz(path) as file:
        names = [name for name in (*SPLIT_ARRAYS[split], "x_train") if name in file.files]
        if not names or names[0].replace("x_", "y_", 1) not in file.files:
            want = f"{SPLIT_ARRAYS[split][0]} and {SPLIT_ARRAYS[split][0].replace('x_', 'y_', 1)}"
            raise DataError(f"{path} has no arrays {want}; it has {', '.join(file.files) or 'none'}. Rename them.")
        with _npz_faults(path):
            images, labels = file[names[0]], file[names[0].replace("x_", "y_", 1)]
        if not isinstance(images, np.ndarray) or not isinstance(labels, np.ndarray):
            raise DataError(f"{path}: {names[0]} or its labels are no array. Save them with numpy.savez.")
    return images, labels, names[0]


def checked_labels(labels: np.ndarray, rows: int, origin: str) -> np.ndarray:
    if labels.ndim != 1 or len(labels) != rows:
        raise DataError(f"{origin}: {rows} images, but labels of shape {list(labels.shape)}. Give one label an image.")
    return labels


def checked_images(images: np.ndarray, origin: str, name: str) -> np.ndarray:
    """`[rows, height, width, channels]`, uint8 or float32, finite, in units of 0..255.

    16-bit integers are divided by 257, as those of image files are; floats between 0 and 1 are multiplied by 255.
    """
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or images.shape[-1] not in (1, 3):
        want = "[rows, height, width] or [rows, height, width, 1 or 3]"
        raise DataError(f"{origin}: {name} has shape {list(images.shape)}, and must have {want}.")
    if len(images) == 0:
        raise DataError(f"{origin} is empty: {name} needs at least one image.")
    if images.dtype == np.uint8:
        return images
    if images.dtype.kind not in "fiu" or images.dtype.itemsize > 8:
        raise DataError(f"{origin}: {name} is of type {images.dtype}, and must be uint8 or float.")
    bad = ~np.isfinite(images.astype(np.float32)).reshape(len(images), -1).all(axis=1)
    if bad.any():
        row = int(bad.argmax()) + 1
        raise DataError(f"{origin}: {name} has NaN or infinite pixels, first in row {row}. Mend or remove the row.")
    return _as_bytes_count(images, origin, name)


def _as_bytes_count(images: np.ndarray, origin: str, name: str) -> np.ndarray:
    low, high = float(images.min()), float(images.max())
    if images.dtype.kind == "f":
        unit = low >= 0 and high <= 1
        return images.astype(np.float32) * np.float32(255 if unit else 1)
    if low >= 0 and high <= 255:
        return images.astype(np.float32)
    if images.dtype == np.uint16:
        return images.astype(np.float32) / np.float32(257)
    raise DataError(
        f"{origin}: {name} is of type {images.dtype} with values from {low:.0f} to {high:.0f}, and nothing says "
        f"which of them is white. Save it as uint8, as uint16, or as float between 0 and 1."
    )


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
        with _npz_faults(path):
            file = np.load(stream, allow_pickle=False)
        if not hasattr(file, "files"):
            raise DataError(f"{path} is a single array. Save x_train and y_train with numpy.savez.")
        with file:
            yield file


@contextmanager
def _npz_faults(path: Path) -> Iterator[None]:
    try:
        yield
    except Exception as fault:  # of a damaged file NumPy and zipfile raise what they happen to meet
        raise DataError(
            f"{path} is no .npz file, is damaged, or holds pickled objects, which are not read ({told(fault)}). Fetch "
            f"or write it again."
        ) from None
