"""Rules that choose a range from a histogram of activations: percentile, least squared error, entropy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgepress.targets.calibration.observe import BINS, LEVELS, PERCENTILE, Doubles, Histogram, Method, Range
from edgepress.targets.errors import TargetError


def choose_range(method: Method, histogram: Histogram) -> Range:
    """The range that `method` clips a tensor to; never wider than what was seen.

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
    assert histogram.counts is not None
    cumulated = np.cumsum(histogram.counts) / histogram.counts.sum()
    edges = np.linspace(-histogram.reach, histogram.reach, BINS + 1)
    low = int(np.searchsorted(cumulated, 1 - percentile / 100, side="left"))
    high = int(np.searchsorted(cumulated, percentile / 100, side="left"))
    return Range(float(edges[low]), float(edges[high + 1]))


def squared_error_range(histogram: Histogram) -> Range:
    """The clipping that gives the least squared error of 8-bit rounding: the upper end is tried, then the lower."""
    low, high = min(histogram.range.low, 0.0), max(histogram.range.high, 0.0)
    shares = np.linspace(0.2, 1.0, 81)
    high = min((rounding_error(histogram, low, high * share), high * share) for share in shares)[1]
    low = min((rounding_error(histogram, low * share, high), low * share) for share in shares)[1]
    return Range(float(low), float(high))


def rounding_error(histogram: Histogram, low: float, high: float) -> float:
    """Mean squared error of clipping to `[low, high]` and rounding to 256 levels, by the histogram's bin centres."""
    assert histogram.counts is not None
    if high <= low:
        return float(np.average(histogram.centres**2, weights=histogram.counts))
    step = (high - low) / (LEVELS - 1)
    rounded = np.round((np.clip(histogram.centres, low, high) - low) / step) * step + low
    # Rounding noise below a bin's width cannot be seen in the centres: add its expectation.
    seen = np.average((histogram.centres - rounded) ** 2, weights=histogram.counts)
    return float(seen) + min(step, histogram.width) ** 2 / 12


def entropy_range(histogram: Histogram) -> Range:
    """The symmetric clipping of least Kullback-Leibler divergence (TensorRT's method), cut to the values' sign."""
    assert histogram.counts is not None
    half = BINS // 2
    counts = (histogram.counts[half:] + histogram.counts[:half][::-1]).astype(np.float64)
    # Zero is exact at any scale, and after a ReLU so frequent that it would hide all else.
    counts[0] = counts[1]
    if not counts.any():
        return histogram.range
    levels = LEVELS if histogram.range.low >= 0 else LEVELS // 2
    last = int(np.flatnonzero(counts)[-1]) + 1
    ends = range(min(levels, last), last + 1, max(1, (last - levels) // 128))
    best = min((divergence(counts, end, levels), end) for end in {*ends, last})[1]
    reach = best * histogram.width
    return Range(-reach, reach)


def divergence(counts: Doubles, end: int, levels: int) -> float:
    """KL(P || Q) in nats: P = `counts[:end]` with the clipped rest in its last bin, Q = P rounded to `levels` bins."""
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
