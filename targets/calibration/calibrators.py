"""Rules that choose a range from a histogram of activations: percentile, least squared error, entropy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgepress.targets.calibration.statistics import BINS, LEVELS, PERCENTILE, Doubles, Histogram, Range, RangeRule
from edgepress.targets.errors import TargetError


def choose_range(method: RangeRule, histogram: Histogram) -> Range:
    """The range that a tensor is clipped to; never wider than what was seen.

    Args:
        method: "min-max" clips nothing, "percentile" the rarest values, "squared-error" what costs less than the
            finer steps gain, "entropy" what changes the distribution least.
        histogram: of the tensor's values over all calibration batches.

    Raises:
        TargetError: there is no such method.
    """
    rules: dict[str, Callable[[Histogram], Range]] = {
        "min-max": lambda histogram: histogram.range,
        "percentile": lambda histogram: percentile_range(histogram, PERCENTILE),
        "squared-error": squared_error_range,
        "entropy": entropy_range,
    }
    if method not in rules:
        raise TargetError(f"unknown calibration method {method!r}; there are {', '.join(rules)}")
    if histogram.counts is None:
        raise TargetError("a tensor to calibrate was empty in every calibration batch")
    chosen = rules[method](histogram)
    return Range(max(chosen.low, histogram.range.low), min(chosen.high, histogram.range.high))


def percentile_range(histogram: Histogram, percentile: float) -> Range:
    """From the (100 - `percentile`)-th to the `percentile`-th percentile, 50..100, true within one bin."""
    assert histogram.counts is not None  # `choose_range` refuses a tensor that was always empty
    cumulated = np.cumsum(histogram.counts) / histogram.counts.sum()
    edges = np.linspace(-histogram.reach, histogram.reach, BINS + 1)
    low = int(np.searchsorted(cumulated, 1 - percentile / 100, side="left"))
    high = int(np.searchsorted(cumulated, percentile / 100, side="left"))
    return Range(float(edges[low]), float(edges[high + 1]))


def squared_error_range(histogram: Histogram) -> Range:
    """The clipping that gives the least squared error of 8-bit rounding: the upper end is tried, then the lower."""
    # Zero stays inside: it must be exact, or every padded and ReLU'd position would add the same error.
    low, high = min(histogram.range.low, 0.0), max(histogram.range.high, 0.0)
    shares = np.linspace(0.2, 1.0, 81)
    high = min((rounding_error(histogram, low, high * share), high * share) for share in shares)[1]
    low = min((rounding_error(histogram, low * share, high), low * share) for share in shares)[1]
    return Range(float(low), float(high))


def rounding_error(histogram: Histogram, low: float, high: float) -> float:
    """Mean squared error of clipping to `[low, high]` and rounding to 256 levels.

    Args:
        histogram: whose bin centres stand for the values in them.
        low: lower end, in the tensor's unit.
        high: upper end.

    >>> both = Histogram().add(np.array([-1.0, 1.0]))
    >>> rounding_error(both, -1.0, 1.0) < 1e-4 < 0.24 < rounding_error(both, -0.5, 0.5) < 0.26
    True
    """
    assert histogram.counts is not None
    if high <= low:
        return float(np.average(histogram.centres**2, weights=histogram.counts))
    step = (high - low) / (LEVELS - 1)
    rounded = np.round((np.clip(histogram.centres, low, high) - low) / step) * step + low
    # Rounding noise below a bin's width cannot be seen in the centres: add its expectation.
    seen = np.average((histogram.centres - rounded) ** 2, weights=histogram.counts)
    return float(seen) + min(step, histogram.width) ** 2 / 12


def entropy_range(histogram: Histogram) -> Range:
    """The symmetric clipping of least Kullback-Leibler divergence, cut to the values' sign.

    References: Migacz, "8-bit Inference with TensorRT", GTC 2017.
    """
    assert histogram.counts is not None
    half = BINS // 2
    counts = (histogram.counts[half:] + histogram.counts[:half][::-1]).astype(np.float64)
    # Zero is exact at any scale, and after a ReLU so frequent that it would hide all else.
    counts[0] = counts[1]
    if not counts.any():
        return histogram.range
    # Values of one sign have all 256 levels to themselves, magnitudes of both signs only half of them.
    levels = LEVELS if histogram.range.low >= 0 else LEVELS // 2
    last = int(np.flatnonzero(counts)[-1]) + 1
    # 128 ends are enough: neighbours differ by less than a hundredth of the reach.
    ends = range(min(levels, last), last + 1, max(1, (last - levels) // 128))
    best = min((divergence(counts, end, levels), end) for end in {*ends, last})[1]
    reach = best * histogram.width
    return Range(-reach, reach)


def divergence(counts: Doubles, end: int, levels: int) -> float:
    """KL(P || Q) in nats, of what is kept by a clipping and what is left of it after rounding.

    Args:
        counts: of magnitudes, `[bins]`.
        end: bins that are kept. P is `counts[:end]` with the clipped rest in its last bin.
        levels: Q is P rounded to so many: each spreads its total evenly over those of its bins that were not empty.
    """
    wanted = counts[:end].copy()
    wanted[-1] += counts[end:].sum()
    filled = counts[:end] > 0
    groups = np.arange(end) * levels // end
    totals = np.bincount(groups, counts[:end], levels)
    members = np.bincount(groups, filled.astype(np.float64), levels)
    rounded = np.where(filled, totals[groups] / np.maximum(members[groups], 1), 0.0)
    wanted, rounded = wanted / wanted.sum(), rounded / max(rounded.sum(), 1.0)
    mask = wanted > 0
    # A clipped tail that falls on an empty last bin has no counterpart in Q: a small floor makes it dear, not infinite.
    return float((wanted[mask] * np.log(wanted[mask] / np.maximum(rounded[mask], 1e-9))).sum())
