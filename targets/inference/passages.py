"""Where in a passage an answer lies: the best span of a window's logits, and the best of all windows of a passage."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

SPAN_LOGITS = "span_logits"
"""What the output of a model is called that finds answers: `[batch, positions, 2]`, of first and of last tokens."""
LONGEST = 64
"""Tokens of an answer, at most; BERT's 30 for SQuAD would cut every tenth answer of a policy."""


@dataclass(frozen=True)
class Place:
    """A span of tokens.

    Args:
        start: its first token.
        end: its last one.
        score: probability of that first token times that of that last one, 0..1.
        window: the number of the window that it lies in.
    """

    start: int
    end: int
    score: float
    window: int = 0


def best_places(logits: np.ndarray, count: int = 1, window: int = 0) -> list[Place]:
    """The best spans of one window, the best first: no end before its start, none longer than `LONGEST` tokens.

    Probabilities are over the tokens of the context and the first token of all, which stands for "no answer here":
    that makes the scores of several windows of a passage comparable, which logits are not.

    Args:
        logits: of first and last tokens `[positions, 2]`; NaN where no answer may lie.
        count: how many, at most.
        window: the number of the window.

    >>> nan = float("nan")
    >>> logits = np.array([[0.0, 0.0], [nan, nan], [9.0, 0.0], [0.0, 9.0], [0.0, 9.0]])
    >>> [(place.start, place.end, round(place.score, 2)) for place in best_places(logits, 2)]
    [(2, 3, 0.5), (2, 4, 0.5)]
    """
    known = np.where(np.isnan(logits), -np.inf, logits.astype(np.float64))
    known = known - known.max(0)
    chances = known - np.log(np.exp(known).sum(0))
    starts, ends = chances[1:, 0], np.append(chances[1:, 1], np.full(LONGEST - 1, -np.inf))
    if not len(starts):
        return []
    scores = starts[:, None] + np.lib.stride_tricks.sliding_window_view(ends, LONGEST)
    flat = scores.ravel()
    order = [int(flat.argmax())] if count == 1 else np.argsort(-flat, kind="stable")[:count].tolist()
    places = (divmod(number, LONGEST) for number in order if np.isfinite(flat[number]))
    return [Place(first + 1, first + 1 + more, float(np.exp(scores[first, more])), window) for first, more in places]


def best_of(windows: Iterable[np.ndarray]) -> Place | None:
    """The best span of all windows of a passage, that of the first one where two are equal; None where none has any.

    Args:
        windows: logits of each, `[positions, 2]`, as `best_places` takes them.
    """
    found = [place for number, logits in enumerate(windows) for place in best_places(logits, window=number)]
    return max(found, key=lambda place: place.score, default=None)


def context_of(sequences: Sequence[int | None]) -> tuple[int, int]:
    """First token of the second text, and the one behind its last; both 0 where a text has no token.

    >>> context_of([None, 0, None, 1, 1, None])
    (3, 5)
    """
    places = [place for place, sequence in enumerate(sequences) if sequence == 1]
    return (places[0], places[-1] + 1) if places else (0, 0)
