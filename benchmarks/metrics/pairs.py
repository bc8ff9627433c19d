"""Metrics of embeddings of texts that were compared by people: pairs with scores, and finding one by the other."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgepress.benchmarks.metrics.base import Against, Unit, same_rows
from edgepress.benchmarks.metrics.vectors import Pearson, Spearman
from edgepress.targets.errors import BenchmarkError

ALIKE = 0.8
"""A pair counts as one that belongs together from this share of the range of scores on."""
CHUNK = 512
"""Vectors compared with all others at a time."""


class PairSpearman(Spearman):
    """Spearman's correlation of the scores of pairs and the cosines of their vectors; pairs are what is resampled."""

    key, name = "pair-spearman", "Spearman rho of pairs"

    def counts(self, truth: Any, answers: Any) -> np.ndarray:
        """`[pairs, 5]`, as Spearman's.

        Args:
            truth: `[texts, 3]`: number of the pair, its score, number of the text; of texts without a score NaN.
            answers: vectors `[texts, width]`.

        Raises:
            BenchmarkError: no pair has a score.
        """
        return super().counts(*scored_pairs(self.key, truth, answers))


class PairPearson(Pearson):
    """Pearson's correlation of the same."""

    key, name = "pair-pearson", "Pearson r of pairs"

    def counts(self, truth: Any, answers: Any) -> np.ndarray:
        """`[pairs, 5]`, as Pearson's; see `PairSpearman.counts`."""
        return super().counts(*scored_pairs(self.key, truth, answers))


class Recall:
    """How often the other text of a pair that belongs together (a score in the highest fifth of their range) is among
    the k texts of all rows whose vectors are nearest."""

    unit: Unit = "share"
    higher_is_better = True
    against: Against = "labels"

    def __init__(self, k: int) -> None:
        """`k`: how many are looked at."""
        self.k = k
        self.key, self.name = f"recall-at-{k}", f"recall@{k}"

    def counts(self, truth: Any, answers: Any) -> np.ndarray:
        """`[queries, 1]`: 1 where it was found; both texts of a pair are queries. One NaN where there is none.

        >>> truth = np.array([[0, 5, 0], [0, 5, 1], [1, 0, 2], [1, 0, 3]])
        >>> vectors = np.array([[1.0, 0.0], [0.8, 0.6], [0.9, 0.436], [0.0, 1.0]])
        >>> Recall(1).counts(truth, vectors).tolist(), Recall(2).counts(truth, vectors).tolist()
        ([[0.0], [0.0]], [[1.0], [1.0]])
        """
        truth, vectors = _checked(self.key, truth, answers)
        _, place, number = np.unique(truth[:, 2], return_index=True, return_inverse=True)
        queries = _queries(truth, number)
        if not len(queries):
            return np.full((1, 1), np.nan)
        ranks = [_ranks(part, vectors[place]) for part in np.array_split(queries, -(-len(queries) // CHUNK))]
        return (np.concatenate(ranks) < self.k).astype(np.float64)[:, None]

    def value(self, means: np.ndarray) -> np.ndarray:
        return means[..., 0]


def scored_pairs(metric: str, truth: Any, answers: Any) -> tuple[np.ndarray, np.ndarray]:
    """Scores and cosines of the pairs that have a score, `[pairs, 1]` each.

    Args:
        metric: which one asks, for the message.
        truth: `[texts, 3]`, both texts of a pair one after the other.
        answers: vectors `[texts, width]`.

    >>> truth = np.array([[0, 5, 0], [0, 5, 1]])
    >>> [found.tolist() for found in scored_pairs("x", truth, np.array([[2.0, 0.0], [3.0, 4.0]]))]
    [[[5.0]], [[0.6]]]
    """
    truth, vectors = _checked(metric, truth, answers)
    first, second = _sides(truth)
    if not len(first):
        raise BenchmarkError(f"{metric} needs pairs with scores, and no row has one")
    return truth[first, 1, None], (vectors[first] * vectors[second]).sum(-1, keepdims=True)


def _checked(metric: str, truth: Any, answers: Any) -> tuple[np.ndarray, np.ndarray]:
    """The truth, and the vectors scaled to a length of 1; one of length 0 stays."""
    same_rows(metric, truth, answers)
    truth, vectors = np.asarray(truth, np.float64), np.asarray(answers, np.float64)
    if truth.ndim != 2 or truth.shape[1] != 3 or vectors.ndim != 2:
        raise BenchmarkError(
            f"{metric} needs [texts, 3] of pairs and vectors [texts, width], got {list(truth.shape)} and "
            f"{list(vectors.shape)}"
        )
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return truth, vectors / np.where(lengths > 0, lengths, 1.0)


def _sides(truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers of the first and of the second texts of all pairs with a score."""
    rows = np.flatnonzero((truth[:, 0] >= 0) & np.isfinite(truth[:, 1]))
    order = rows[np.argsort(truth[rows, 0], kind="stable")]
    return order[::2], order[1::2]


def _queries(truth: np.ndarray, number: np.ndarray) -> np.ndarray:
    """Numbers of the texts that are looked for with and of those to be found, `[queries, 2]`."""
    first, second = _sides(truth)
    scores = truth[first, 1]
    low, high = (scores.min(), scores.max()) if len(scores) else (0.0, 0.0)
    alike = (scores >= low + ALIKE * (high - low)) & (number[first] != number[second])
    pairs = np.stack([number[first[alike]], number[second[alike]]], axis=1)
    return np.concatenate([pairs, pairs[:, ::-1]])


def _ranks(queries: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """How many texts lie nearer to each query than the one to be found, the query itself left out, `[queries]`."""
    near = vectors[queries[:, 0]] @ vectors.T
    rows = np.arange(len(queries))
    wanted = near[rows, queries[:, 1]][:, None]
    near[rows, queries[:, 0]] = -np.inf
    found: np.ndarray = (near > wanted).sum(-1)
    return found
