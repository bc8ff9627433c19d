"""Metrics of detectors, which listen all day for a few words: what they raise by mistake where they miss little."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgepress.benchmarks.metrics.base import Against, Unit, mean_of_known, ratio
from edgepress.benchmarks.metrics.classes import check_logits, log_softmax, one_hot

MISS_RATE = 0.05
"""Share of a word's own windows that its threshold may miss."""
DECISIONS = 3600
"""Decisions an hour: one a second, however long a window is."""


class FalseAlarms:
    """False alarms an hour of each word, at 5 % misses and one decision a second: their mean over the words.

    One word against the rest: a window is scored by the log-probability of the word. The threshold is the highest score
    that misses no more than 5 % of its own windows, found on all rows that are judged. A window of any other class that
    reaches it is a false alarm; their share of those windows times 3,600 decisions is what an hour of the other classes
    would raise. Words without a window of their own, or without one of another class, are left out. Intervals keep the
    thresholds that were found and tell how sure the share is at them.

    >>> truth, answers = np.array([0, 0, 1, 1]), np.array([[3.0, 0.0], [1.0, 0.0], [2.0, 0.0], [0.0, 3.0]])
    >>> counts = FalseAlarms().counts(truth, answers)  # of each word, 1 window of 2
    >>> float(FalseAlarms().value(counts.mean(axis=0)))
    1800.0
    """

    key, name = "false-alarms", "false alarms an hour at 5 % misses"
    unit: Unit = "1"
    higher_is_better = False
    against: Against = "labels"

    def counts(self, truth: Any, answers: Any) -> np.ndarray:
        """`[rows, 2 * classes]`: false alarms by word, then windows of other classes, by word.

        Raises:
            BenchmarkError: answers are no logits, or of other rows.
        """
        check_logits(self.key, truth, answers)
        scores = log_softmax(answers)
        own = one_hot(truth, answers.shape[-1])
        thresholds = np.array([_threshold(scores[own[:, word], word]) for word in range(answers.shape[-1])])
        others = ~own & ~np.isnan(thresholds)
        return np.concatenate([others & (scores >= thresholds), others], axis=1).astype(np.uint8)

    def value(self, means: np.ndarray) -> np.ndarray:
        """False alarms an hour, `[...]`."""
        alarms, others = np.split(means, 2, axis=-1)
        return DECISIONS * mean_of_known(ratio(alarms, others))


def _threshold(scores: np.ndarray) -> float:
    """The highest score that misses no more than the allowed share of these; NaN where there are none."""
    if not len(scores):
        return float("nan")
    return float(np.sort(scores)[int(MISS_RATE * len(scores))])
