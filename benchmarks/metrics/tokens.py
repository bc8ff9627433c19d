"""Metrics of an answer for each token: token accuracy, entities found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgepress.benchmarks.metrics.base import IGNORED as IGNORED
from edgepress.benchmarks.metrics.base import Against, Unit, ratio, same_rows
from edgepress.targets.errors import BenchmarkError
from edgepress.targets.inference.spans import Place, are_tags, spans_in


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


class EntityF1:
    """F1 of whole entities, micro-averaged: one counts as found where type, first and last token are right.

    Truth are `Tags` `[rows, tokens]` and answers logits `[rows, tokens, classes]`; or both are tags as texts, one list
    a row (`B-PER`, `I-PER`, `O`). Read as conlleval and seqeval's default mode read them: an `I-` that follows no
    tag of its type begins an entity. There is no value where the names of the classes are no such tags.

    References: Tjong Kim Sang and De Meulder, CoNLL-2003, W03-0419.
    """

    key, name = "entity-f1", "entity F1"
    unit: Unit = "share"
    higher_is_better = True
    against: Against = "labels"

    def counts(self, truth: Any, answers: Any) -> np.ndarray:
        """`[rows, 3]`: entities found, entities predicted, entities that there are."""
        same_rows(self.key, truth, answers)
        if isinstance(truth, np.ndarray):
            truth, answers = _written(self.key, truth, answers)
        rows = []
        for number, (wanted, got) in enumerate(zip(truth, answers, strict=True)):
            if len(wanted) != len(got):
                raise BenchmarkError(f"{self.key}: row {number} has {len(wanted)} tags and {len(got)} answers")
            actual, predicted = entities(wanted), entities(got)
            rows.append((len(actual & predicted), len(predicted), len(actual)))
        return np.array(rows)

    def value(self, means: np.ndarray) -> np.ndarray:
        return ratio(2 * means[..., 0], means[..., 1] + means[..., 2])


class TokenAgreement:
    """Share of judged tokens whose class is the teacher's; where either has NaN, a token is not judged."""

    key, name = "token-agreement", "token agreement"
    unit: Unit = "share"
    higher_is_better = True
    against: Against = "teacher"

    def counts(self, truth: Any, answers: Any) -> np.ndarray:
        """`[rows, 2]`: agreeing tokens and judged tokens, of two logits `[rows, tokens, classes]`."""
        same_rows(self.key, truth, answers)
        if np.ndim(truth) != 3 or np.shape(truth) != np.shape(answers):
            raise BenchmarkError(
                f"{self.key} needs two logits [rows, tokens, classes] of the same rows, got {list(np.shape(truth))} "
                f"and {list(np.shape(answers))}"
            )
        judged = ~(np.isnan(truth) | np.isnan(answers)).any(-1)
        same = (truth.argmax(-1) == answers.argmax(-1)) & judged
        return np.stack([same.sum(-1), judged.sum(-1)], axis=1)

    def value(self, means: np.ndarray) -> np.ndarray:
        return ratio(means[..., 0], means[..., 1])


class Tags(np.ndarray):
    """Class numbers of tokens, int64 `[rows, tokens]`, that know what the classes are called: whatever is taken of them
    knows it too. -100 is not judged.

    >>> Tags.of(np.array([[1, 0], [0, -100]]), ("O", "B-PER"))[:1].names
    ('O', 'B-PER')
    """

    names: tuple[str, ...]

    @classmethod
    def of(cls, numbers: np.ndarray, names: Sequence[str]) -> Tags:
        """Args:
        numbers: of the classes.
        names: of the classes, in their order.
        """
        found = np.asarray(numbers).view(cls)
        found.names = tuple(names)
        return found

    def __array_finalize__(self, source: Any) -> None:
        self.names = getattr(source, "names", ())


def entities(tags: Sequence[str]) -> set[Place]:
    """The entities of one row of tags, see `spans_in`."""
    return set(spans_in(tags))


def _written(metric: str, truth: np.ndarray, answers: Any) -> tuple[list[list[str]], list[list[str]]]:
    """Tags of the judged tokens as texts, row by row; none where the classes are called otherwise."""
    labels, logits = _tokens(metric, truth, answers)
    names: tuple[str, ...] = getattr(truth, "names", ())
    if len(names) != logits.shape[-1]:
        raise BenchmarkError(f"{metric} needs the names of {logits.shape[-1]} classes, got {len(names)}")
    if not are_tags(names):
        return [[] for _ in labels], [[] for _ in labels]
    judged, said = labels != IGNORED, logits.argmax(-1)
    both = (
        [[names[number] for number in row[keep]] for row, keep in zip(n, judged, strict=True)] for n in (labels, said)
    )
    wanted, got = both
    return wanted, got


def _tokens(metric: str, truth: Any, answers: Any) -> tuple[np.ndarray, np.ndarray]:
    labels, logits = np.asarray(truth), np.asarray(answers)
    if logits.ndim != 3 or labels.shape != logits.shape[:2] or not len(labels):
        raise BenchmarkError(
            f"{metric} needs labels [rows, tokens] and logits [rows, tokens, classes], got {list(labels.shape)} and "
            f"{list(logits.shape)}"
        )
    return labels, logits
