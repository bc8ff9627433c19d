"""Several labels a row: a list of names, names in one text, or a column of 0 and 1 for each."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgepress.compress.data.labels import few, is_number, label_text, shown
from edgepress.targets.errors import DataError

FLAGS = {"0": 0, "1": 1, "false": 0, "true": 1}


@dataclass(frozen=True)
class SetMap:
    """`names` in the model's order; `flags` says that a row has a 0 or 1 for each of them instead of names."""

    names: tuple[str, ...]
    separator: str = ","
    flags: bool = False
    note: str = ""

    def encode(self, values: Iterable[Any], origin: str) -> np.ndarray:
        """1 where a row has the label, float32 `[rows, labels]`. A row may have none.

        Raises:
            DataError: a label is unknown; names the row, the label and what is allowed.
        """
        found = [self._row(value, row, origin) for row, value in enumerate(values, start=1)]
        return np.asarray(found, np.float32).reshape(len(found), len(self.names))

    def _row(self, value: Any, row: int, origin: str) -> list[int]:
        labels = labels_of(value, self.separator, row, origin)
        if self.flags:
            return self._flags(labels, row, origin)
        places = {name: number for number, name in enumerate(self.names)}
        if all(is_number(label) for label in labels) and not set(labels) <= set(places):
            places = {str(number): number for number in range(len(self.names))}
        if unknown := next((label for label in labels if label not in places), None):
            close = difflib.get_close_matches(unknown, list(places), n=1)
            hint = f" Did you mean {shown(close[0])!r}?" if close else ""
            raise DataError(
                f"{origin}, row {row}: label {unknown!r:.60} is none of the model's {len(self.names)}; allowed: "
                f"{few(self.names, 10)}. Mend the row, or name the labels in the model's order in data.labels.{hint}"
            )
        return [int(number in {places[label] for label in labels}) for number in range(len(self.names))]

    def _flags(self, labels: Sequence[str], row: int, origin: str) -> list[int]:
        if len(labels) != len(self.names) or not set(map(str.lower, labels)) <= set(FLAGS):
            raise DataError(
                f"{origin}, row {row}: the columns {few(self.names)} must hold 0 or 1 each, got {few(labels)}. "
                f"Mend the row."
            )
        return [FLAGS[label.lower()] for label in labels]

    def strata(self, labels: np.ndarray) -> np.ndarray:
        """The rarest label of each row, so that every split has its share of it; rows without any are one group more.
        int64 `[rows]`."""
        order = np.argsort(labels.sum(0), kind="stable")
        rarest = order[labels[:, order].argmax(1)]
        found: np.ndarray = np.where(labels.any(1), rarest, labels.shape[1]).astype(np.int64)
        return found

    def check(self, labels: np.ndarray, origin: str) -> None:
        """Raises DataError where no row differs from another: there is nothing to learn."""
        if not np.ptp(labels, axis=0).any():
            raise DataError(f"{origin}: all rows have the same labels; there is nothing to learn. Add rows.")


def labels_of(value: Any, separator: str, row: int, origin: str) -> list[str]:
    """The labels in one cell: a list, a JSON list, or a text cut at `separator`.

    >>> labels_of("red, round", ",", 1, "f.csv"), labels_of(["a", 2], ",", 1, "f.csv"), labels_of(None, ",", 1, "f.csv")
    (['red', 'round'], ['a', '2'], [])

    Raises:
        DataError: a part of it is no text or number.
    """
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise DataError(
                f"{origin}, row {row}: {value!r:.60} begins like a JSON list and is none. Mend the row."
            ) from None
    parts = list(value) if isinstance(value, list | tuple | np.ndarray) else None
    try:
        if parts is None:
            text = label_text(value)
            return [part.strip() for part in text.split(separator) if part.strip()] if text is not None else []
        return [text for part in parts if (text := label_text(part)) is not None]
    except (TypeError, ValueError):
        raise DataError(
            f"{origin}, row {row}: labels must be texts or numbers, got {value!r:.60}. Mend or remove the row."
        ) from None


def sets_of(
    values: Sequence[Any],
    origin: str,
    file_names: Sequence[str] | None,
    model_names: Sequence[str] | None,
    separator: str,
    flags: bool,
    fine_tuned: bool,
) -> SetMap:
    """Which labels there are.

    Args:
        values: the labels as they are in the file.
        file_names: data.labels, or the columns of 0 and 1.
        model_names: the model's labels; None for one that starts at random.
        separator: between labels in one text.
        flags: whether rows hold a 0 or 1 for each label.
        fine_tuned: the teacher is going to be trained on these rows, which then say which labels there are.

    Raises:
        DataError: the names are not the model's, or there are none.
    """
    if file_names is not None and len(set(file_names)) != len(file_names):
        raise DataError(f"{origin}: data.labels names a label twice ({few(file_names)}). Give each one name.")
    if flags:
        seen: set[str] = set(file_names or ())
    else:
        seen = {label for row, value in enumerate(values, 1) for label in labels_of(value, separator, row, origin)}
    own = model_names if model_names is not None and (not fine_tuned or seen == set(model_names)) else None
    if own is not None and file_names is not None and set(file_names) != set(own):
        raise DataError(
            f"{origin}: the model knows the labels {few(own)}, the data {few(file_names)}. Name the model's in "
            f"data.labels, in its order, or have the model fine-tuned on these labels: teacher.training."
        )
    names = file_names if flags or own is None else own
    if names is None:
        if len(seen) < 1:
            raise DataError(f"{origin}: no row has a label. Set data.columns.label to the column of labels.")
        names = sorted(seen, key=lambda name: (not is_number(name), int(name) if is_number(name) else 0, name))
    if flags and own is not None and list(names) != list(own):
        raise DataError(
            f"{origin}: the model's labels are {few(own)} in this order, and data.columns.label names {few(names)}. "
            f"Name the columns in the model's order."
        )
    return SetMap(tuple(names), separator, flags)
