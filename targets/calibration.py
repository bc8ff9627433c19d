"""Ranges of activations from calibration batches: min/max, percentile, least squared error, entropy.

Batches stream through; what is kept of a tensor is its statistic (a range, peaks of channels, a histogram of fixed
size), never its values. Memory is bounded by one batch, whatever their number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, Protocol, Self, TypeVar

import numpy as np
import numpy.typing as npt

from targets.base import Feeds
from targets.errors import TargetError

Counts = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]
Method = Literal["min-max", "percentile", "squared-error", "entropy"]
BINS = 4096
LEVELS = 256
PERCENTILE = 99.99


class Statistic(Protocol):
    """What is kept of a tensor. `add` returns the statistic of all values so far."""

    def add(self, values: np.ndarray) -> Self: ...


@dataclass(frozen=True)
class Range:
    """Smallest and largest value.

    >>> Range().add(np.array([1.0, -2.0])).add(np.array([3.0]))
    Range(low=-2.0, high=3.0)
    """

    low: float = np.inf
    high: float = -np.inf

    def add(self, values: np.ndarray) -> Range:
        if values.size == 0:
            return self
        return Range(min(self.low, float(values.min())), max(self.high, float(values.max())))


@dataclass(frozen=True)
class ChannelPeaks:
    """Largest magnitude of each channel `[channels]`, the last axis."""

    peaks: npt.NDArray[np.float32] | None = None

    def add(self, values: np.ndarray) -> ChannelPeaks:
        if values.size == 0:
            return self
        peaks = np.abs(values).reshape(-1, values.shape[-1]).max(0).astype(np.float32)
        return ChannelPeaks(peaks if self.peaks is None else np.maximum(self.peaks, peaks))


@dataclass(frozen=True)
class Histogram:
    """Counts `[bins]` of equal bins over `[-reach, reach]`, and the exact range.

    A value beyond `reach` doubles it, as often as needed: neighbouring bins are merged, so that no batch is read twice
    and the order of batches matters only through the first one's reach.
    """

    range: Range = Range()
    reach: float = 0.0
    counts: Counts | None = None

    def add(self, values: np.ndarray) -> Histogram:
        if values.size == 0:
            return self
        peak = float(np.abs(values).max())
        wider = self._start(peak) if self.counts is None else self._widen(peak)
        added, _ = np.histogram(values, bins=BINS, range=(-wider.reach, wider.reach))
        return replace(wider, range=self.range.add(values), counts=wider.counts + added)

    def _start(self, peak: float) -> Histogram:
        # All zeros so far: any tiny reach holds them.
        return replace(self, reach=peak or 1e-6, counts=np.zeros(BINS, np.int64))

    def _widen(self, peak: float) -> Histogram:
        assert self.counts is not None
        reach, counts = self.reach, self.counts
        while peak > reach:
            reach *= 2
            counts = np.pad(counts.reshape(-1, 2).sum(1), BINS // 4)
        return replace(self, reach=reach, counts=counts)

    @property
    def width(self) -> float:
        """Of one bin, in the tensor's unit."""
        return 2 * self.reach / BINS

    @property
    def centres(self) -> Doubles:
        """Middle of each bin `[bins]`."""
        return (np.arange(BINS, dtype=np.float64) + 0.5) * np.float64(self.width) - np.float64(self.reach)


S = TypeVar("S", bound=Statistic)


def observe(
    read: Callable[[Feeds], Mapping[str, np.ndarray]], batches: Iterable[Feeds], start: Mapping[str, S]
) -> dict[str, S]:
    """Stream `batches` through `read` and return the statistics of its tensors, begun with `start`.

    Raises:
        TargetError: no batch, or a tensor with NaN or infinity in it.
    """
    kept = dict(start)
    count = 0
    for feeds in batches:
        count += 1
        values = read(feeds)
        for name in kept:
            if not np.isfinite(values[name]).all():
                raise TargetError(
                    f"tensor {name!r} has NaN or infinite values on calibration batch {count}: int8 needs finite "
                    f"activations. Check the weights and the calibration data."
                )
            kept[name] = kept[name].add(values[name])
    if count == 0:
        raise TargetError("no calibration batches were given; int8 with fixed ranges needs at least one")
    return kept


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
