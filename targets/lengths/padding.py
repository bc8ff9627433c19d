"""Rows of any length for graphs of fixed lengths: the shortest that holds them, padded with what the mask hides."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ..device.needs import MAIN, Feeds, as_int32

Axes = Mapping[str, "int | None"]
"""Input -> which of its axes is the sequence; None where it has none."""


def axes_of(inputs: Iterable[tuple[str, Sequence[int | str]]]) -> dict[str, int | None]:
    """Of names and shapes.

    >>> axes_of([("ids", ("batch", "sequence")), ("pixels", ("batch", 3, 8, 8))])
    {'ids': 1, 'pixels': None}
    """
    return {name: list(shape).index("sequence") if "sequence" in shape else None for name, shape in inputs}


def lengths_of(programs: Mapping[str, Sequence[tuple[str, Sequence[int | str]]]]) -> dict[str, int]:
    """{program: tokens} of those beside "main"; the one program of a model without a sequence has 0 tokens.

    Args:
        programs: names and shapes of each one's inputs; those of "main" tell which axis is the sequence.

    >>> lengths_of({"main": [("ids", ("batch", "sequence"))], "seq32": [("ids", (1, 32))]})
    {'seq32': 32}
    """
    axes = axes_of(programs[MAIN])
    return {
        name: max((int(shape[axis]) for key, shape in inputs if (axis := axes.get(key)) is not None), default=0)
        for name, inputs in programs.items()
        if name != MAIN
    }


def longest(feeds: Feeds, axes: Axes) -> int:
    """Tokens of the longest sequence; 0 without any."""
    return max((feeds[name].shape[axis] for name, axis in axes.items() if axis is not None), default=0)


def fitting(length: int, buckets: Mapping[str, int]) -> str:
    """Name of the shortest of the buckets {name: tokens} that holds `length` tokens; there is one within the bounds.

    >>> fitting(33, {"seq32": 32, "seq64": 64, "seq128": 128})
    'seq64'
    """
    return min((tokens, name) for name, tokens in buckets.items() if tokens >= length)[1]


def fitted(feeds: Feeds, axes: Axes, length: int) -> dict[str, np.ndarray]:
    """The feeds as a graph of `length` tokens takes them: int32 for int64; cut, or padded with zeros, which the mask
    hides."""
    return padded({name: as_int32(feeds[name]) for name in axes}, axes, length)


def padded(feeds: Feeds, axes: Axes, length: int) -> dict[str, np.ndarray]:
    """The feeds with `length` tokens, their types as they are; see `fitted`."""
    return {name: _of_length(feeds[name], axis, length) for name, axis in axes.items()}


def without_padding(
    outputs: Mapping[str, np.ndarray], specs: Iterable[Mapping[str, Any]], length: int
) -> dict[str, np.ndarray]:
    """Outputs that have a sequence too, cut to that of the feeds.

    Args:
        outputs: by name.
        specs: name and shape of each, as the signature has them.
        length: tokens of the feeds.
    """
    cut = dict(outputs)
    for spec in specs:
        if "sequence" in spec["shape"]:
            axis = list(spec["shape"]).index("sequence")
            cut[spec["name"]] = cut[spec["name"]].take(range(length), axis)
    return cut


def _of_length(value: np.ndarray, axis: int | None, length: int) -> np.ndarray:
    if axis is None:
        return value
    value = value.take(range(min(length, value.shape[axis])), axis)
    return np.pad(value, [(0, (length - size) * (at == axis)) for at, size in enumerate(value.shape)])
