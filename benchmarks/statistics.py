"""What samples can be trusted to say: enough of them for a percentile, intervals of medians, ratios and accuracies."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from statistics import NormalDist

import numpy as np

from edgepress.targets.device.percentiles import least_samples as least_samples
from edgepress.targets.device.percentiles import told_percentile as told_percentile
from edgepress.targets.errors import BenchmarkError
from edgepress.targets.records import Record

CONFIDENCE = 0.95
RESAMPLES = 2000
UNSTEADY = 0.025
# Indices drawn at a time: 2,000 resamples of 6,636 samples at once would take 100 MB.
CHUNK = 1_000_000
# The interquartile range of a normal distribution in standard deviations.
NORMAL_IQR = 2 * NormalDist().inv_cdf(0.75)

Interval = tuple[float, float]


def median_interval(
    samples: Sequence[float], sittings: Sequence[int] = (), confidence: float = CONFIDENCE, seed: int = 0
) -> Interval | None:
    """Percentile-bootstrap interval of the median, in the samples' unit; None below the 11 samples of a p50.

    `sittings`: how many of the samples each process took, in order; empty where one took all.
    """
    if len(samples) < least_samples(50):
        return None
    values = np.asarray(samples, np.float64)
    medians = [np.median(values[indices], axis=1) for indices in _resamples(sittings or (len(values),), seed)]
    return _bounds(np.concatenate(medians), confidence)


def ratio_interval(
    numerator: Sequence[float],
    denominator: Sequence[float],
    sittings: Sequence[int] = (),
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> Interval | None:
    """Bootstrap interval of median(numerator) / median(denominator); sample i of both is of round i.

    Processes are drawn (`sittings`: how many of the rounds each one took, in order), and whole rounds within each, so
    that what slowed a round down slows both sides of a resample. Rounds alone would not do: two sessions of one
    artifact differ for as long as their process lives, and the more rounds it took the surer a wrong ratio would look.
    None where the two don't have the same rounds, or too few of them.

    References: Kalibera and Jones, "Rigorous Benchmarking in Reasonable Time", ISMM 2013.

    >>> ratio_interval([4.0] * 11, [2.0] * 11)
    (2.0, 2.0)
    """
    if len(numerator) != len(denominator) or len(numerator) < least_samples(50):
        return None
    above, below = np.asarray(numerator, np.float64), np.asarray(denominator, np.float64)
    ratios = [
        np.median(above[indices], axis=1) / np.median(below[indices], axis=1)
        for indices in _resamples(sittings or (len(above),), seed)
    ]
    return _bounds(np.concatenate(ratios), confidence)


class Variation(Record):
    """How much samples scatter, as shares of their middle.

    `cv`: standard deviation / mean. `robust_cv`: interquartile range / 1.349 / median, which equals `cv` for normal
    noise and does not see outliers.
    """

    cv: float
    robust_cv: float

    @property
    def unsteady(self) -> bool:
        """Whether the coefficient of variation is above 2.5 %."""
        return self.cv > UNSTEADY

    @property
    def by_outliers(self) -> bool:
        """Whether few samples far out make it unsteady, while the bulk is steady: the median can then be trusted."""
        return self.unsteady and self.robust_cv <= UNSTEADY


def variation(samples: Sequence[float]) -> Variation | None:
    """None for fewer than two samples.

    >>> variation([9.0, 10.0, 11.0]).cv
    0.1
    """
    if len(samples) < 2:
        return None
    values = np.asarray(samples, np.float64)
    low, middle, high = np.percentile(values, (25, 50, 75))
    return Variation(cv=float(values.std(ddof=1) / values.mean()), robust_cv=float((high - low) / NORMAL_IQR / middle))


def wilson_interval(right: int, rows: int, confidence: float = CONFIDENCE) -> Interval:
    """Wilson's score interval of an accuracy `right` / `rows`; it stays within 0..1 and is not empty at its ends.

    >>> low, high = wilson_interval(764, 872)
    >>> round(low, 4), round(high, 4)
    (0.8526, 0.8964)

    Raises:
        BenchmarkError: no rows, or more right answers than rows.
    """
    if not 0 <= right <= rows or rows == 0:
        raise BenchmarkError(f"an accuracy needs 0 to `rows` right answers of at least one row, got {right} of {rows}")
    z, accuracy = _quantile(confidence), right / rows
    middle = (accuracy + z**2 / (2 * rows)) / (1 + z**2 / rows)
    half = z / (1 + z**2 / rows) * math.sqrt(accuracy * (1 - accuracy) / rows + z**2 / (4 * rows**2))
    return max(0.0, middle - half), min(1.0, middle + half)


def difference_interval(lost: int, won: int, rows: int, confidence: float = CONFIDENCE) -> Interval:
    """Interval of the accuracy difference (won - lost) / rows of two models on the same rows, from their flips.

    Bonett and Price's adjusted Wald interval: one flip is added to each side, so that it is not empty without flips.

    References: Bonett and Price, Journal of Educational and Behavioral Statistics 37(4), 2012.

    >>> difference_interval(0, 0, 98) == (-difference_interval(0, 0, 98)[1], difference_interval(0, 0, 98)[1])
    True

    Raises:
        BenchmarkError: no rows, or more flips than rows.
    """
    if min(lost, won) < 0 or lost + won > rows or rows == 0:
        raise BenchmarkError(f"flips are rows of the test split, got {lost} lost and {won} won of {rows} rows")
    losses, wins = (lost + 1) / (rows + 2), (won + 1) / (rows + 2)
    middle = wins - losses
    half = _quantile(confidence) * math.sqrt((wins + losses - middle**2) / (rows + 2))
    return max(-1.0, middle - half), min(1.0, middle + half)


def _quantile(confidence: float) -> float:
    """Standard deviations on each side of the middle that hold `confidence` of a normal distribution."""
    return NormalDist().inv_cdf((1 + confidence) / 2)


def _resamples(sittings: Sequence[int], seed: int) -> Iterator[np.ndarray]:
    """Indices `[resamples, rounds]`, drawn with replacement in two stages, in pieces of about a million."""
    random = np.random.default_rng(seed)
    sizes = np.asarray(sittings)
    starts, rounds = np.cumsum(sizes) - sizes, int(sizes.sum())
    rows = max(1, CHUNK // rounds)
    for start in range(0, RESAMPLES, rows):
        drawn = random.integers(0, len(sizes), (min(rows, RESAMPLES - start), len(sizes)))
        # As many rounds for each process drawn as stood in its place: resamples are as long as the samples.
        processes = np.repeat(drawn, sizes, axis=1)
        yield starts[processes] + (random.random(processes.shape) * sizes[processes]).astype(np.int64)


def _bounds(values: np.ndarray, confidence: float) -> Interval:
    low, high = np.quantile(values, ((1 - confidence) / 2, (1 + confidence) / 2))
    return float(low), float(high)
