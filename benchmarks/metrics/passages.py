"""Metrics of extractive question answering: F1 and exact match as SQuAD counts them, agreement of spans."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgepress.benchmarks.metrics.base import Against, Unit, same_rows
from edgepress.targets.errors import BenchmarkError
from edgepress.targets.inference.passages import best_of, best_places

START, END, FIRST, BEHIND, DOCUMENT, TOKENS = range(6)
"""Columns of `Passages`."""
PUNCTUATION = str.maketrans("", "", string.punctuation)
ARTICLES = re.compile(r"\b(a|an|the)\b")


@dataclass(frozen=True)
class Documents:
    """What windows are cut of.

    Args:
        contexts: the passage of each document.
        answers: those that are accepted, of each document.
        places: first character and the one behind the last, of each token of all windows, int `[tokens, 2]`.
    """

    contexts: Sequence[str]
    answers: Sequence[tuple[str, ...]]
    places: np.ndarray


class Passages(np.ndarray):
    """Truth of windows, int64 `[windows, 6]`, that knows the documents they are cut of: the answer's first and last
    token (0 and 0 where the window does not hold it), the context's first token and the one behind its last, the
    document's number, and the number of the window's first token in `documents.places`."""

    documents: Documents | None

    @classmethod
    def of(cls, numbers: np.ndarray, documents: Documents) -> Passages:
        """Args:
        numbers: the columns.
        documents: all of them.
        """
        found = np.asarray(numbers, np.int64).view(cls)
        found.documents = documents
        return found

    def __array_finalize__(self, source: Any) -> None:
        self.documents = getattr(source, "documents", None)


class AnswerF1:
    """F1 of the words of answers, mean over documents: the best over the accepted answers of each.

    Truth are `Passages` and answers logits `[windows, positions, 2]`, NaN where no answer may lie; or truth are the
    accepted answers of each document and answers its texts. Words are those that are left of the text in lower case
    without punctuation and articles; as SQuAD 1.1 counts them.

    References: Rajpurkar et al., SQuAD: 100,000+ Questions for Machine Comprehension of Text, arXiv 1606.05250.
    """

    key, name = "qa-f1", "answer F1"
    unit: Unit = "share"
    higher_is_better = True
    against: Against = "labels"

    def counts(self, truth: Any, answers: Any) -> np.ndarray:
        """`[documents, 1]`: F1 of each, 0..1."""
        return _scores(self.key, truth, answers, word_f1)

    def value(self, means: np.ndarray) -> np.ndarray:
        return means[..., 0]


class AnswerMatch:
    """Share of documents whose answer is an accepted one, both in lower case without punctuation and articles.

    Truth and answers as `AnswerF1` takes them.

    References: Rajpurkar et al., SQuAD, arXiv 1606.05250.
    """

    key, name = "qa-exact-match", "exact match of answers"
    unit: Unit = "share"
    higher_is_better = True
    against: Against = "labels"

    def counts(self, truth: Any, answers: Any) -> np.ndarray:
        """`[documents, 1]`: 0 or 1."""
        return _scores(self.key, truth, answers, lambda wanted, got: float(normalised(wanted) == normalised(got)))

    def value(self, means: np.ndarray) -> np.ndarray:
        return means[..., 0]


class SpanAgreement:
    """Share of windows whose best span is the teacher's, first and last token."""

    key, name = "span-agreement", "span agreement"
    unit: Unit = "share"
    higher_is_better = True
    against: Against = "teacher"

    def counts(self, truth: Any, answers: Any) -> np.ndarray:
        """`[windows, 1]`: 0 or 1, of two logits `[windows, positions, 2]`."""
        same_rows(self.key, truth, answers)
        if np.ndim(truth) != 3 or np.shape(truth)[-1] != 2 or np.shape(truth) != np.shape(answers):
            raise BenchmarkError(
                f"{self.key} needs two logits [windows, positions, 2] of the same windows, got "
                f"{list(np.shape(truth))} and {list(np.shape(answers))}"
            )
        pairs = ((best_places(wanted), best_places(got)) for wanted, got in zip(truth, answers, strict=True))
        same = [
            [(one.start, one.end) for one in wanted] == [(one.start, one.end) for one in got] for wanted, got in pairs
        ]
        return np.array(same, np.uint8)[:, None]

    def value(self, means: np.ndarray) -> np.ndarray:
        return means[..., 0]


def normalised(text: str) -> str:
    """Lower case, without punctuation, articles, and more than one space, as SQuAD 1.1 compares answers.

    >>> normalised("The  Live-Nation, Inc.!")
    'livenation inc'
    """
    return " ".join(ARTICLES.sub(" ", text.lower().translate(PUNCTUATION)).split())


def word_f1(wanted: str, got: str) -> float:
    """Harmonic mean of the shares of either answer's words that are in the other, 0..1.

    >>> word_f1("the policy of May 2012", "policy of June 2012")
    0.75
    """
    ours, theirs = normalised(got).split(), normalised(wanted).split()
    both = sum((Counter(ours) & Counter(theirs)).values())
    return 2 * both / (len(ours) + len(theirs)) if both else 0.0


def answers_of(truth: Passages, logits: np.ndarray) -> list[str]:
    """What is answered of each document, in the order of their numbers; "" where no window has a span.

    Args:
        truth: of the windows.
        logits: `[windows, positions, 2]`, NaN where no answer may lie.
    """
    documents, numbers = _known(truth), np.asarray(truth)
    found = []
    for windows in _windows_of(numbers):
        place = best_of(logits[windows])
        if place is None:
            found.append("")
            continue
        row = numbers[windows[place.window]]
        places = documents.places[row[TOKENS] + np.array([place.start, place.end])]
        found.append(documents.contexts[row[DOCUMENT]][places[0, 0] : places[1, 1]])
    return found


def _windows_of(numbers: np.ndarray) -> list[np.ndarray]:
    order = np.argsort(numbers[:, DOCUMENT], kind="stable")
    return np.split(order, np.flatnonzero(np.diff(numbers[order, DOCUMENT])) + 1)


def _known(truth: Passages) -> Documents:
    if truth.documents is None:
        raise BenchmarkError("windows need the documents they are cut of: make truth with Passages.of")
    return truth.documents


def _scores(metric: str, truth: Any, answers: Any, score: Callable[[str, str], float]) -> np.ndarray:
    same_rows(metric, truth, answers)
    if isinstance(truth, np.ndarray):
        if not isinstance(truth, Passages) or np.ndim(answers) != 3 or np.shape(answers)[-1] != 2:
            raise BenchmarkError(
                f"{metric} needs Passages [windows, 6] and logits [windows, positions, 2], got "
                f"{type(truth).__name__} {list(truth.shape)} and {list(np.shape(answers))}"
            )
        answers = answers_of(truth, answers)
        truth = [_known(truth).answers[number] for number in np.unique(np.asarray(truth)[:, DOCUMENT])]
    pairs = zip(truth, answers, strict=True)
    return np.array([[max(score(wanted, got) for wanted in accepted)] for accepted, got in pairs], np.float64)
