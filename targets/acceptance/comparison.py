"""Outputs of an artifact against those of what it was made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from edgepress.targets.errors import ArtifactError
from edgepress.targets.records import Comparison

Outputs = Mapping[str, np.ndarray]
"""{output: array}"""


def compare(reference: Iterable[np.ndarray], outputs: Iterable[np.ndarray]) -> Comparison:
    """`compare_outputs` of a model with one output.

    Args:
        reference: arrays `[batch, …]`, batch by batch.
        outputs: arrays of the same shapes.

    Raises:
        ArtifactError: there are no batches.

    >>> compare([np.array([[1.0, 3.0]])], [np.array([[1.0, 2.0]])])
    Comparison(samples=1, max_abs_diff=1.0, agreement=1.0, sqnr_db=10.0)
    """
    return compare_outputs(({"": one} for one in reference), ({"": one} for one in outputs))


def compare_outputs(reference: Iterable[Outputs], outputs: Iterable[Outputs]) -> Comparison:
    """Every output by its name, batch by batch; one figure over all of them.

    Args:
        reference: {output: `[batch, …]`} of what the artifact was made of.
        outputs: the same of the artifact. Whole numbers, such as ids of tokens, are compared as numbers.

    Returns:
        The SQNR over the values of all outputs together, since a faithful graph adds noise in proportion to each; of
        the agreements, that of the output that agrees least, so that a large output cannot hide a small one; outputs
        of one value a place have no largest one and none.

    Raises:
        ArtifactError: there are no batches.

    >>> want = {"scores": np.array([[1.0, 3.0]]), "distance": np.array([[4.0, 8.0]])}
    >>> compare_outputs([want], [want | {"scores": np.array([[1.0, 0.0]])}])
    Comparison(samples=1, max_abs_diff=3.0, agreement=0.0, sqnr_db=10.0)
    """
    samples = 0
    largest = signal = noise = 0.0
    agreeing: dict[str, list[np.ndarray]] = {}
    for want, got in zip(reference, outputs, strict=True):
        samples += len(next(iter(want.values())))
        for name, expected in want.items():
            first, second = expected.astype(np.float64), got[name].astype(np.float64)
            difference = first - second
            largest = max(largest, float(np.abs(difference).max(initial=0.0)))
            signal += float((first**2).sum())
            noise += float((difference**2).sum())
            if first.ndim < 2 or first.shape[_axis(first)] > 1:  # the largest of one value stands where it must
                agreeing.setdefault(name, []).append(_agreement(first, second))
    if samples == 0:
        raise ArtifactError("nothing to compare: no calibration batches were given")
    agreement = min((float(np.concatenate(parts).mean()) for parts in agreeing.values()), default=None)
    sqnr = None if noise == 0 else float(10 * np.log10(max(signal, 1e-300) / noise))
    return Comparison(samples=samples, max_abs_diff=largest, agreement=agreement, sqnr_db=sqnr)


def _agreement(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Whether the largest value of an axis stands at the same place, for each position beside it; of an output without
    an axis beside the batch, whether its values round to the same whole number."""
    if first.ndim < 2:
        return np.asarray(np.round(first) == np.round(second)).ravel()
    return np.asarray(first.argmax(_axis(first)) == second.argmax(_axis(second))).ravel()


def _axis(values: np.ndarray) -> int:
    """The axis of what is compared at a place: the last one, of maps `[batch, channels, height, width]` the second."""
    return 1 if values.ndim == 4 else -1
