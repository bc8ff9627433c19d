"""Metrics of numbers: errors and correlations of regressions, likeness of embeddings and of any outputs."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgepress.benchmarks.metrics.base import Against, Unit, ratio, same_rows
from edgepress.targets.errors import BenchmarkError
from edgepress.targets.preprocess.bilinear import on_one_grid


class RootMeanSquare:
    """Root of the mean squared error over all numbers of all rows, in the unit of the data."""

    key, name = "rmse", "RMSE"
    unit: Unit = "1"
    higher_is_better = False
    against: Against = "labels"

    def counts(self, truth: Any, answers: Any) -> np.ndarray:
        """`[rows, 1]`: the mean squared error of the row."""
        truth, answers = _vectors(self.key, truth, answers)
        found: np.ndarray = ((answers - truth) ** 2).mean(-1, keepdims=True)
        return found

    def value(self, means: np.ndarray) -> np.ndarray:
        found: np.ndarray = np.sqrt(means[..., 0])
        return found


class Pearson:
    """Pearson's correlation, -1..1; of several numbers a row the mean of theirs.

    References: Pearson, Proceedings of the Royal Society of London 58, 1895.
    """

    key, name = "pearson", "Pearson r"
    unit: Unit = "1"
    higher_is_better = True
    against: Against = "labels"

    def counts(self, truth: Any, answers: Any) -> np.ndarray:
        """`[rows, 5 * numbers]`: x, y, x², y², xy, both moved to a mean of 0 and scaled to a deviation of 1 first: that
        changes no correlation, and the differences below then lose no digits."""
        x, y = (_centred(values) for values in _vectors(self.key, truth, answers))
        return np.concatenate([x, y, x * x, y * y, x * y], axis=1)

    def value(self, means: np.ndarray) -> np.ndarray:
        x, y, xx, yy, xy = np.split(means, 5, axis=-1)
        spread = np.maximum(xx - x * x, 0) * np.maximum(yy - y * y, 0)
        found: np.ndarray = ratio(xy - x * y, np.sqrt(np.where(spread > 1e-24, spread, 0.0))).mean(-1)
        return found


class Spearman(Pearson):
    """Pearson's correlation of the ranks, ties sharing their mean rank. A resample keeps the ranks of all rows.

    References: Spearman, American Journal of Psychology 15(1), 1904.
    """

    key, name = "spearman", "Spearman rho"

    def counts(self, truth: Any, answers: Any) -> np.ndarray:
        """`[rows, 5 * numbers]`, as Pearson's, of the ranks."""
        both = _vectors(self.key, truth, answers)
        return super().counts(*(np.stack([mean_ranks(one) for one in values.T], axis=1) for values in both))


class Cosine:
    """Mean cosine of the angle between each row's vector and the teacher's: how alike embeddings are."""

    key, name = "cosine", "cosine"
    unit: Unit = "1"
    higher_is_better = True
    against: Against = "teacher"

    def counts(self, truth: Any, answers: Any) -> np.ndarray:
        """`[rows, 1]`: the cosine of the row; 0 where a vector is 0, which has no direction."""
        truth, answers = _vectors(self.key, truth, answers)
        lengths = np.linalg.norm(truth, axis=-1) * np.linalg.norm(answers, axis=-1)
        found: np.ndarray = np.nan_to_num(ratio((truth * answers).sum(-1), lengths))[:, None]
        return found

    def value(self, means: np.ndarray) -> np.ndarray:
        return means[..., 0]


class SignalToNoise:
    """10 log10(power of the teacher's outputs / power of the difference), in dB; none where nothing differs. Where the
    teacher has NaN, such as at tokens that are not judged, nothing is compared."""

    key, name = "sqnr", "SQNR"
    unit: Unit = "dB"
    higher_is_better = True
    against: Against = "teacher"

    def counts(self, truth: Any, answers: Any) -> np.ndarray:
        """`[rows, 2]`: power of the teacher's row, and of the difference to it; of maps `[rows, channels, height,
        width]` on the finer of both grids."""
        if np.ndim(truth) == np.ndim(answers) == 4:
            truth, answers = on_one_grid(truth, answers)
        truth, answers = _vectors(self.key, truth, answers)
        known = ~np.isnan(truth)
        signal, noise = np.where(known, truth, 0.0), np.where(known, truth - answers, 0.0)
        return np.stack([(signal**2).sum(-1), (noise**2).sum(-1)], axis=1)

    def value(self, means: np.ndarray) -> np.ndarray:
        quotient = ratio(means[..., 0], means[..., 1])
        return 10 * np.log10(np.where(quotient > 0, quotient, np.nan))


def mean_ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1 on; equal values share the mean of their ranks.

    >>> mean_ranks(np.array([10.0, 30.0, 10.0, 20.0])).tolist()
    [1.5, 4.0, 1.5, 3.0]
    """
    _, places, repeats = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(repeats)
    return np.asarray((ends - (repeats - 1) / 2)[places])


def _centred(values: np.ndarray) -> np.ndarray:
    moved = values - values.mean(0)
    deviation = moved.std(0)
    found: np.ndarray = moved / np.where(deviation > 0, deviation, 1.0)
    return found


def _vectors(metric: str, truth: Any, answers: Any) -> tuple[np.ndarray, np.ndarray]:
    """Both as float64 `[rows, numbers]`."""
    same_rows(metric, truth, answers)
    truth, answers = (np.reshape(values, (len(values), -1)) for values in (truth, answers))
    if np.shape(truth) != np.shape(answers):
        raise BenchmarkError(
            f"{metric} needs as many numbers in each answer as in the truth, got {list(np.shape(truth))} and "
            f"{list(np.shape(answers))}"
        )
    first, second = (np.asarray(values, np.float64).reshape(len(truth), -1) for values in (truth, answers))
    return first, second
