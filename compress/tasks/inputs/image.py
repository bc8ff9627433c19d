"""Raw images → `pixel_values`: resize, crop, scale and normalise as preprocessor_config.json says, without torchvision.

torch's anti-aliased interpolation is Pillow's up to rounding, so a model sees the pixels that it was trained on.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from edgepress.compress.data.images import Images
from edgepress.compress.tasks.inputs.image_settings import height_width, unusable
from edgepress.targets.errors import DataError, ModelError

FILE_NAME = "preprocessor_config.json"
# Pillow's numbers of its filters (nearest, bilinear, bicubic) and torch's names.
FILTERS = {0: "nearest-exact", 2: "bilinear", 3: "bicubic"}
TIMM_FILTERS = {"nearest": 0, "bilinear": 2, "bicubic": 3}
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
        pixels = torch.from_numpy(np.ascontiguousarray(batch)).permute(0, 3, 1, 2).float()
        pixels = self._crop(self._resize(_with_channels(pixels, self.channels, is_bytes), is_bytes))
        pixels = pixels.flip(1) if self.flip else pixels
        mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (self.mean, self.std))
        array: np.ndarray = ((pixels * self.rescale - mean) / std).contiguous().numpy()
        return array

    def _resize(self, pixels: torch.Tensor, is_bytes: bool) -> torch.Tensor:
        height, width = pixels.shape[-2:]
        if isinstance(self.resize, int):
            # As Pillow-based processors do: the longer edge is cut to whole pixels.
            short = min(height, width)
            size = (int(self.resize * height / short), int(self.resize * width / short))
        else:
            size = self.resize or (height, width)
        if size == (height, width):
            return pixels
        smooth = {} if self.resample == 0 else {"antialias": True, "align_corners": False}
        resized = F.interpolate(pixels, size, mode=FILTERS[self.resample], **smooth)
        return resized.round().clamp(0, 255) if is_bytes else resized

    def _crop(self, pixels: torch.Tensor) -> torch.Tensor:
        if self.crop is None:
            return pixels
        height, width = self.crop
        top, left = (pixels.shape[-2] - height) // 2, (pixels.shape[-1] - width) // 2
        return pixels[..., top : top + height, left : left + width]


def _with_channels(pixels: torch.Tensor, channels: int | None, is_bytes: bool) -> torch.Tensor:
    if channels is None or pixels.shape[1] == channels:
        return pixels
    if channels == 3:
        return pixels.expand(-1, 3, -1, -1)
    grey = (pixels * torch.tensor(LUMINANCE).view(1, 3, 1, 1)).sum(1, keepdim=True)
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


def read_config(settings: Mapping[str, Any], origin: str, channels: int | None) -> Preprocessing:
    """What a preprocessor_config.json says.

    Raises:
        ModelError: a setting is missing or not known, since other pixels than the model's own are worth nothing.
    """
    try:
        return checked(_read_config(settings, origin, channels), origin)
    except (TypeError, ValueError, KeyError, AttributeError, OverflowError) as fault:
        raise unusable(origin, fault) from None


def _read_config(settings: Mapping[str, Any], origin: str, channels: int | None) -> Preprocessing:
    _refuse_unknown(settings, origin)
    resize, crop = _sizes(settings, origin)
    resample = int(_needed(settings, "resample", origin)) if resize is not None else 2
    if resample not in FILTERS:
        raise ModelError(f"{origin}: resample {resample} is not supported; {', '.join(map(str, FILTERS))} are.")
    rescale = float(settings.get("rescale_factor", 1 / 255)) if settings.get("do_rescale", True) else 1.0
    mean, std = (0.0,) * (channels or 3), (1.0,) * (channels or 3)
    if settings.get("do_normalize", "image_mean" in settings):
        mean = _per_channel(_needed(settings, "image_mean", origin), channels)
        std = _per_channel(_needed(settings, "image_std", origin), channels)
    if settings.get("rescale_offset"):
        mean = tuple(value + 1 for value in mean)
    if settings.get("include_top"):
        std = tuple(value**2 for value in std)
    flip = bool(settings.get("do_flip_channel_order"))
    return Preprocessing(channels, resize, crop, resample, rescale, mean, std, flip, json.dumps(dict(settings)))


def checked(found: Preprocessing, origin: str) -> Preprocessing:
    """Sizes that are none, and numbers that no pixel becomes usable with, are refused."""
    resize = found.resize if isinstance(found.resize, tuple) else (found.resize or 1,)
    if min(*resize, *(found.crop or (1,)), 1) < 1:
        raise ModelError(f"{origin}: sizes must be 1 or more, got size {found.resize} and crop_size {found.crop}.")
    mean, std = found.mean or (), found.std or ()
    if len({len(mean), len(std), found.channels or len(mean)}) != 1:
        raise ModelError(
            f"{origin}: {len(mean)} image_mean and {len(std)} image_std for {found.channels or 3} channels. "
            f"Give one each."
        )
    if not np.isfinite([*mean, *std, found.rescale or 1]).all() or 0 in std:
        raise ModelError(f"{origin}: image_mean and image_std must be finite, and image_std not 0. Mend them.")
    return found


def _refuse_unknown(settings: Mapping[str, Any], origin: str) -> None:
    known = {"do_resize", "do_center_crop", "do_rescale", "do_normalize", "do_convert_rgb", "do_flip_channel_order"}
    for name, value in settings.items():
        if name.startswith("do_") and value and name not in known | {"do_convert_grayscale", "do_reduce_labels"}:
            raise ModelError(f"{origin}: {name} is not supported; {', '.join(sorted(known))} are.")


def _needed(settings: Mapping[str, Any], name: str, origin: str) -> Any:
    if settings.get(name) is None:
        raise ModelError(f"{origin} lacks {name!r}. Save it again with AutoImageProcessor's save_pretrained.")
    return settings[name]


def _per_channel(values: Any, channels: int | None) -> tuple[float, ...]:
    listed = tuple(float(value) for value in (values if isinstance(values, list | tuple) else [values]))
    return listed * (channels or 1) if len(listed) == 1 else listed


def _sizes(settings: Mapping[str, Any], origin: str) -> tuple[tuple[int, int] | int | None, tuple[int, int] | None]:
    crop = None
    if settings.get("do_center_crop"):
        crop = height_width(_needed(settings, "crop_size", origin), "crop_size", origin)
    if not settings.get("do_resize", "size" in settings):
        return None, crop
    size = _needed(settings, "size", origin)
    if isinstance(size, int) and settings.get("crop_pct"):
        size = {"shortest_edge": size}
    if not isinstance(size, dict) or "shortest_edge" not in size or "height" in size:
        return height_width(size, "size", origin, ", or shortest_edge,"), crop
    edge = int(size["shortest_edge"])
    if settings.get("crop_pct") and crop is None:
        # ConvNext's rule: small images are resized larger and cropped, from 384 on they are warped.
        return ((edge, edge), None) if edge >= 384 else (int(edge / settings["crop_pct"]), (edge, edge))
    if crop is None or max(crop) > edge:
        raise ModelError(
            f"{origin}: size {dict(size)} and crop {crop} give images of various sizes. Set data.image_size."
        )
    return edge, crop


def read_timm(settings: Mapping[str, Any], origin: str) -> Preprocessing:
    """The evaluation transform of timm's `pretrained_cfg` (config.json of a timm model).

    Raises:
        ModelError: a setting is missing or not known.
    """
    try:
        return checked(_read_timm(settings, origin), origin)
    except (TypeError, ValueError, KeyError, AttributeError, OverflowError, ZeroDivisionError) as fault:
        raise unusable(origin, fault) from None


def _read_timm(settings: Mapping[str, Any], origin: str) -> Preprocessing:
    channels, height, width = (int(value) for value in settings["input_size"])
    name = settings.get("interpolation", "bicubic")
    if name not in TIMM_FILTERS:
        raise ModelError(f"{origin}: interpolation {name!r} is not supported; {', '.join(TIMM_FILTERS)} are.")
    edge = int(min(height, width) / float(settings.get("crop_pct", 0.875)))
    mean, std = (tuple(float(value) for value in settings[key]) for key in ("mean", "std"))
    return Preprocessing(channels, edge, (height, width), TIMM_FILTERS[name], 1 / 255, mean, std)


def write_config(preprocessing: Preprocessing, folder: Path) -> None:
    """preprocessor_config.json: the teacher's own, or one that transformers' image processors read."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = json.loads(preprocessing.saved) if preprocessing.saved else dict(_settings(preprocessing))
    (folder / FILE_NAME).write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")


def _settings(preprocessing: Preprocessing) -> Iterator[tuple[str, Any]]:
    mean, std = preprocessing.mean, preprocessing.std
    if mean is None or std is None or preprocessing.resize is None:
        raise ValueError("this pre-processing is not fitted: call fit_processor first")
    yield "image_processor_type", "ViTImageProcessor" if preprocessing.crop is None else "BitImageProcessor"
    yield "do_resize", True
    resize, crop = preprocessing.resize, preprocessing.crop
    yield "size", {"height": resize[0], "width": resize[1]} if isinstance(resize, tuple) else {"shortest_edge": resize}
    yield "resample", preprocessing.resample
    if crop is not None:
        yield "do_center_crop", True
        yield "crop_size", {"height": crop[0], "width": crop[1]}
    yield "do_rescale", True
    yield "rescale_factor", preprocessing.rescale
    yield "do_normalize", True
    yield "image_mean", list(mean)
    yield "image_std", list(std)
    if preprocessing.channels == 3:
        yield "do_convert_rgb", True
    if preprocessing.flip:
        yield "image_processor_type", "MobileViTImageProcessor"
        yield "do_center_crop", crop is not None
        yield "do_flip_channel_order", True
