"""Sequence lengths of a .tflite, which knows fixed shapes only: a named signature for each, rows padded to the next."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from edgepress.targets.errors import TargetError
from edgepress.targets.records import Feeds, Signature
from edgepress.targets.tflite_mobile.padding import axes_of, fitted, longest

SHORTEST = 32
# To calibrate each signature on every row took as long as to convert a BERT-base, with rows that it never gets.
LEAST_ROWS = 64


def sequence_lengths(signature: Signature, wanted: Sequence[int]) -> tuple[int, ...]:
    """Lengths that get a signature: those wanted, else 32, 64, … ; the longest of the bounds always. (0,) without any.

    Raises:
        TargetError: a length outside the bounds, or a model without attention mask, whose rows cannot be padded.
    """
    if not any("sequence" in spec.shape for spec in signature.inputs):
        return (0,)
    low, high = signature.bounds["sequence"]
    if outside := [length for length in wanted if not low <= length <= high]:
        raise TargetError(f"tflite-mobile: a sequence of {outside[0]} is outside the model's bounds, {low} to {high}")
    if low < high and not has_mask(signature):
        raise TargetError(
            f"tflite-mobile pads sequences to fixed lengths, and this model has no attention_mask to hide padding. "
            f"Give it one, or fix its sequence length (bounds are {low} to {high})."
        )
    doubled = [length for length in (SHORTEST * 2**power for power in range(16)) if low <= length < high]
    return tuple(sorted({*(wanted or doubled), high}))


def has_mask(signature: Signature) -> bool:
    return any(spec.name == "attention_mask" for spec in signature.inputs)


def names_of(lengths: Sequence[int]) -> dict[str, int]:
    """{signature name: length}; the one signature of a model without sequence has length 0.

    >>> names_of([32, 128]), names_of([0])
    ({'seq32': 32, 'seq128': 128}, {'image': 0})
    """
    return {f"seq{length}" if length else "image": length for length in lengths}


def shapes_of(signature: Signature, length: int) -> list[tuple[list[int], str]]:
    """Shape and dtype of each input, of one row."""
    sizes = {"batch": 1, "sequence": length}
    return [
        ([size if isinstance(size, int) else sizes[size] for size in spec.shape], spec.dtype)
        for spec in signature.inputs
    ]


def calibration_rows(
    signature: Signature, batches: Sequence[Feeds], length: int, shorter: int
) -> Iterator[dict[str, np.ndarray]]:
    """Rows on their own, as the signature of `length` takes them: those that it gets at run time, which are longer than
    the next `shorter` one's. Where they are fewer than 64, batches of the nearest lengths go with them; cut ones last.
    """
    sizes = [longest_of(feeds, signature) for feeds in batches]
    own = [number for number, size in enumerate(sizes) if shorter < size <= length]
    others = sorted(set(range(len(batches))) - set(own), key=lambda at: (sizes[at] > length, abs(sizes[at] - length)))
    count = 0
    for number in (*own, *others):
        if number not in own and count >= LEAST_ROWS:
            break
        ready = fitted(batches[number], _axes(signature), length)
        rows = len(next(iter(ready.values())))
        yield from ({name: value[row : row + 1] for name, value in ready.items()} for row in range(rows))
        count += rows


def longest_of(feeds: Feeds, signature: Signature) -> int:
    """Tokens of the longest sequence of the feeds; 0 without any."""
    return longest(feeds, _axes(signature))


def _axes(signature: Signature) -> dict[str, int | None]:
    return axes_of((spec.name, spec.shape) for spec in signature.inputs)
