"""Metrics of a class for each pixel: mean IoU, pixel accuracy, agreement with the teacher.

Answers are logits `[rows, classes, height, width]`, as coarse as the network gives them: they are brought to the size
of the labels `[rows, height, width]` by bilinear interpolation before the largest is taken, as transformers'
`post_process_semantic_segmentation` does. Labels of -100 are not judged.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from edgepress.benchmarks.metrics.base import IGNORED, Against, Unit, mean_of_known, ratio, same_rows
from edgepress.targets.errors import BenchmarkError
from edgepress.targets.preprocess.bilinear import interpolated, on_one_grid


class MeanIoU:
    """Mean over the classes of the Jaccard index: pixels of the class in labels and answers / pixels in either, over
    all judged pixels of all rows. A class that neither names is left out.

    References: Everingham et al., IJCV 111(1), 2015, section 4.4.2; Long, Shelhamer and Darrell, arXiv 1411.4038,
    section 5 ("mean IU").

    >>> labels, logits = np.array([[[0, 0, 1]]]), np.array([[[[2.0, 0.0, 0.0]], [[0.0, 2.0, 2.0]]]])
    >>> MeanIoU().counts(labels, logits).tolist()  # both classes: 1 pixel found; class 1 said once too often
    [[1, 1, 0, 1, 1, 0]]
    >>> float(MeanIoU().value(MeanIoU().counts(labels, logits).mean(axis=0)))  # (1/2 + 1/2) / 2
    0.5
    """

    key, name = "mean-iou", "mean IoU"
    unit: Unit = "share"
    higher_is_better = True
    against: Against = "labels"

    def counts(self, truth: Any, answers: Any) -> np.ndarray:
        """`[rows, 3 * classes]`: pixels found, said falsely, missed, by class."""
        labels, logits = _maps(self.key, truth, answers)
        pairs = zip(labels, _said(logits, labels.shape[1:]), strict=True)
        return np.stack([_confusions(row, said, logits.shape[1]) for row, said in pairs])

    def value(self, means: np.ndarray) -> np.ndarray:
        found, false, missed = np.split(means, 3, axis=-1)
        return mean_of_known(ratio(found, found + false + missed))


class PixelAccuracy:
    """Share of judged pixels, over all rows, whose largest logit is the label's."""

    key, name = "pixel-accuracy", "pixel accuracy"
    unit: Unit = "share"
    higher_is_better = True
    against: Against = "labels"

    def counts(self, truth: Any, answers: Any) -> np.ndarray:
        """`[rows, 2]`: right pixels and judged pixels."""
        labels, logits = _maps(self.key, truth, answers)
        pairs = zip(labels, _said(logits, labels.shape[1:]), strict=True)
        return np.array([((said == row).sum(), (row != IGNORED).sum()) for row, said in pairs])

    def value(self, means: np.ndarray) -> np.ndarray:
        return ratio(means[..., 0], means[..., 1])


class PixelAgreement:
    """Share of places whose largest logit is of the teacher's class, on the finer of the two grids of logits; whether
    the labels judge them does not matter."""

    key, name = "pixel-agreement", "pixel agreement"
    unit: Unit = "share"
    higher_is_better = True
    against: Against = "teacher"

    def counts(self, truth: Any, answers: Any) -> np.ndarray:
        """`[rows, 2]`: agreeing places and places, of two logits `[rows, classes, height, width]`."""
        same_rows(self.key, truth, answers)
        if np.ndim(truth) != 4 or np.ndim(answers) != 4 or truth.shape[1] != answers.shape[1]:
            raise BenchmarkError(
                f"{self.key} needs two logits [rows, classes, height, width] of the same rows and classes, got "
                f"{list(np.shape(truth))} and {list(np.shape(answers))}"
            )
        theirs, ours = on_one_grid(truth, answers)
        same = [one.argmax(0) == other.argmax(0) for one, other in zip(theirs, ours, strict=True)]
        return np.array([(row.sum(), row.size) for row in same])

    def value(self, means: np.ndarray) -> np.ndarray:
        return ratio(means[..., 0], means[..., 1])


def _said(logits: np.ndarray, size: tuple[int, ...]) -> Iterator[np.ndarray]:
    """The class of each pixel, row by row: whole logits of all rows would be many times as large."""
    return (interpolated(row, size).argmax(0) for row in logits)


def _confusions(labels: np.ndarray, said: np.ndarray, classes: int) -> np.ndarray:
    judged = labels != IGNORED
    table = np.bincount(labels[judged].astype(np.int64) * classes + said[judged], minlength=classes**2)
    table = table.reshape(classes, classes)  # rows: labels, columns: answers
    found = np.diagonal(table)
    return np.concatenate([found, table.sum(0) - found, table.sum(1) - found])


def _maps(metric: str, truth: Any, answers: Any) -> tuple[np.ndarray, np.ndarray]:
    labels, logits = np.asarray(truth), np.asarray(answers)
    if labels.ndim != 3 or logits.ndim != 4 or not len(labels) or len(labels) != len(logits):
        raise BenchmarkError(
            f"{metric} needs labels [rows, height, width] and logits [rows, classes, height, width] of the same rows, "
            f"got {list(labels.shape)} and {list(logits.shape)}"
        )
    return labels, logits
