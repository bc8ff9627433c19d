"""What samples can be trusted to say: enough of them for a percentile; intervals of medians, ratios and metrics."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
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

# Medians of interleaved runs on a shared machine repeat within about 2 %; closer than that is no difference.
TIE = 0.02


def median_interval(
    samples: Sequence[float], sittings: Sequence[int] = (), confidence: float = CONFIDENCE, seed: int = 0
) -> Interval | None:
    """Percentile-bootstrap interval of the median, in the samples' unit; None below the 11 samples of a p50.

    `sittings`: how many of the samples each process took, in order; empty where one took all.

    Args:
        confidence: of the interval, between 0 and 1.
        seed: of the resamples.
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

    Args:
        confidence: of the interval, between 0 and 1.
        seed: of the resamples.

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


class Bootstrap(Record):
    """What resampled rows say of a metric, and of its difference to the teacher's on the same rows.

    `p`: two-sided, of a difference at least as large were there none. None where the metric has no value in some
    resamples, and for what concerns the teacher where there is none.
    """

    interval: Interval | None
    difference: Interval | None
    p: float | None


def bootstrap(
    counts: np.ndarray,
    value: Callable[[np.ndarray], np.ndarray],
    teacher: np.ndarray | None = None,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> Bootstrap:
    """Percentile-bootstrap intervals of a metric over 2,000 resamples of the rows.

    The teacher's and the candidate's counts are drawn together, row by row: what makes a row hard is hard for both, so
    the interval of their difference is much narrower than those of the two figures would suggest. Rows with the same
    counts are drawn as one with its weight, which is the same distribution and takes no memory for large splits.

    Args:
        counts: `[rows, k]`, the candidate's sufficient statistics of each row.
        value: from the means `[resamples, k]` to the metric `[resamples]`.
        teacher: the teacher's counts of the same rows, `[rows, k]`; None where there is nothing to compare with.
        confidence: what an interval holds, 0..1.
        seed: of the draws; the same one gives the same intervals.

    References: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapters 13 and 16; paired over rows as
    in Koehn, "Statistical Significance Tests for Machine Translation Evaluation", EMNLP 2004, W04-3250.

    >>> right = np.array([[1.0], [0.0]] * 50)
    >>> bootstrap(right, lambda means: means[:, 0], right).difference
    (0.0, 0.0)

    Raises:
        BenchmarkError: no rows, or the teacher's counts are of other rows.
    """
    if len(counts) == 0 or (teacher is not None and teacher.shape != counts.shape):
        other = "" if teacher is None else f" and {list(teacher.shape)} of the teacher"
        raise BenchmarkError(f"a bootstrap needs counts [rows, k] of the same rows, got {list(counts.shape)}{other}")
    width = counts.shape[1]
    joint = counts if teacher is None else np.concatenate([counts, teacher], axis=1)
    means = np.concatenate(list(_resampled_means(joint, seed)))
    values = np.asarray(value(means[:, :width]), np.float64)
    if teacher is None:
        return Bootstrap(interval=_known_bounds(values, confidence), difference=None, p=None)
    differences = values - np.asarray(value(means[:, width:]), np.float64)
    bounds = _known_bounds(differences, confidence)
    return Bootstrap(
        interval=_known_bounds(values, confidence),
        difference=bounds,
        p=None if bounds is None else _two_sided(differences),
    )


def _resampled_means(rows: np.ndarray, seed: int) -> Iterator[np.ndarray]:
    """Means of `rows` `[rows, k]` under resampling, `[resamples, k]` in pieces of about a million weights."""
    rows = np.ascontiguousarray(rows)
    # One opaque value a row: sorting those is much faster than sorting by columns.
    keys = rows.view(np.dtype((np.void, rows.dtype.itemsize * rows.shape[1]))).ravel()
    _, first, repeats = np.unique(keys, return_index=True, return_counts=True)
    patterns, shares = rows[first].astype(np.float64), repeats / len(rows)
    random = np.random.default_rng(seed)
    piece = max(1, CHUNK // len(patterns))
    for start in range(0, RESAMPLES, piece):
        weights = random.multinomial(len(rows), shares, size=min(piece, RESAMPLES - start))
        yield weights @ patterns / len(rows)


def _known_bounds(values: np.ndarray, confidence: float) -> Interval | None:
    return None if not np.isfinite(values).all() else _bounds(values, confidence)


def _two_sided(differences: np.ndarray) -> float:
    """Twice the share of resamples on the rarer side of 0, at most 1: the level at which the interval meets 0."""
    rarer = min(int((differences <= 0).sum()), int((differences >= 0).sum()))
    return min(1.0, 2 * (rarer + 1) / (len(differences) + 1))


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
