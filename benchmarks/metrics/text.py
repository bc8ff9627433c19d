"""Metrics of written answers: word error rate and exact match."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgepress.benchmarks.metrics.base import Against, Unit, ratio, same_rows


class WordErrorRate:
    """Words to insert, delete or replace / words of the truth; above 1 where more is wrong than there are words.

    References: Levenshtein, Soviet Physics Doklady 10(8), 1966.
    """

    key, name = "wer", "word error rate"
    unit: Unit = "share"
    higher_is_better = False
    against: Against = "labels"

    def counts(self, truth: Any, answers: Any) -> np.ndarray:
        """`[rows, 2]`: edits and words of the truth, of texts split at white space."""
        same_rows(self.key, truth, answers)
        pairs = [(str(wanted).split(), str(got).split()) for wanted, got in zip(truth, answers, strict=True)]
        return np.array([(edits(wanted, got), len(wanted)) for wanted, got in pairs])

    def value(self, means: np.ndarray) -> np.ndarray:
        return ratio(means[..., 0], means[..., 1])


class ExactMatch:
    """Share of rows whose text is the truth's, white space at the ends left out."""

    key, name = "exact-match", "exact match"
    unit: Unit = "share"
    higher_is_better = True
    against: Against = "labels"

    def counts(self, truth: Any, answers: Any) -> np.ndarray:
        """`[rows, 1]`: 1 where the texts are the same, else 0."""
        same_rows(self.key, truth, answers)
        pairs = zip(truth, answers, strict=True)
        return np.array([[str(wanted).strip() == str(got).strip()] for wanted, got in pairs], np.uint8)

    def value(self, means: np.ndarray) -> np.ndarray:
        return means[..., 0]


def edits(wanted: Sequence[str], got: Sequence[str]) -> int:
    """The fewest insertions, deletions and replacements that make `wanted` of `got`.

    >>> edits("a b c".split(), "a x c d".split())
    2
    """
    costs = list(range(len(got) + 1))
    for row, word in enumerate(wanted, 1):
        diagonal, costs[0] = costs[0], row
        for column, other in enumerate(got, 1):
            replaced = diagonal + (word != other)
            diagonal = costs[column]
            costs[column] = min(replaced, costs[column] + 1, costs[column - 1] + 1)
    return costs[-1]
