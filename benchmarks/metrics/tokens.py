"""Metrics of an answer for each token: token accuracy, entities found, perplexity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgepress.benchmarks.metrics.base import Against, Unit, ratio, same_rows
from edgepress.benchmarks.metrics.classes import log_softmax
from edgepress.targets.errors import BenchmarkError

IGNORED = -100
"""The label of tokens that are not judged: padding, special tokens, all but the first piece of a word."""

Entity = tuple[str, int, int]
"""Type, first token, last token."""


class TokenAccuracy:
    """Share of judged tokens whose largest logit is the label's; labels of -100 are not judged."""

    key, name = "token-accuracy", "token accuracy"
    unit: Unit = "share"
    higher_is_better = True
    against: Against = "labels"

    def counts(self, truth: Any, answers: Any) -> np.ndarray:
        """`[rows, 2]`: right tokens and judged tokens, of labels `[rows, tokens]` and logits
        `[rows, tokens, classes]`."""
        labels, logits = _tokens(self.key, truth, answers)
        judged = labels != IGNORED
        return np.stack([((logits.argmax(-1) == labels) & judged).sum(-1), judged.sum(-1)], axis=1)

    def value(self, means: np.ndarray) -> np.ndarray:
        return ratio(means[..., 0], means[..., 1])


class Perplexity:
    """exp of the mean -log p(label) over the judged tokens."""

    key, name = "perplexity", "perplexity"
    unit: Unit = "1"
    higher_is_better = False
    against: Against = "labels"

    def counts(self, truth: Any, answers: Any) -> np.ndarray:
        """`[rows, 2]`: sum of -log p(label) in nats, and judged tokens."""
        labels, logits = _tokens(self.key, truth, answers)
        judged = labels != IGNORED
        own = np.take_along_axis(log_softmax(logits), np.where(judged, labels, 0)[..., None], axis=-1)[..., 0]
        return np.stack([-(own * judged).sum(-1), judged.sum(-1)], axis=1)

    def value(self, means: np.ndarray) -> np.ndarray:
        found: np.ndarray = np.exp(ratio(means[..., 0], means[..., 1]))
        return found


class EntityF1:
    """F1 of whole entities, micro-averaged: one counts as found where type, first and last token are right.

    Tags are IOB2 texts (`B-PER`, `I-PER`, `O`), one list a row. An `I-` that follows no tag of its type begins an
    entity, as conlleval and seqeval's default mode count it.

    References: Tjong Kim Sang and De Meulder, CoNLL-2003, W03-0419.
    """

    key, name = "entity-f1", "entity F1"
    unit: Unit = "share"
    higher_is_better = True
    against: Against = "labels"

    def counts(self, truth: Any, answers: Any) -> np.ndarray:
        """`[rows, 3]`: entities found, entities predicted, entities that there are."""
        same_rows(self.key, truth, answers)
        rows = []
        for number, (wanted, got) in enumerate(zip(truth, answers, strict=True)):
            if len(wanted) != len(got):
                raise BenchmarkError(f"{self.key}: row {number} has {len(wanted)} tags and {len(got)} answers")
            actual, predicted = entities(wanted), entities(got)
            rows.append((len(actual & predicted), len(predicted), len(actual)))
        return np.array(rows)

    def value(self, means: np.ndarray) -> np.ndarray:
        return ratio(2 * means[..., 0], means[..., 1] + means[..., 2])


def entities(tags: Sequence[str]) -> set[Entity]:
    """The entities of one row of IOB2 tags.

    >>> sorted(entities(["B-PER", "I-PER", "O", "I-LOC", "B-LOC"]))
    [('LOC', 3, 3), ('LOC', 4, 4), ('PER', 0, 1)]
    """
    found: set[Entity] = set()
    start, kind = 0, ""
    for place, tag in enumerate([*tags, "O"]):
        prefix, _, name = tag.partition("-")
        if kind and (prefix in ("O", "B") or name != kind):
            found.add((kind, start, place - 1))
            kind = ""
        if prefix != "O" and not kind:
            start, kind = place, name
    return found


def _tokens(metric: str, truth: Any, answers: Any) -> tuple[np.ndarray, np.ndarray]:
    labels, logits = np.asarray(truth), np.asarray(answers)
    if logits.ndim != 3 or labels.shape != logits.shape[:2] or not len(labels):
        raise BenchmarkError(
            f"{metric} needs labels [rows, tokens] and logits [rows, tokens, classes], got {list(labels.shape)} and "
            f"{list(logits.shape)}"
        )
    return labels, logits
