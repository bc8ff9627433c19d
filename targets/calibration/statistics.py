"""What calibration batches tell of activations: ranges, peaks of channels, histograms.

Batches stream through; what is kept of a tensor is its statistic (a range, peaks of channels, a histogram of fixed
size), never its values. Memory is bounded by one batch, whatever their number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, Protocol, Self, TypeVar

import numpy as np
import numpy.typing as npt

from edgepress.targets.errors import TargetError
from edgepress.targets.records import Feeds

Counts = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]
RangeRule = Literal["min-max", "percentile", "squared-error", "entropy"]
# A power of two, so that doubling the reach merges neighbours exactly; 4096 leave 16 bins to each of 256 levels, fine
# enough that rounding to a bin's centre is far below the rounding that is judged.
BINS = 4096
LEVELS = 256  # of 8 bits
PERCENTILE = 99.99  # one value of ten thousand is clipped at either end


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
        # Symmetric about zero, which so stays an edge between two bins however often the reach is doubled.
        peak = float(np.abs(values).max())
        wider = self._start(peak) if self.counts is None else self._widen(peak)
        # In double precision: bins of the smallest float32 values are narrower than float32 can tell apart.
        added, _ = np.histogram(values.astype(np.float64), bins=BINS, range=(-wider.reach, wider.reach))
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


def collect_statistics(
    read: Callable[[Feeds], Mapping[str, np.ndarray]], batches: Iterable[Feeds], start: Mapping[str, S]
) -> dict[str, S]:
    """Statistics of inner tensors over all batches, one batch in memory at a time.

    Args:
        read: gives {tensor: values} of a batch.
        batches: {input: array} each.
        start: {tensor: the statistic to begin with}, e.g. `Range()`; tensors that are not named are not looked at.

    Returns:
        {tensor: its statistic of all values}.

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
