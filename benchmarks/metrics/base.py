"""What a metric is: sufficient statistics of each row, and the figure that their mean over the rows gives.

A figure as a function of means serves every test with one bootstrap: rows are drawn, their statistics are averaged, and
the metric is asked again, without another look at the answers. Accuracy, F1, perplexity, word error rate, Pearson's r
are all of this form.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol

import numpy as np

from edgepress.targets.errors import BenchmarkError

Unit = Literal["share", "nats", "dB", "1"]
"""`share` is 0..1 and differences of it are told in points; `1` is a plain number, such as a correlation or an RMSE in
the unit of the data."""

Against = Literal["labels", "teacher"]
"""What the answers are compared with: the labels of the data, or the teacher's answers to the same rows."""

IGNORED = -100
"""The label of what is not judged: of tokens that are padding, special or not the first of a word; of pixels that
nobody labelled."""

ACCURACY = {
    "max_accuracy_drop": "accuracy.max_drop",
    "min_accuracy": "accuracy.min",
    "min_accuracy_ratio": "accuracy.min_ratio",
}
"""Short forms of gates that recipes have for accuracy -> the gate of the metric."""


class Metric(Protocol):
    """One kind of figure. A new one is a class in a file of this folder and a line in `METRICS`."""

    key: str
    """How recipes and reports name it, e.g. `macro-f1`."""
    name: str
    """How people read it, e.g. `macro F1`."""
    unit: Unit
    higher_is_better: bool
    against: Against

    def counts(self, truth: Any, answers: Any) -> np.ndarray:
        """Sufficient statistics of each row.

        Args:
            truth: one entry a row: labels, or the teacher's answers where `against` is `teacher`.
            answers: what the artifact gave for the same rows, e.g. logits `[rows, classes]`.

        Returns:
            `[rows, k]`, numbers whose mean over the rows `value` takes; where rows belong together, as the texts of a
            pair, one entry for all of them: entries are what is resampled.

        Raises:
            BenchmarkError: truth and answers don't fit each other.
        """
        ...

    def value(self, means: np.ndarray) -> np.ndarray:
        """The figure of means (or sums, where the metric is a ratio of them).

        Args:
            means: `[..., k]`, the mean of `counts` over rows; leading axes are resamples.

        Returns:
            `[...]`, NaN where the figure does not exist, as a correlation of a constant.
        """
        ...


def value_of(metric: Metric, counts: np.ndarray) -> float:
    """The figure of all rows.

    Args:
        metric: the metric that the counts are of.
        counts: `[rows, k]`, as `metric.counts` gives them.
    """
    return float(metric.value(counts.mean(axis=0, dtype=np.float64)))


def same_rows(metric: str, truth: Sequence[Any] | np.ndarray, answers: Sequence[Any] | np.ndarray) -> None:
    """Refuse truth and answers of different numbers of rows, or of none.

    Raises:
        BenchmarkError: names the metric and both numbers.
    """
    if len(truth) != len(answers) or len(truth) == 0:
        raise BenchmarkError(
            f"{metric} needs an answer for each row and at least one row, got {len(truth)} rows and "
            f"{len(answers)} answers"
        )


def ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """`above / below`, NaN where `below` is 0."""
    below = np.asarray(below, np.float64)
    quotient: np.ndarray = np.divide(above, below, out=np.full(below.shape, np.nan), where=below != 0)
    return quotient


def mean_of_known(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis without NaN; NaN where nothing is known."""
    known = ~np.isnan(values)
    return ratio(np.where(known, values, 0.0).sum(-1), known.sum(-1))
