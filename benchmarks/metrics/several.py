"""Metrics of several labels a row: F1, exact match, and how well each label's rows are ranked.

Answers are logits `[rows, labels]`, above 0 is yes; truth is 0 or 1 of the same shape.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgepress.benchmarks.metrics.base import Against, Unit, mean_of_known, ratio, same_rows
from edgepress.benchmarks.metrics.classes import confusions, mean_f1
from edgepress.targets.errors import BenchmarkError


class LabelMacroF1:
    """Mean over the labels of F1 = 2 tp / (2 tp + fp + fn); a label that neither truth nor answers name is left out.

    References: Opitz and Burst, arXiv 1911.03347.

    >>> counts = LabelMacroF1().counts(np.array([[1, 0], [1, 1]]), np.array([[2.0, 1.0], [-1.0, 3.0]]))
    >>> round(float(LabelMacroF1().value(counts.mean(axis=0))), 4)
    0.6667
    """

    key, name = "label-macro-f1", "macro F1"
    unit: Unit = "share"
    higher_is_better = True
    against: Against = "labels"

    def counts(self, truth: Any, answers: Any) -> np.ndarray:
        """`[rows, 3 * labels]`: true positives, then false positives, then false negatives, by label."""
        actual, said = _both(self.key, truth, answers)
        return confusions(actual, said)

    def value(self, means: np.ndarray) -> np.ndarray:
        return mean_f1(means)


class ExactLabels:
    """Share of rows whose labels are all right (subset accuracy)."""

    key, name = "exact-labels", "exact match"
    unit: Unit = "share"
    higher_is_better = True
    against: Against = "labels"

    def counts(self, truth: Any, answers: Any) -> np.ndarray:
        """`[rows, 1]`: 1 where every label is right."""
        actual, said = _both(self.key, truth, answers)
        found: np.ndarray = (actual == said).all(1)[:, None].astype(np.uint8)
        return found

    def value(self, means: np.ndarray) -> np.ndarray:
        return means[..., 0]


class MeanAveragePrecision:
    """Mean over the labels of average precision: of each row with the label, the share of rows with it among those that
    are ranked as high. A label without rows is left out. A resample keeps the ranks of all rows.

    References: as scikit-learn's `average_precision_score`; Everingham et al., IJCV 88(2), 2010, without interpolation.

    >>> truth, logits = np.array([[1], [0], [1]]), np.array([[3.0], [2.0], [1.0]])
    >>> kind = MeanAveragePrecision()
    >>> round(float(kind.value(kind.counts(truth, logits).mean(axis=0))), 4)  # (1/1 + 2/3) / 2
    0.8333
    """

    key, name = "map", "mAP"
    unit: Unit = "share"
    higher_is_better = True
    against: Against = "labels"

    def counts(self, truth: Any, answers: Any) -> np.ndarray:
        """`[rows, 2 * labels]`: the precision at each row that has the label, then whether it has it, by label."""
        actual, _ = _both(self.key, truth, answers)
        precision = np.stack([precision_at(actual[:, k], answers[:, k]) for k in range(actual.shape[1])], axis=1)
        return np.concatenate([precision * actual, actual], axis=1)

    def value(self, means: np.ndarray) -> np.ndarray:
        found, rows = np.split(means, 2, axis=-1)
        return mean_of_known(ratio(found, rows))


class LabelAgreement:
    """Share of labels, over all rows, that are answered as the teacher answers them."""

    key, name = "label-agreement", "agreement"
    unit: Unit = "share"
    higher_is_better = True
    against: Against = "teacher"

    def counts(self, truth: Any, answers: Any) -> np.ndarray:
        """`[rows, 1]`: the share of the row."""
        theirs, said = _both(self.key, np.asarray(truth) > 0, answers)
        found: np.ndarray = (theirs == said).mean(1)[:, None]
        return found

    def value(self, means: np.ndarray) -> np.ndarray:
        return means[..., 0]


def precision_at(actual: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Of each row, the share of rows with the label among those whose score is not lower; equal scores count together.

    Args:
        actual: whether a row has the label, `[rows]`.
        scores: `[rows]`.

    >>> precision_at(np.array([True, False, True]), np.array([1.0, 1.0, 0.0])).round(4).tolist()
    [0.5, 0.5, 0.6667]
    """
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(actual[order])
    # Rows of one score stand or fall together: each is looked at where the last of them is.
    ends = np.searchsorted(-scores[order], -scores, side="right")
    return np.asarray(hits[ends - 1] / ends)


def _both(metric: str, truth: Any, answers: Any) -> tuple[np.ndarray, np.ndarray]:
    """What is true and what is said, bool `[rows, labels]`."""
    same_rows(metric, truth, answers)
    if np.shape(truth) != np.shape(answers) or np.ndim(answers) != 2:
        raise BenchmarkError(
            f"{metric} needs truth and logits [rows, labels], got {list(np.shape(truth))} and {list(np.shape(answers))}"
        )
    return np.asarray(truth) > 0.5, np.asarray(answers) > 0
