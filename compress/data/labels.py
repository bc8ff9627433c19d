"""Labels in a file → class numbers of the model.

A label in a file is a name, or a number that counts the names of `data.labels` (or, without it, the model's classes).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgepress.targets.errors import DataError


@dataclass(frozen=True)
class LabelMap:
    """`names` in the model's order; `classes` maps a label as it is written to its class."""

    names: tuple[str, ...]
    classes: dict[str, int]

    def encode(self, values: Iterable[Any], origin: str) -> np.ndarray:
        """Class numbers, int64 `[rows]`.

        Raises:
            DataError: a label is missing or fits no class; names the row, the value and what is allowed.
        """
        numbers = [self._encode_one(value, row, origin) for row, value in enumerate(values, start=1)]
        return np.asarray(numbers, dtype=np.int64)

    def _encode_one(self, value: Any, row: int, origin: str) -> int:
        key = label_text(value)
        if key is None:
            raise DataError(f"{origin}, row {row}: the label is missing. Mend or remove the row.")
        if key in self.classes:
            return self.classes[key]
        allowed = list(self.classes)
        listed = ", ".join(allowed[:10]) + (f" ... ({len(allowed)} in all)" if len(allowed) > 10 else "")
        close = difflib.get_close_matches(key, allowed, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise DataError(
            f"{origin}, row {row}: label {key!r} does not fit the {len(self.names)} classes of the model; "
            f"allowed: {listed}. Mend the row, or name the classes in the model's order in data.labels.{hint}"
        )


def label_text(value: Any) -> str | None:
    """A label as text; None for a missing one.

    >>> label_text(1.0), label_text(True), label_text(" pos "), label_text(float("nan"))
    ('1', '1', 'pos', None)
    """
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return None
    if isinstance(value, bool | np.bool_ | int | np.integer):
        return str(int(value))
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value).strip() or None


def label_map(
    values: Iterable[Any], origin: str, file_names: Sequence[str] | None, model_names: Sequence[str] | None
) -> LabelMap:
    """How the training file's labels name the model's classes.

    Args:
        values: the labels as they are in the file.
        file_names: the names that the file's numbers count (data.labels, or the data set's own).
        model_names: the model's classes in its order; None for a model that is not there yet.

    Raises:
        DataError: the names contradict each other, or nothing says which label is which class.
    """
    if file_names is not None and len(set(file_names)) != len(file_names):
        raise DataError(f"{origin}: data.labels names a class twice ({_few(file_names)}). Give each class one name.")
    seen = {key for value in values if (key := label_text(value)) is not None}
    if model_names is None:
        names = tuple(file_names) if file_names is not None else _names_of(seen, origin)
        return LabelMap(names, _classes(seen, names, names))
    counted = tuple(file_names) if file_names is not None else tuple(model_names)
    if len(counted) != len(model_names):
        raise DataError(
            f"{origin}: the model knows {len(model_names)} classes ({_few(model_names)}), the data has {len(counted)} "
            f"label names ({_few(counted)}). Set data.labels to the model's classes, in its order, or have the model "
            f"fine-tuned on these classes: teacher.training."
        )
    # The same names in another order are matched by name; other names (LABEL_0 ...) are taken in the model's order.
    names = tuple(model_names) if set(counted) == set(model_names) else counted
    return LabelMap(names, _classes(seen, counted, names))


def _classes(seen: set[str], counted: Sequence[str], names: Sequence[str]) -> dict[str, int]:
    by_name = {name: position for position, name in enumerate(names)}
    by_number = {str(number): by_name[name] for number, name in enumerate(counted)}
    return by_name if len(seen & set(by_name)) >= len(seen & set(by_number)) and seen & set(by_name) else by_number


def _names_of(seen: set[str], origin: str) -> tuple[str, ...]:
    """Numbers 0 to K-1 or texts, in order."""
    if not all(key.lstrip("-").isdecimal() for key in seen):
        return tuple(sorted(seen))
    numbers = sorted(int(key) for key in seen)
    if numbers != list(range(len(numbers))):
        listed = _few([str(number) for number in numbers])
        raise DataError(
            f"{origin}: the labels are {listed}, and must count from 0 without gaps. "
            f"Renumber them, or name all classes in data.labels."
        )
    return tuple(str(number) for number in numbers)


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
