"""Images of 1 or 3 channels → pixels, as the file beside a model says, or as the training rows suggest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgepress.benchmarks.desk import Rows as InputRows
from edgepress.compress.data.images import Images, image_column
from edgepress.compress.data.rows import Kind, Raw, Rows, label_values
from edgepress.compress.model.hub import find_file
from edgepress.compress.recipe.data import Columns, Data
from edgepress.compress.tasks.inputs.columns import Column, first_named, most
from edgepress.compress.tasks.inputs.pixel_fit import fit
from edgepress.compress.tasks.trial import MAX_BATCH, Trial
from edgepress.targets.errors import ModelError, told
from edgepress.targets.preprocess.image_config import FILE_NAME, read_config, read_timm, write_config
from edgepress.targets.preprocess.pixels import Preprocessing
from edgepress.targets.records import Description, Feeds, TensorSpec

if TYPE_CHECKING:
    from torch import nn

IMAGES = ("image", "img", "picture", "file", "file_name", "path")


class ImageFeatures:
    """Raw images, pre-processed a batch at a time: float copies of all of them would not fit into memory."""

    lengths: np.ndarray | None = None

    def __init__(self, images: Images, labels: np.ndarray, preprocessing: Preprocessing) -> None:
        self.labels = labels
        self._images = images
        self._preprocessing = preprocessing
        self.digest = self._digest()

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices: Sequence[int] | np.ndarray, length: int | None = None) -> dict[str, np.ndarray]:
        """`pixel_values`, float32 `[batch, channels, height, width]`; images have no `length`."""
        return {"pixel_values": self._preprocessing.apply(self._images, np.asarray(indices))}

    def _digest(self) -> str:
        digest = hashlib.sha256(json.dumps(astuple(self._preprocessing)).encode())
        digest.update(np.ascontiguousarray(self.labels).tobytes())
        if isinstance(self._images, np.ndarray):
            digest.update(str(self._images.shape).encode() + np.ascontiguousarray(self._images).tobytes())
        else:
            for index in range(len(self._images)):
                digest.update(hashlib.sha256(self._images.key(index)).digest())
        return digest.hexdigest()


@dataclass(frozen=True)
class ImageInputs:
    """`pixel_values`, float32 `[batch, channels, height, width]`, for any transformers or timm model of images."""

    content: str = "images"
    kinds: frozenset[Kind] = frozenset({"digits", "npz", "folder", "table", "hub"})
    sequences: bool = False
    needs_tokenizer: bool = False
    example: str = "builtin:digits"
    usual_names: tuple[str, ...] = IMAGES

    def columns(self, names: Columns) -> list[str]:
        """The image's column."""
        return [names.image]

    def read(self, table: Mapping[str, Sequence[Any]], names: Columns, folder: Path, origin: str) -> Raw:
        """Paths or encoded images of a table's column, decoded when asked for.

        Args:
            table: the columns.
            names: which one is which.
            folder: what paths are relative to.
            origin: names the table in messages.
        """
        return Raw(origin, label_values(table, names), images=image_column(table[names.image], folder, origin))

    def load_processor(self, source: str, network: str) -> Preprocessing:
        """preprocessor_config.json, or timm's part of config.json; what neither says is fitted later.

        Args:
            source: a folder or hub id.
            network: the transformers class that reads the model.

        Raises:
            ModelError: a file asks for what is not known here.
        """
        config = _read_json(find_file(source, "config.json"))
        channels = config.get("num_channels", 3 if config else None)
        if (path := find_file(source, FILE_NAME)) is not None:
            return read_config(_read_json(path), str(path), channels)
        if "pretrained_cfg" in config:
            return read_timm(config["pretrained_cfg"], f"{source}/config.json")
        return Preprocessing(channels=channels)

    def begin_processor(self, config: Mapping[str, Any]) -> Preprocessing:
        """Channels by `num_channels`; the rest is fitted later.

        Args:
            config: of a teacher that is trained in the run.

        Raises:
            ModelError: it takes neither 1 channel nor 3.
        """
        channels = config.get("num_channels")
        if channels is not None and channels not in (1, 3):
            raise ModelError(f"teacher.config.num_channels is {channels!r:.60}, and images have 1 or 3.")
        return Preprocessing(channels=channels)

    def fit_processor(self, processor: Any | None, train: Rows, data: Data) -> Preprocessing:
        """Size, mean and deviation of the training images, where the model's folder says none.

        Args:
            processor: of the model's folder; None where there is none.
            train: the training images.
            data: its `image_size` goes before the folder's.

        Raises:
            DataError: the images are of various sizes and no size is given, or are all of one colour.
        """
        return fit(processor or Preprocessing(), _images(train), data.image_size)

    def features(self, rows: Rows, processor: Any, data: Data) -> ImageFeatures:
        """The rows' raw images, and how they are prepared."""
        return ImageFeatures(_images(rows), rows.labels, processor)

    def apply(self, raw: Images, processor: Any, data: Data) -> Feeds:
        """`pixel_values` of one batch of images, float32 `[batch, channels, height, width]`.

        Args:
            raw: uint8 `[batch, height, width, channels]`, or images that are decoded when asked for.
            processor: a fitted one.
            data: the recipe's section; nothing of it matters to images.
        """
        return {"pixel_values": processor.apply(raw, np.arange(len(raw)))}

    def trial(self, network: nn.Module, processor: Any, data: Data) -> Trial:
        """One black image of the size that comes out of the pre-processing."""
        height, width = processor.size
        shape = (processor.channels, height, width)
        inputs = (TensorSpec(name="pixel_values", dtype="float32", shape=("batch", *shape)),)
        takes = {name: getattr(network.config, name, None) for name in ("num_channels", "image_size")}
        said = ", ".join(f"{name} {value}" for name, value in takes.items() if value is not None)
        hint = f"The model's config says {said or 'nothing of its inputs'}; match it in data.image_size or config."
        feeds = {"pixel_values": np.zeros((1, *shape), dtype=np.float32)}
        return Trial(inputs, {"batch": (1, MAX_BATCH)}, feeds, hint)

    def sample_feeds(self, features: InputRows, batch: int, sequence: int | None) -> Feeds:
        """The first rows, again from the start where they are too few; images have no `sequence`."""
        return features.batch(np.resize(np.arange(len(features)), batch))

    def describe(self, processor: Any) -> Description:
        """Mean and deviation in units of raw pixels, 0..255, which is what a device has in its hands."""
        scale, mean, std = processor.rescale, processor.mean, processor.std
        return Description(mean=tuple(value / scale for value in mean), std=tuple(value / scale for value in std))

    def save_processor(self, processor: Any, folder: Path) -> None:
        """preprocessor_config.json."""
        write_config(processor, folder)

    def guess_columns(self, columns: Mapping[str, Column]) -> dict[str, str] | None:
        """`image`: a column whose name says so, or the one with most images and names of image files."""
        return {"image": first_named(columns, IMAGES) or most(columns, Column.pictures)} if columns else None

    def python_feeds(self, specs: Sequence[TensorSpec]) -> tuple[str, str]:
        """One image of zeros; preprocessor_config.json beside the model says what becomes of pixels."""
        shape = ", ".join("1" if isinstance(size, str) else str(size) for size in specs[0].shape)
        zeros = f'{{"{specs[0].name}": np.zeros(({shape}), np.{specs[0].dtype})}}'
        return "numpy as np", f"{zeros}  # an image, by preprocessor_config.json"


def _images(rows: Rows) -> Images:
    assert rows.images is not None  # Task hands over rows of its own kind
    return rows.images


def _read_json(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as fault:
        raise ModelError(f"{path} is no JSON mapping ({told(fault)}). Fetch or save the model again.") from None
