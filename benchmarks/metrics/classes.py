"""Metrics of one class a row: accuracy, F1, recall by class, and how near the teacher's answers are.

Answers are logits `[rows, classes]`; labels are class numbers `[rows]`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgepress.benchmarks.metrics.base import Against, Unit, mean_of_known, ratio, same_rows
from edgepress.targets.errors import BenchmarkError


class Accuracy:
    """Share of rows whose largest logit is the label's.

    >>> Accuracy().counts(np.array([0, 1]), np.array([[2.0, 0.0], [2.0, 0.0]])).tolist()
    [[1], [0]]
    """

    key, name = "accuracy", "accuracy"
    unit: Unit = "share"
    higher_is_better = True
    against: Against = "labels"

    def counts(self, truth: Any, answers: Any) -> np.ndarray:
        """`[rows, 1]`: 1 where the row is right, else 0."""
        check_logits(self.key, truth, answers)
        found: np.ndarray = (answers.argmax(-1) == truth)[:, None].astype(np.uint8)
        return found

    def value(self, means: np.ndarray) -> np.ndarray:
        return means[..., 0]


class TopFive:
    """Share of rows whose label is among the five largest logits; ties count for the row."""

    key, name = "top-5-accuracy", "top-5 accuracy"
    unit: Unit = "share"
    higher_is_better = True
    against: Against = "labels"

    def counts(self, truth: Any, answers: Any) -> np.ndarray:
        """`[rows, 1]`: 1 where fewer than five logits are larger than the label's."""
        check_logits(self.key, truth, answers)
        own = np.take_along_axis(answers, np.asarray(truth)[:, None], axis=-1)
        found: np.ndarray = ((answers > own).sum(-1) < 5)[:, None].astype(np.uint8)
        return found

    def value(self, means: np.ndarray) -> np.ndarray:
        return means[..., 0]


class MacroF1:
    """Mean over the classes of F1 = 2 tp / (2 tp + fp + fn).

    A class that neither labels nor answers name is left out of the mean, as scikit-learn's `f1_score` does it.

    References: Sokolova and Lapalme, Information Processing and Management 45(4), 2009, table 3; of the two definitions
    in use this is the mean of F1s (Opitz and Burst, arXiv 1911.03347).

    >>> counts = MacroF1().counts(np.array([0, 0, 1]), np.array([[2.0, 0.0], [0.0, 2.0], [0.0, 2.0]]))
    >>> round(float(MacroF1().value(counts.mean(axis=0))), 4)
    0.6667
    """

    key, name = "macro-f1", "macro F1"
    unit: Unit = "share"
    higher_is_better = True
    against: Against = "labels"

    def counts(self, truth: Any, answers: Any) -> np.ndarray:
        """`[rows, 3 * classes]`: true positives, then false positives, then false negatives, by class."""
        check_logits(self.key, truth, answers)
        actual, predicted = one_hot(truth, answers.shape[-1]), one_hot(answers.argmax(-1), answers.shape[-1])
        return confusions(actual, predicted)

    def value(self, means: np.ndarray) -> np.ndarray:
        return mean_f1(means)


class BalancedAccuracy:
    """Mean over the classes of recall: the accuracy of rows of one class. A class without rows is left out.

    References: Brodersen et al., ICPR 2010, doi 10.1109/ICPR.2010.764.
    """

    key, name = "balanced-accuracy", "balanced accuracy"
    unit: Unit = "share"
    higher_is_better = True
    against: Against = "labels"

    def counts(self, truth: Any, answers: Any) -> np.ndarray:
        """`[rows, 2 * classes]`: right rows by class, then rows by class."""
        check_logits(self.key, truth, answers)
        actual = one_hot(truth, answers.shape[-1])
        right = actual & (answers.argmax(-1) == truth)[:, None]
        return np.concatenate([right, actual], axis=1).astype(np.uint8)

    def value(self, means: np.ndarray) -> np.ndarray:
        right, rows = np.split(means, 2, axis=-1)
        return mean_of_known(ratio(right, rows))


