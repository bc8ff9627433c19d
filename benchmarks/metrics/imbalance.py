"""Metrics of classes that are not equally frequent, where accuracy is near the share of the commonest one.

Answers are logits `[rows, classes]`; labels are class numbers `[rows]`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgepress.benchmarks.metrics.base import Against, Unit, mean_of_known, ratio
from edgepress.benchmarks.metrics.classes import check_logits, log_softmax, one_hot
from edgepress.benchmarks.metrics.vectors import mean_ranks


class Matthews:
    """Matthews' correlation coefficient of several classes, -1..1: 0 for guessing, whatever the classes' shares.

    References: Gorodkin, Computational Biology and Chemistry 28(5-6), 2004.

    >>> truth, logits = np.array([0, 0, 0, 1]), np.array([[1.0, 0.0]] * 3 + [[0.0, 1.0]])
    >>> kind = Matthews()
    >>> [float(kind.value(kind.counts(truth, said).mean(axis=0))) for said in (logits, logits[::-1])]
    [1.0, -0.3333333333333333]
    """

    key, name = "mcc", "MCC"
    unit: Unit = "1"
    higher_is_better = True
    against: Against = "labels"

    def counts(self, truth: Any, answers: Any) -> np.ndarray:
        """`[rows, 1 + 2 * classes]`: whether the row is right, its class, and the class that was said."""
        check_logits(self.key, truth, answers)
        said, classes = answers.argmax(-1), answers.shape[-1]
        right = (said == truth)[:, None]
        return np.concatenate([right, one_hot(truth, classes), one_hot(said, classes)], axis=1).astype(np.uint8)

    def value(self, means: np.ndarray) -> np.ndarray:
        right, (actual, said) = means[..., 0], np.split(means[..., 1:], 2, axis=-1)
        spread = (1 - (actual**2).sum(-1)) * (1 - (said**2).sum(-1))
        return ratio(right - (actual * said).sum(-1), np.sqrt(np.maximum(spread, 0)))


class AreaUnderCurve:
    """Mean over the classes of the area under the ROC curve, each class against all others: how likely a row of the
    class is ranked above one that is not. A class with all rows or none is left out. A resample keeps the ranks.

    References: Fawcett, Pattern Recognition Letters 27(8), 2006; Provost and Domingos, 2000 (mean over classes).

    >>> truth = np.array([0, 0, 1, 1])
    >>> logits = np.array([[2.0, 0.0], [0.0, 1.0], [1.0, 1.5], [0.0, 3.0]])
    >>> kind = AreaUnderCurve()
    >>> float(kind.value(kind.counts(truth, logits).mean(axis=0)))  # 3 of 4 pairs are in order
    0.75
    """

    key, name = "auroc", "AUROC"
    unit: Unit = "share"
    higher_is_better = True
    against: Against = "labels"

    def counts(self, truth: Any, answers: Any) -> np.ndarray:
        """`[rows, 2 * classes]`: of a row of the class the share of other rows below it, then whether it is of it."""
        check_logits(self.key, truth, answers)
        scores, actual = log_softmax(answers), one_hot(truth, answers.shape[-1])
        below = np.stack([_below(actual[:, k], scores[:, k]) for k in range(actual.shape[1])], axis=1)
        known = actual & (actual.any(0) & ~actual.all(0))
        return np.concatenate([below * known, known], axis=1)

    def value(self, means: np.ndarray) -> np.ndarray:
        found, rows = np.split(means, 2, axis=-1)
        return mean_of_known(ratio(found, rows))


def _below(actual: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Of each row of the class, the share of the others whose score is lower; an equal score counts half."""
    others = len(actual) - int(actual.sum())
    found = np.zeros(len(actual))
    if others and actual.any():
        # The rank among all, less that among its own, is how many others lie below.
        found[actual] = (mean_ranks(scores)[actual] - mean_ranks(scores[actual])) / others
    return found
