"""Settings of an image pre-processing that people write by hand: sizes in every form, and numbers that cannot be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgepress.targets.errors import ModelError

if TYPE_CHECKING:
    from edgepress.compress.tasks.inputs.image import Preprocessing


def unusable(origin: str, fault: Exception) -> ModelError:
    reason = (str(fault).splitlines() or [type(fault).__name__])[0]
    return ModelError(f"{origin} holds a setting that cannot be used ({type(fault).__name__}: {reason}). Mend it.")


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


def height_width(size: Any, name: str, origin: str, more: str = "") -> tuple[int, int]:
    """What transformers takes for a height and a width: one number, a list of both, or a mapping."""
    given = list(size) if isinstance(size, list | tuple) else [size, size]
    if isinstance(size, dict):
        given = [size.get("height"), size.get("width")]
    if len(given) != 2 or not all(isinstance(value, int | float) and value == int(value) for value in given):
        raise ModelError(f"{origin}: {name} {size!r:.80} is not supported; height and width{more} are.")
    return int(given[0]), int(given[1])
