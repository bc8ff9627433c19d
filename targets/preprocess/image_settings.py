"""Settings of an image pre-processing that people write by hand: sizes in every form, and numbers that cannot be."""

from __future__ import annotations

from typing import Any

from edgepress.targets.errors import ModelError, told


def unusable(origin: str, fault: Exception) -> ModelError:
    """The error for a setting that made `fault`; `origin` is the file it stands in."""
    return ModelError(f"{origin} holds a setting that cannot be used ({told(fault)}). Mend it.")


def height_width(size: Any, name: str, origin: str, more: str = "") -> tuple[int, int]:
    """What transformers takes for a height and a width: one number, a list of both, or a mapping.

    Args:
        size: the setting as it stands in the file.
        name: what the setting is called there.
        origin: the file, for the error.
        more: what else the error says is supported.
    """
    given = list(size) if isinstance(size, list | tuple) else [size, size]
    if isinstance(size, dict):
        given = [size.get("height"), size.get("width")]
    if len(given) != 2 or not all(isinstance(value, int | float) and value == int(value) for value in given):
        raise ModelError(f"{origin}: {name} {size!r:.80} is not supported; height and width{more} are.")
    return int(given[0]), int(given[1])
