"""Metrics of models that say which token comes next, from two numbers a place instead of a logit for each token.

The logits of 1,000 rows of 128 tokens over a vocabulary of 50,000 take 26 GB; what the metrics need of them is the
probability that the true token was given, and which token was thought most likely.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgepress.benchmarks.metrics.base import IGNORED, Against, Unit, ratio
from edgepress.benchmarks.metrics.classes import log_softmax
from edgepress.targets.errors import BenchmarkError

LIKELIEST_EXACT = 2**24
"""Numbers of tokens below it are themselves in float32; the largest vocabularies have 2^18."""


def scored(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """What is kept of logits, float32 `[rows, tokens, 2]`: log p(true token) in nats, and the likeliest token.

    Args:
        logits: `[rows, tokens, vocabulary]`.
        labels: the true tokens, int64 `[rows, tokens]`; -100 where nothing is judged, which is NaN then.

    Raises:
        BenchmarkError: the vocabulary is too large for the numbers of its tokens to be kept.

    >>> scored(np.zeros((1, 2, 4)), np.array([[1, IGNORED]]))[0].tolist()
    [[-1.3862943649291992, 0.0], [nan, nan]]
    """
    if logits.shape[-1] > LIKELIEST_EXACT:
        raise BenchmarkError(f"a vocabulary of {logits.shape[-1]} tokens is larger than {LIKELIEST_EXACT}")
    judged = labels != IGNORED
    found = np.full((*labels.shape, 2), np.nan, np.float32)
    theirs = logits[judged]
    own = np.take_along_axis(log_softmax(theirs), labels[judged][:, None], axis=-1)[:, 0]
    found[judged] = np.stack([own, theirs.argmax(-1)], axis=-1)
    return found


class Perplexity:
    """exp of the mean -log p(next token) over the judged tokens: 1 is certain and right, the vocabulary's size is
    guessing."""

    key, name = "perplexity", "perplexity"
    unit: Unit = "1"
    higher_is_better = False
    against: Against = "labels"

    def counts(self, truth: Any, answers: Any) -> np.ndarray:
        """`[rows, 2]`: sum of -log p(next token) in nats, and judged tokens.

        Args:
            truth: the next tokens, int64 `[rows, tokens]`; -100 is not judged.
            answers: as `scored` gives them, `[rows, tokens, 2]`.
        """
        labels, found = _pair(self.key, truth, answers)
        judged = labels != IGNORED
        return np.stack([-np.where(judged, found[..., 0], 0).sum(-1), judged.sum(-1)], axis=1)

    def value(self, means: np.ndarray) -> np.ndarray:
        found: np.ndarray = np.exp(ratio(means[..., 0], means[..., 1]))
        return found


class NextTokenAccuracy:
    """Share of judged tokens that were thought the likeliest."""

    key, name = "next-token-accuracy", "next-token accuracy"
    unit: Unit = "share"
    higher_is_better = True
    against: Against = "labels"

    def counts(self, truth: Any, answers: Any) -> np.ndarray:
        """`[rows, 2]`: right tokens and judged tokens.

        Args:
            truth: the next tokens, int64 `[rows, tokens]`; -100 is not judged.
            answers: as `scored` gives them, `[rows, tokens, 2]`.
        """
        labels, found = _pair(self.key, truth, answers)
        judged = labels != IGNORED
        return np.stack([((found[..., 1] == labels) & judged).sum(-1), judged.sum(-1)], axis=1)

    def value(self, means: np.ndarray) -> np.ndarray:
        return ratio(means[..., 0], means[..., 1])


def scored_whole(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """`scored` with as many positions as `labels` has, NaN where `logits` of shorter batches have none.

    Args:
        logits: `[batch, sequence, vocabulary]`, of sequences padded to any length.
        labels: int64 `[batch, positions]`.

    Returns:
        float32 `[batch, positions, 2]`.
    """
    width = min(labels.shape[1], logits.shape[1])
    found = np.full((*labels.shape, 2), np.nan, np.float32)
    found[:, :width] = scored(logits[:, :width], labels[:, :width])
    return found


class NextTokenAgreement:
    """Share of judged tokens where the likeliest is the teacher's likeliest."""

    key, name = "next-token-agreement", "next-token agreement"
    unit: Unit = "share"
    higher_is_better = True
    against: Against = "teacher"

    def counts(self, truth: Any, answers: Any) -> np.ndarray:
        """`[rows, 2]`: agreeing tokens and judged tokens.

        Args:
            truth: the teacher's, as `scored` gives them, `[rows, tokens, 2]`.
            answers: those of the artifact.
        """
        teacher, found = np.asarray(truth), np.asarray(answers)
        if teacher.shape != found.shape:
            raise BenchmarkError(
                f"{self.key} needs two answers of the same rows, got {list(teacher.shape)} and {list(found.shape)}"
            )
        judged = ~np.isnan(teacher[..., 0])
        return np.stack([((found[..., 1] == teacher[..., 1]) & judged).sum(-1), judged.sum(-1)], axis=1)

    def value(self, means: np.ndarray) -> np.ndarray:
        return ratio(means[..., 0], means[..., 1])


def _pair(metric: str, truth: Any, answers: Any) -> tuple[np.ndarray, np.ndarray]:
    labels, found = np.asarray(truth), np.asarray(answers)
    if found.ndim != 3 or found.shape != (*labels.shape, 2) or not len(labels):
        raise BenchmarkError(
            f"{metric} needs labels [rows, tokens] and two numbers of each, [rows, tokens, 2], got "
            f"{list(labels.shape)} and {list(found.shape)}"
        )
    return labels, found
