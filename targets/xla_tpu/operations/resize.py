"""Core-ATen operations that give an image another size, as jax ones: a matrix for each axis, known when they are made.

Each row of a matrix `[new size, old size]` says how much of each old position a new one takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from edgepress.targets.xla_tpu.operations.kit import Kit

Matrix = npt.NDArray[np.float32]


def adaptive_avg_pool(kit: Kit, x: Any, size: Sequence[int]) -> Any:
    """`x` `[…, *sizes]` averaged to the last dimensions `size`, with the modules of `kit`."""
    return _resampled(kit, x, [averages(old, new) for old, new in zip(x.shape[-len(size) :], size, strict=True)])


def bilinear(kit: Kit, x: Any, size: Any, corners: bool, factors: Any = None) -> Any:
    """`x` `[batch, channels, *sizes]` interpolated to `size`, or by `factors`, with the modules of `kit`; `corners` as
    in `weights`."""
    olds = x.shape[2:]
    news = size or [int(old * factor) for old, factor in zip(olds, factors, strict=True)]
    ratios = _ratios(olds, news, factors)
    axes = zip(olds, news, ratios, strict=True)
    return _resampled(kit, x, [weights(old, new, ratio, corners) for old, new, ratio in axes])


def nearest(kit: Kit, x: Any, size: Any, factors: Any = None) -> Any:
    """`x` `[batch, channels, *sizes]` with `size` positions, or `factors` times as many: each takes the value of the
    old one it falls into. `kit` has jax's modules."""
    olds = x.shape[2:]
    news = size or [int(old * factor) for old, factor in zip(olds, factors, strict=True)]
    for axis, (old, new, ratio) in enumerate(zip(olds, news, _ratios(olds, news, factors), strict=True), start=2):
        places = np.minimum(np.floor(np.arange(new) * ratio), old - 1).astype(np.int32)
        x = kit.jnp.take(x, places, axis=axis)
    return x


def averages(old: int, new: int) -> Matrix:
    """Means of windows that are as equal as can be; neighbours may share a position.

    >>> averages(3, 2).tolist()
    [[0.5, 0.5, 0.0], [0.0, 0.5, 0.5]]
    """
    matrix = np.zeros((new, old), np.float32)
    for place in range(new):
        low, high = place * old // new, -(-(place + 1) * old // new)
        matrix[place, low:high] = 1 / (high - low)
    return matrix


def weights(old: int, new: int, ratio: float, corners: bool) -> Matrix:
    """Linear interpolation; `ratio` is old over new, and with `corners` the first and last positions fall together.

    >>> weights(2, 3, 2 / 3, corners=True).tolist()
    [[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]
    >>> weights(1, 2, 1 / 2, corners=False).tolist()
    [[1.0], [1.0]]
    """
    places = np.arange(new, dtype=np.float64)
    source = places * ((old - 1) / max(1, new - 1)) if corners else np.maximum((places + 0.5) * ratio - 0.5, 0)
    low = np.minimum(np.floor(source).astype(int), old - 1)
    high = np.minimum(low + 1, old - 1)
    matrix = np.zeros((new, old), np.float32)
    np.add.at(matrix, (np.arange(new), low), (1 - (source - low)).astype(np.float32))
    np.add.at(matrix, (np.arange(new), high), (source - low).astype(np.float32))
    return matrix


def _ratios(olds: Sequence[int], news: Sequence[int], factors: Any) -> list[float]:
    """A factor that is given counts, also where the new size was rounded."""
    if factors:
        return [1 / factor for factor in factors]
    return [old / new for old, new in zip(olds, news, strict=True)]


def _resampled(kit: Kit, x: Any, matrices: Sequence[Matrix]) -> Any:
    """`x` with its last dimensions multiplied by one matrix each, in float32."""
    result = x.astype(kit.jnp.float32)
    for axis, matrix in enumerate(matrices, start=x.ndim - len(matrices)):
        product = kit.jnp.tensordot(result, matrix, axes=((axis,), (1,)), precision=kit.lax.Precision.HIGHEST)
        result = kit.jnp.moveaxis(product, -1, axis)
    return result.astype(x.dtype)
