"""Answers to questions: parts of a text, several of which may be right."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from edgepress.targets.errors import DataError
from edgepress.targets.text import whole_text

Accepted = tuple[tuple[str, int], ...]
"""Each answer's text, and its first character in the context."""
FORMS = '[{"text": "...", "start": 0}, ...] or {"text": ["...", ...], "answer_start": [0, ...]}'


@dataclass(frozen=True)
class AnswerMap:
    """How answers, read before and compared with their text, are kept: as they are, one row each."""

    names: ClassVar[tuple[str, ...]] = ("start", "end")
    note: ClassVar[str] = ""

    def encode(self, values: Iterable[Any], origin: str) -> np.ndarray:
        """The accepted answers of each row, objects `[rows]`; see `accepted`, which has read them."""
        rows = list(values)
        found = np.empty(len(rows), object)
        found[:] = rows
        return found

    def strata(self, labels: np.ndarray) -> np.ndarray:
        """One group: answers have no classes."""
        return np.zeros(len(labels), np.int64)

    def check(self, labels: np.ndarray, origin: str) -> None:
        """Nothing: any answer can be learned."""


def accepted(value: Any, context: str, row: int, origin: str) -> Accepted:
    """The answers of one row.

    Args:
        value: a list of {text, start}, SQuAD's {"text": [...], "answer_start": [...]}, or either as JSON.
        context: the text that holds them.
        row: its number, from 1.
        origin: names the file in messages.

    Raises:
        DataError: it is neither, has no answer, or an answer is not in the text where it says.

    >>> accepted({"text": ["b c"], "answer_start": [2]}, "a b c", 1, "f.jsonl")
    (('b c', 2),)
    """
    found = tuple(_listed(value, row, origin))
    if not found:
        raise DataError(
            f"{origin}, row {row}: there is no answer; questions without one (SQuAD 2.0) are not learned here. Remove "
            f"the row."
        )
    for text, start in found:
        there = context[start : start + len(text)]
        if start < 0 or there != text or not text.strip():
            raise DataError(
                f"{origin}, row {row}: the answer {text!r:.60} is not in the text at character {start}, where "
                f"{there!r:.60} is. Mend its start, or remove the row."
            )
    return found


def _listed(value: Any, row: int, origin: str) -> list[tuple[str, int]]:
    try:
        value = json.loads(value) if isinstance(value, str) else value
        if isinstance(value, Mapping):
            pairs = list(zip(value["text"], value["answer_start"], strict=True))
        else:
            pairs = [(one["text"], one["start"] if "start" in one else one["answer_start"]) for one in value]
    except (TypeError, ValueError, KeyError, RecursionError):
        pairs = [(None, None)]
    for text, start in pairs:
        if not isinstance(text, str) or isinstance(start, bool) or not isinstance(start, int | np.integer):
            raise DataError(f"{origin}, row {row}: answers must be {FORMS}, got {value!r:.60}. Mend or remove the row.")
    return [(whole_text(text), int(start)) for text, start in pairs]
