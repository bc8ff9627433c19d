"""What a model's outputs say: probabilities of classes or of labels, or numbers, by the config.json beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from edgepress.targets.errors import ArtifactError

Kind = Literal["classes", "labels", "numbers", "vectors"]
KINDS: Mapping[Any, Kind] = {
    "single_label_classification": "classes",
    "multi_label_classification": "labels",
    "regression": "numbers",
}
"""`problem_type` of transformers' configurations → what the outputs are. Vectors are told by `output_kind`."""
VECTORS: Kind = "vectors"


@dataclass(frozen=True)
class Span:
    """A part of a text that the model found.

    Args:
        text: the part.
        label: what it is, such as `PER`; `answer` of a question's.
        score: the model's probability of that, 0..1; of several words the mean of theirs.
        start: its first character in the text; of a list of words, in the words with a space between each two.
        end: the character behind its last one.
    """

    text: str
    label: str
    score: float
    start: int
    end: int


@dataclass(frozen=True)
class Answer:
    """What the model says of one row.

    Args:
        labels: the class; of several labels those with a probability above one half; none of numbers; of spans those
            that were found.
        scores: probability by label, 0..1, or the number by its name; empty of a vector and of spans.
        vector: the numbers of an embedding, of length 1 together; empty of all others.
        spans: what was found in a text; None for a model that answers for a row as a whole.
        words: each word that was read, with its tag as label.
        unread: words that were not, beyond the longest sequence or without a token.
        mask: class number of each pixel, uint8 `[height, width]`; `labels` are then those in it, and `scores` the share
            of the pixels that each of them has. None for all others.
    """

    labels: tuple[str, ...]
    scores: Mapping[str, float]
    vector: tuple[float, ...] = ()
    spans: tuple[Span, ...] | None = None
    words: tuple[Span, ...] = ()
    unread: int = 0
    mask: np.ndarray | None = field(default=None, compare=False)

    @property
    def label(self) -> str:
        """The one with the highest score; of spans the first that was found, or nothing; "" of a vector.

        >>> Answer(("good",), {"bad": 0.1, "good": 0.9}).label
        'good'
        """
        if not self.scores:
            return self.labels[0] if self.labels else ""
        return max(self.scores, key=lambda name: self.scores[name])


@dataclass(frozen=True)
class Reading:
    """How outputs `[batch, names]` are read.

    Args:
        kind: what they are.
        names: of the outputs, in their order; none of vectors.
    """

    kind: Kind
    names: tuple[str, ...]

    def answers(self, outputs: np.ndarray) -> list[Answer]:
        """One answer a row.

        >>> Reading("classes", ("bad", "good")).answers(np.array([[0.0, 0.0], [0.0, 9.0]]))[1].labels
        ('good',)
        """
        if self.kind == VECTORS:
            return [Answer((), {}, tuple(row.tolist())) for row in outputs]
        values = _VALUES[self.kind](outputs)
        return [self._answer(row.tolist()) for row in values]

    def _answer(self, row: list[float]) -> Answer:
        scores = dict(zip(self.names, row, strict=True))
        if self.kind == "classes":
            return Answer((self.names[int(np.argmax(row))],), scores)
        above = tuple(name for name, score in scores.items() if score > 0.5)
        return Answer(above if self.kind == "labels" else (), scores)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities over the last axis; shifted by the maximum, so that none overflows.

    >>> softmax(np.array([[0.0, 0.0], [1000.0, 0.0]])).tolist()
    [[0.5, 0.5], [1.0, 0.0]]
    """
    raised = np.exp(logits - logits.max(-1, keepdims=True))
    return np.asarray(raised / raised.sum(-1, keepdims=True))


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Probability of each logit alone.

    >>> sigmoid(np.array([0.0, 1000.0, -1000.0])).tolist()
    [0.5, 1.0, 0.0]
    """
    with np.errstate(over="ignore"):
        return np.asarray(1 / (1 + np.exp(-logits)))


_VALUES: Mapping[Kind, Callable[[np.ndarray], np.ndarray]] = {
    "classes": softmax,
    "labels": sigmoid,
    "numbers": np.asarray,
}
"""What the scores are, by what the outputs are."""


def reading_of(config: Mapping[str, Any], outputs: int, origin: str) -> Reading:
    """What a transformers configuration says of its outputs.

    Args:
        config: the content of config.json.
        outputs: how many the signature promises.
        origin: names the file in messages.

    Raises:
        ArtifactError: it names another number of outputs, or a kind that is not known.
    """
    if (said := config.get("output_kind")) == VECTORS:
        return Reading(VECTORS, ())
    if said is not None:
        raise ArtifactError(f"{origin} has the output_kind {said!r:.60}, which is not known. Fetch the release again.")
    problem = config.get("problem_type")
    kind = KINDS.get(problem, "numbers" if outputs == 1 else "classes")
    given = config.get("id2label") or {str(number): str(number) for number in range(outputs)}
    try:
        names = tuple(str(given[str(number)]) for number in range(outputs))
    except (KeyError, TypeError):
        names = ()
    if (problem is not None and problem not in KINDS) or len(set(names)) != outputs or len(given) != outputs:
        raise ArtifactError(
            f"{origin} does not name the {outputs} outputs of the model once each, or has the problem_type "
            f"{problem!r:.60}, which is not known. Fetch the release again."
        )
    return Reading(kind, names)
