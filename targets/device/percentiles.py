"""How many samples tell a percentile."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np

from ..errors import BenchmarkError

CONFIDENCE = 0.99
PERCENTILES = {"p50": 50.0, "p90": 90.0, "p95": 95.0, "p99": 99.0, "p99_9": 99.9}


@cache
def least_samples(percentile: float) -> int:
    """The fewest samples that tell `percentile` (between 0 and 100) with 99 % confidence, by LoadGen's binomial rule.

    The smallest n for which at most one of n samples lies above the true percentile with a probability of at most
    1 %: then the second largest sample is an upper bound of the percentile.

    >>> [least_samples(percentile) for percentile in (50, 90, 95, 99, 99.9)]
    [11, 64, 130, 662, 6636]

    Raises:
        BenchmarkError: a percentile that no number of samples tells.
    """
    if not 0 < percentile < 100:
        raise BenchmarkError(f"a percentile lies between 0 and 100, got {percentile:g}")
    below = percentile / 100
    above = 1 - below
    count = 2
    while below**count + count * above * below ** (count - 1) > 1 - CONFIDENCE:
        count += 1
    return count


def told_percentile(samples: Sequence[float], percentile: float) -> float | None:
    """Linear-interpolated percentile in the samples' unit; None where they are too few to tell it."""
    if len(samples) < least_samples(percentile):
        return None
    return float(np.percentile(samples, percentile))
