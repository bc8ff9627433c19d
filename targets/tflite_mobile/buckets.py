"""Sequence lengths of a .tflite, which knows fixed shapes only: a program for each, rows padded to the next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from edgepress.targets.errors import TargetError
from edgepress.targets.lengths import padding
from edgepress.targets.lengths.choice import has_mask, lengths_within
from edgepress.targets.records import Feeds, Signature

# To calibrate each program on every row took as long as to convert a BERT-base, with rows that it never gets.
LEAST_ROWS = 64


def sequence_lengths(signature: Signature, wanted: Sequence[int]) -> tuple[int, ...]:
    """Lengths that get a program: those wanted, else 32, 64, … ; the longest of the bounds always. (0,) without any.

    Args:
        signature: of the model.
        wanted: lengths of the recipe; none for the usual ones.

    Raises:
        TargetError: a length outside the bounds, a model without attention mask, whose rows cannot be padded, or
            another dimension than batch and sequence that varies.
    """
    for name, (low, high) in signature.bounds.items():
        if name not in ("batch", "sequence") and low < high:
            raise TargetError(
                f"tflite-mobile fixes every size but batch and sequence, and {name} varies from {low} to {high}. "
                f"Give it equal bounds."
            )
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
    return lengths_within(low, high, wanted)


def names_of(lengths: Sequence[int]) -> dict[str, int]:
    """{program: length}; the one program of a model without sequence has length 0.

    >>> names_of([32, 128]), names_of([0])
    ({'seq32': 32, 'seq128': 128}, {'image': 0})
    """
    return {f"seq{length}" if length else "image": length for length in lengths}


def programs_of(signature: Signature, lengths: Sequence[int]) -> dict[str, Signature]:
    """What each program in the file takes: one row of a fixed length, whole numbers in int32.

    Args:
        signature: of the model, whose dimensions vary.
        lengths: as `sequence_lengths` gives them.
    """
    fixed = {name: low for name, (low, high) in signature.bounds.items() if low == high}
    programs = {}
    for name, length in names_of(lengths).items():
        row = signature.at(**{**fixed, "batch": 1, "sequence": length})
        inputs = tuple(
            spec.model_copy(update={"dtype": "int32"}) if spec.dtype == "int64" else spec for spec in row.inputs
        )
        programs[name] = row.model_copy(update={"inputs": inputs})
    return programs


def lengths_of(programs: Mapping[str, Signature]) -> dict[str, int]:
    """{program: sequence length} of those beside "main", 0 without a sequence: `names_of`, read back.

    >>> from edgepress.targets.records import TensorSpec
    >>> ids = TensorSpec(name="ids", dtype="int64", shape=("batch", "sequence"))
    >>> main = Signature(inputs=(ids,), outputs=(), bounds={"batch": (1, 8), "sequence": (2, 128)})
    >>> lengths_of({"main": main, **programs_of(main, [32, 128])})
    {'seq32': 32, 'seq128': 128}
    """
    return padding.lengths_of({name: _shapes(program) for name, program in programs.items()})


def fitting(feeds: Feeds, signature: Signature, buckets: Mapping[str, int]) -> str:
    """Name of the shortest program that holds the feeds; the bounds promise that there is one.

    Args:
        feeds: of the program "main".
        signature: of the program "main".
        buckets: {program: sequence length}.

    >>> from edgepress.targets.records import TensorSpec
    >>> ids = TensorSpec(name="ids", dtype="int64", shape=("batch", "sequence"))
    >>> signature = Signature(inputs=(ids,), outputs=(), bounds={"batch": (1, 8), "sequence": (2, 128)})
    >>> fitting({"ids": np.zeros((1, 33))}, signature, {"seq32": 32, "seq64": 64, "seq128": 128})
    'seq64'
    """
    return padding.fitting(sequence_of(feeds, signature), buckets)


def fitted(feeds: Feeds, signature: Signature, length: int) -> dict[str, np.ndarray]:
    """The feeds as the program of `length` takes them; see `padding.fitted`."""
    return padding.fitted(feeds, _axes(signature), length)


def calibration_rows(
    signature: Signature, batches: Sequence[Feeds], length: int, shorter: int
) -> Iterator[dict[str, np.ndarray]]:
    """Rows on their own, as the program of `length` takes them: those that it gets at run time, which are longer than
    the next `shorter` one's. Where they are fewer than 64, batches of the nearest lengths go with them; cut ones last.
    """
    sizes = [sequence_of(feeds, signature) for feeds in batches]
    own = [number for number, size in enumerate(sizes) if shorter < size <= length]
    others = sorted(set(range(len(batches))) - set(own), key=lambda at: (sizes[at] > length, abs(sizes[at] - length)))
    count = 0
    for number in (*own, *others):
        if number not in own and count >= LEAST_ROWS:
            break
        ready = fitted(batches[number], signature, length)
        rows = len(next(iter(ready.values())))
        yield from ({name: value[row : row + 1] for name, value in ready.items()} for row in range(rows))
        count += rows


def sequence_of(feeds: Feeds, signature: Signature) -> int:
    """The longest sequence of the feeds; 0 without any."""
    return padding.longest(feeds, _axes(signature))


def _axes(signature: Signature) -> dict[str, int | None]:
    return padding.axes_of(_shapes(signature))


def _shapes(signature: Signature) -> list[tuple[str, Sequence[int | str]]]:
    return [(spec.name, spec.shape) for spec in signature.inputs]
