"""Ranges that a model was trained with, found again in a converted graph by the weights that they belong to.

Converters rename, turn and transpose: what stays are the values of a weight, up to the last bits that a batch norm of
factor 1 costs which is folded into it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from edgepress.targets.calibration.statistics import Range
from edgepress.targets.errors import TargetError
from edgepress.targets.exportable import TrainedInput

QAT = "int8-qat"
"""How targets call the candidate that has trained ranges."""
CLOSE = 1e-5  # of the largest weight; other layers differ by more than their own rounding to 8 bits


def trained_ranges(weights: Mapping[str, np.ndarray], trained: Sequence[TrainedInput]) -> dict[str, Range]:
    """The range of what each product reads; products without one are left out.

    >>> one = TrainedInput(np.array([[1.0, 2.0], [3.0, 4.0]], np.float32), -1.0, 1.0)
    >>> trained_ranges({"dense": one.weight.T, "other": one.weight + 1}, [one])
    {'dense': Range(low=-1.0, high=1.0)}

    Args:
        weights: of each product, by its name, as the graph has them.
        trained: of the model that it was made of. Layers of the very same weights share the range that holds both.
    """
    if not trained:
        return {}  # nobody's weights need be sorted
    known = [(_sorted(one.weight), one) for one in trained]
    found: dict[str, Range] = {}
    for name, weight in weights.items():
        values = _sorted(weight)
        for other, one in known:
            if _same(values, other):
                found[name] = found.get(name, Range()).add(np.array([one.low, one.high]))
    return found


def trained_note(candidate: str, taken: int, layers: int) -> str:
    """How many layers have trained ranges, for a reader.

    Raises:
        TargetError: none has: the graph is no longer that of the model.
    """
    if not taken:
        raise TargetError(f"candidate {candidate!r}: none of the {layers} layers was found by its trained weights")
    return f"{taken} of {layers} layers have the ranges that the model was trained with"


def save_trained(trained: Sequence[TrainedInput], path: Path) -> None:
    """Write them for a process of its own, numbers only."""
    ends = np.array([[one.low, one.high] for one in trained], np.float64)
    np.savez(path, ends=ends, **{str(number): one.weight for number, one in enumerate(trained)})  # type: ignore[arg-type]


def load_trained(path: str) -> tuple[TrainedInput, ...]:
    """What `save_trained` wrote."""
    with np.load(path, allow_pickle=False) as archive:
        ends = archive["ends"].tolist()
        return tuple(TrainedInput(archive[str(number)], low, high) for number, (low, high) in enumerate(ends))


def _same(values: np.ndarray, others: np.ndarray) -> bool:
    """Whether two sorted weights are one."""
    if values.shape != others.shape:
        return False
    allowed = CLOSE * max(-others[0], others[-1])
    # A few tell most layers apart.
    few = slice(None, None, max(1, len(values) // 64))
    return all(np.abs(values[part] - others[part]).max() <= allowed for part in (few, slice(None)))


def _sorted(weight: np.ndarray) -> np.ndarray:
    return np.sort(weight.astype(np.float32), axis=None)
