"""Images of 1 or 3 channels in; one class out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from edgepress.compress.data.images import Images
from edgepress.compress.data.splits import Rows
from edgepress.compress.model.loading import find_file
from edgepress.compress.recipe.recipe import Data
from edgepress.compress.tasks.base import MAX_BATCH, Features, tried
from edgepress.compress.tasks.inputs.image import FILE_NAME, Preprocessing, fit, read_config, read_timm, write_config
from edgepress.targets.errors import DataError, ModelError, told
from edgepress.targets.records import Description, Feeds, Signature, TensorSpec


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


class ImageClassification:
    """Any `AutoModelForImageClassification`, timm's among them where timm is installed."""

    name = "image-classification"
    metrics = ("accuracy", "macro-f1", "balanced-accuracy", "log-loss", "agreement", "kl", "sqnr")

    def load_processor(self, source: str) -> Preprocessing:
        """preprocessor_config.json, or timm's part of config.json; what neither says is fitted later."""
        config = _read_json(find_file(source, "config.json"))
        channels = config.get("num_channels", 3 if config else None)
        if (path := find_file(source, FILE_NAME)) is not None:
            return read_config(_read_json(path), str(path), channels)
        if "pretrained_cfg" in config:
            return read_timm(config["pretrained_cfg"], f"{source}/config.json")
        return Preprocessing(channels=channels)

    def begin_processor(self, config: Mapping[str, Any]) -> Preprocessing:
        channels = config.get("num_channels")
        if channels is not None and channels not in (1, 3):
            raise ModelError(f"teacher.config.num_channels is {channels!r:.60}, and images have 1 or 3.")
        return Preprocessing(channels=channels)

    def fit_processor(self, processor: Any | None, train: Rows, data: Data) -> Preprocessing:
        return fit(processor or Preprocessing(), _images_of(train, self.name), data.image_size)

    def features(self, rows: Rows, processor: Any, data: Data) -> ImageFeatures:
        return ImageFeatures(_images_of(rows, self.name), rows.labels, processor)

    def signature(self, network: nn.Module, processor: Any, data: Data) -> Signature:
        height, width = processor.size
        shape = (processor.channels, height, width)
        inputs = (TensorSpec(name="pixel_values", dtype="float32", shape=("batch", *shape)),)
        takes = {name: getattr(network.config, name, None) for name in ("num_channels", "image_size")}
        told = ", ".join(f"{name} {value}" for name, value in takes.items() if value is not None)
        hint = f"The model's config says {told or 'nothing of its inputs'}; match it in data.image_size or config."
        feeds = {"pixel_values": np.zeros((1, *shape), dtype=np.float32)}
        output = tried(network, inputs, feeds, hint)
        return Signature(inputs=inputs, outputs=(output,), bounds={"batch": (1, MAX_BATCH)})

    def sample_feeds(self, features: Features, batch: int, sequence: int | None) -> Feeds:
        return features.batch(np.resize(np.arange(len(features)), batch))

    def describe(self, processor: Any) -> Description:
        """Mean and deviation in units of raw pixels, 0..255, which is what a device has in its hands."""
        scale, mean, std = processor.rescale, processor.mean, processor.std
        return Description(mean=tuple(value / scale for value in mean), std=tuple(value / scale for value in std))

    def save_processor(self, processor: Any, folder: Path) -> None:
        write_config(processor, folder)


def _images_of(rows: Rows, task: str) -> Images:
    if rows.images is None:
        raise DataError(f"{rows.origin} holds texts, and the task is {task}.")
    return rows.images


def _read_json(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as fault:
        raise ModelError(f"{path} is no JSON mapping ({told(fault)}). Fetch or save the model again.") from None
