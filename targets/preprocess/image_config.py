"""preprocessor_config.json, or timm's part of config.json ↔ `Preprocessing`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgepress.targets.errors import ModelError
from edgepress.targets.preprocess.image_settings import height_width, unusable
from edgepress.targets.preprocess.pixels import Preprocessing
from edgepress.targets.preprocess.resize import FILTERS

FILE_NAME = "preprocessor_config.json"
TIMM_FILTERS = {"nearest": 0, "bilinear": 2, "bicubic": 3}


def read_config(settings: Mapping[str, Any], origin: str, channels: int | None) -> Preprocessing:
    """What a preprocessor_config.json says.

    Args:
        settings: its content.
        origin: names the file in messages.
        channels: those of the model's config.json; None where it does not say.

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
