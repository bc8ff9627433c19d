"""Rows of words for a model that tags each word: texts or lists of words in, tagged words and spans out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgepress.targets.errors import DataError
from edgepress.targets.inference.answers import Answer, Span, softmax
from edgepress.targets.inference.spans import are_tags, spans_in
from edgepress.targets.preprocess.tokens import Tokens
from edgepress.targets.records import Feeds, Signature
from edgepress.targets.text import whole_text

WORD = re.compile(r"\S+")


@dataclass(frozen=True)
class Words:
    """The words of one row.

    Args:
        text: the row, its words parted by spaces where it came as a list.
        places: first character of each word, and the one after its last.
        tokens: (word, its first token) of the words that the model reads.
    """

    text: str
    places: tuple[tuple[int, int], ...]
    tokens: tuple[tuple[int, int], ...] = ()

    def answer(self, outputs: np.ndarray, names: Sequence[str]) -> Answer:
        """The tags of the words, and the spans that they make.

        Args:
            outputs: logits `[positions, classes]`.
            names: of the classes.
        """
        chances = softmax(outputs[[token for _, token in self.tokens]])
        tags = [names[number] for number in chances.argmax(-1)]
        read = [word for word, _ in self.tokens]
        words = tuple(
            self._span(tag, word, word, float(chance))
            for tag, word, chance in zip(tags, read, chances.max(-1), strict=True)
        )
        found = [(tag, number, number) for number, tag in enumerate(tags)] if not are_tags(names) else spans_in(tags)
        spans = tuple(
            self._span(kind, read[first], read[last], float(np.mean([word.score for word in words[first : last + 1]])))
            for kind, first, last in found
        )
        labels = tuple(dict.fromkeys(span.label for span in spans))
        return Answer(labels, {}, spans=spans, words=words, unread=len(self.places) - len(read))

    def _span(self, label: str, first: int, last: int, score: float) -> Span:
        start, end = self.places[first][0], self.places[last][1]
        return Span(self.text[start:end], label, score, start, end)


class WordRows:
    """A row is a text, whose words are what spaces part, or a list of words."""

    content = "a text, or a list of its words"

    def __init__(self, folder: Path, signature: Signature) -> None:
        shortest, longest = signature.bounds.get("sequence", (2, 512))
        self._tokens = Tokens(folder, [spec.name for spec in signature.inputs], shortest, longest)

    def feeds(self, rows: Sequence[Any]) -> Feeds:
        """int64 `[batch, sequence]` each, padded to the longest row."""
        return self.read(rows)[0]

    def read(self, rows: Sequence[Any]) -> tuple[Feeds, list[Words]]:
        """The same, and where the words of each row are found again. Raises DataError where a row is none."""
        found = [_words(row) for row in rows]
        encoded = self._tokens.encode([[one.text[start:end] for start, end in one.places] for one in found])
        firsts = [_firsts(one.word_ids) for one in encoded]
        words = [Words(one.text, one.places, first) for one, first in zip(found, firsts, strict=True)]
        return self._tokens.padded(encoded), words


def _words(row: Any) -> Words:
    if isinstance(row, str):
        text = whole_text(row)
        return Words(text, tuple(match.span() for match in WORD.finditer(text)))
    if not isinstance(row, list | tuple) or not all(isinstance(word, str) for word in row):
        raise DataError(f"{WordRows.content} is asked for, got {row!r:.60}.")
    words = [whole_text(word) for word in row]
    ends = np.cumsum([len(word) + 1 for word in words]).tolist()
    places = tuple((end - 1 - len(word), end - 1) for word, end in zip(words, ends, strict=True))
    return Words(" ".join(words), places)


def _firsts(words: Sequence[int | None]) -> tuple[tuple[int, int], ...]:
    """(word, its first token); a word is read at its first token, as it was while the model was trained.

    >>> _firsts([None, 0, 0, 1, None])
    ((0, 1), (1, 3))
    """
    found: dict[int, int] = {}
    for token, word in enumerate(words):
        if word is not None:
            found.setdefault(word, token)
    return tuple(found.items())