class LogLoss:
    """Mean of -log p(label), in nats: the cross-entropy with the labels, which sees confidence and not ranks alone."""

    key, name = "log-loss", "log loss"
    unit: Unit = "nats"
    higher_is_better = False
    against: Against = "labels"

    def counts(self, truth: Any, answers: Any) -> np.ndarray:
        """`[rows, 1]`: -log p(label) of the row, nats."""
        check_logits(self.key, truth, answers)
        return -np.take_along_axis(log_softmax(answers), np.asarray(truth)[:, None], axis=-1)

    def value(self, means: np.ndarray) -> np.ndarray:
        return means[..., 0]


class Agreement:
    """Share of rows where the top class is the teacher's."""

    key, name = "agreement", "agreement"
    unit: Unit = "share"
    higher_is_better = True
    against: Against = "teacher"

    def counts(self, truth: Any, answers: Any) -> np.ndarray:
        """`[rows, 1]`: 1 where both have the same largest logit."""
        _same_shape(self.key, truth, answers)
        found: np.ndarray = (answers.argmax(-1) == truth.argmax(-1))[:, None].astype(np.uint8)
        return found

    def value(self, means: np.ndarray) -> np.ndarray:
        return means[..., 0]


class Divergence:
    """Mean KL(teacher || answers) of the class probabilities, in nats.

    References: Kullback and Leibler, Annals of Mathematical Statistics 22(1), 1951.
    """

    key, name = "kl", "KL"
    unit: Unit = "nats"
    higher_is_better = False
    against: Against = "teacher"

    def counts(self, truth: Any, answers: Any) -> np.ndarray:
        """`[rows, 1]`: the divergence of the row, nats."""
        _same_shape(self.key, truth, answers)
        teacher = log_softmax(truth)
        found: np.ndarray = (np.exp(teacher) * (teacher - log_softmax(answers))).sum(-1)[:, None]
        return found

    def value(self, means: np.ndarray) -> np.ndarray:
        # A sum of rounding errors can be just below 0, which no divergence is.
        found: np.ndarray = np.maximum(means[..., 0], 0.0)
        return found


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Logarithms of the class probabilities.

    Args:
        logits: `[rows, classes]`; shifted by their maximum first, so that none overflows.

    Returns:
        float64 `[rows, classes]`.
    """
    shifted = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    result: np.ndarray = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return result


def one_hot(numbers: Any, classes: int) -> np.ndarray:
    """Whether a row is of a class, bool `[rows, classes]`."""
    found: np.ndarray = np.asarray(numbers)[:, None] == np.arange(classes)
    return found


def confusions(actual: np.ndarray, said: np.ndarray) -> np.ndarray:
    """True positives, then false positives, then false negatives, uint8 `[rows, 3 * names]`.

    Args:
        actual: whether a row has a class or label, bool `[rows, names]`.
        said: whether the answer has it, likewise.
    """
    return np.concatenate([actual & said, said & ~actual, actual & ~said], axis=1).astype(np.uint8)


def mean_f1(means: np.ndarray) -> np.ndarray:
    """Mean over the names of F1 = 2 tp / (2 tp + fp + fn), of means of `confusions` `[..., 3 * names]`."""
    right, false, missed = np.split(means, 3, axis=-1)
    return mean_of_known(ratio(2 * right, 2 * right + false + missed))


def check_logits(metric: str, truth: Any, answers: Any) -> None:
    """Raises BenchmarkError where the answers are no logits `[rows, classes]`, or of other rows than the truth."""
    if np.ndim(answers) != 2:
        raise BenchmarkError(f"{metric} needs logits [rows, classes], got {list(np.shape(answers))}")
    same_rows(metric, truth, answers)


def _same_shape(metric: str, truth: Any, answers: Any) -> None:
    if np.shape(truth) != np.shape(answers) or np.ndim(answers) != 2:
        raise BenchmarkError(
            f"{metric} needs two logits [rows, classes] of the same rows and classes, got {list(np.shape(truth))} and "
            f"{list(np.shape(answers))}"
        )
