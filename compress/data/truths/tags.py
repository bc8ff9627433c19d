"""Labels of words: a list of tags a row, one for each of its words."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgepress.benchmarks.metrics.tokens import IGNORED, Tags
from edgepress.compress.data.classes import classes_of
from edgepress.compress.data.labels import LabelMap, few, label_text, shown
from edgepress.targets.errors import DataError
from edgepress.targets.inference.spans import are_tags


@dataclass(frozen=True)
class TagMap:
    """How tags become class numbers: as `labels` maps the single ones."""

    labels: LabelMap

    @property
    def names(self) -> tuple[str, ...]:
        """Of the classes, in the model's order."""
        return self.labels.names

    @property
    def note(self) -> str:
        """What was assumed of the names, and what follows of them."""
        plain = "" if are_tags(self.names) else (
            f"the tags {few(self.names)} begin no spans (O, B-TYPE, I-TYPE), so entity-f1 has no value: set metric to "
            f"token-accuracy"
        )  # fmt: skip
        return "; ".join(filter(None, (self.labels.note, plain)))

    def encode(self, values: Iterable[Any], origin: str) -> Tags:
        """Class numbers of the words, int64 `[rows, words]`; -100 behind the last word of a row.

        Raises:
            DataError: a tag is missing or unknown; names its row and word.
        """
        rows = [self._row(value, row, origin) for row, value in enumerate(values, start=1)]
        found = np.full((len(rows), max(map(len, rows), default=0)), IGNORED, np.int64)
        for place, numbers in enumerate(rows):
            found[place, : len(numbers)] = numbers
        return Tags.of(found, self.names)

    def _row(self, value: Any, row: int, origin: str) -> list[int]:
        tags = cells_of(value, row, origin, "tags")
        return [self._number(tag, f"{origin}, row {row}, word {word}") for word, tag in enumerate(tags, start=1)]

    def _number(self, tag: Any, place: str) -> int:
        text = _text(tag, place)
        if text in self.labels.classes:
            return self.labels.classes[text]
        allowed = list(self.labels.classes)
        close = difflib.get_close_matches(text, allowed, n=1)
        hint = f" Did you mean {shown(close[0])!r}?" if close else ""
        raise DataError(
            f"{place}: the tag {text!r:.60} is none of the model's {len(self.names)}; allowed: {few(allowed, 10)}. "
            f"Mend the row, or name the tags in the model's order in data.labels.{hint}"
        )

    def strata(self, labels: np.ndarray) -> np.ndarray:
        """The rarest tag of each row, so that every split has its share of it, int64 `[rows]`."""
        counts = np.bincount(labels[labels != IGNORED], minlength=len(self.names))
        rarity = np.append(counts, counts.max() + 1)  # the last stands for no word at all
        known = np.where(labels == IGNORED, len(self.names), labels)
        return np.asarray(np.take_along_axis(known, rarity[known].argmin(1)[:, None], 1)[:, 0], np.int64)

    def check(self, labels: np.ndarray, origin: str) -> None:
        """Raises DataError where all words have one tag: there is nothing to learn."""
        if len(there := np.unique(labels[labels != IGNORED])) < 2:
            only = self.names[int(there[0])]
            raise DataError(f"{origin}: all words have the tag {only!r}; there is nothing to learn. Add rows.")


def tags_of(
    values: Sequence[Any],
    origin: str,
    file_names: Sequence[str] | None,
    model_names: Sequence[str] | None,
    fine_tuned: bool,
) -> TagMap:
    """Which tags there are.

    Args:
        values: the tags as they are in the file, a list a row.
        origin: names the file in messages.
        file_names: what the file's numbers count: data.labels, or the data set's own names.
        model_names: the model's classes in its order; None for one that starts at random.
        fine_tuned: the model is going to be trained on these rows, which then say which tags there are.

    Raises:
        DataError: the tags are not the model's, or a row has none.
    """
    each = (
        _text(tag, f"{origin}, row {row}, word {word}")
        for row, value in enumerate(values, start=1)
        for word, tag in enumerate(cells_of(value, row, origin, "tags"), start=1)
    )
    return TagMap(classes_of(list(each), f"{origin}, words of all rows", file_names, model_names, fine_tuned))


def cells_of(value: Any, row: int, origin: str, what: str) -> list[Any]:
    """The words or tags in one cell: a list, a JSON list, or a text that spaces part.

    Args:
        value: the cell.
        row: its number, from 1.
        origin: names the file in messages.
        what: is listed, in the words of a message.

    Raises:
        DataError: it is none of these, or empty.

    >>> cells_of("B-PER O", 1, "f.csv", "tags"), cells_of('["New York", "is"]', 1, "f.csv", "words")
    (['B-PER', 'O'], ['New York', 'is'])
    """
    found = list(value) if isinstance(value, list | tuple | np.ndarray) else None
    if isinstance(value, str):
        found = _listed(value)
    if not found:
        raise DataError(
            f"{origin}, row {row}: a list of {what} is asked for, one for each word and at least one, got "
            f"{value!r:.60}. Mend or remove the row."
        )
    return found


def _listed(text: str) -> list[Any]:
    if text.startswith("[") and text.endswith("]"):
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            return text.split()  # a bracket is a word like any other
        return found if isinstance(found, list) else []
    return text.split()


def _text(tag: Any, place: str) -> str:
    try:
        text = label_text(tag)
    except (TypeError, ValueError):
        text = None
    if text is None:
        raise DataError(f"{place}: a tag must be a text or number, got {tag!r:.60}. Mend or remove the row.")
    return text
