"""Labels in a file → class numbers of the model.

A label in a file is a name, or a number that counts the names of `data.labels` (or, without it, the model's classes).
Names match whatever their case and separators, as long as that leaves them different.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np

from edgepress.targets.errors import DataError
from edgepress.targets.text import whole_text

GENERIC = re.compile(r"label[_ -]?\d+", re.IGNORECASE)
"""What transformers calls classes that nobody named."""
MANY = 20
"""More different labels than this, in fewer than twice as many rows, are no classes."""


def shown(name: object) -> str:
    """A name out of a file as part of one line of a message.

    >>> shown("two\\nlines"), len(shown("a" * 999))
    ('two\\\\nlines', 60)
    """
    text = str(name)
    text = text if text.isprintable() else repr(text)[1:-1]
    return text if len(text) <= 60 else f"{text[:57]}..."


def few(names: Sequence[str], most: int = 5) -> str:
    """The first names in one line.

    >>> few(["a", "two\\nlines", "c"], most=2)
    'a, two\\\\nlines, ...'
    """
    return ", ".join(map(shown, names[:most])) + (", ..." if len(names) > most else "")


@dataclass(frozen=True)
class LabelMap:
    """`names` in the model's order; `classes` maps a label as it is written to its class; `note` tells what was
    assumed."""

    names: tuple[str, ...]
    classes: dict[str, int]
    note: str = ""

    def encode(self, values: Iterable[Any], origin: str) -> np.ndarray:
        """Class numbers, int64 `[rows]`.

        Raises:
            DataError: a label is missing or fits no class; names the row, the value and what is allowed.
        """
        numbers = [self._encode_one(value, row, origin) for row, value in enumerate(values, start=1)]
        return np.asarray(numbers, dtype=np.int64)

    def strata(self, labels: np.ndarray) -> np.ndarray:
        """The classes themselves."""
        return labels

    def check(self, labels: np.ndarray, origin: str) -> None:
        """Raises DataError where all rows are of one class."""
        there = np.unique(labels)
        if len(there) < 2:
            only = self.names[int(there[0])]
            raise DataError(
                f"{origin}: all rows have label {only!r}; a classifier needs two classes or more. Add rows."
            )

    def _encode_one(self, value: Any, row: int, origin: str) -> int:
        key = _key(value, row, origin)
        if key is None:
            raise DataError(f"{origin}, row {row}: the label is missing. Mend or remove the row.")
        if key in self.classes:
            return self.classes[key]
        allowed = list(self.classes)
        listed = ", ".join(map(shown, allowed[:10])) + (f" ... ({len(allowed)} in all)" if len(allowed) > 10 else "")
        close = difflib.get_close_matches(key, allowed, n=1)
        hint = f" Did you mean {shown(close[0])!r}?" if close else ""
        if key == "-1":
            hint = " -1 often stands for a split whose labels are not published: name another one."
        raise DataError(
            f"{origin}, row {row}: label {key!r:.60} does not fit the {len(self.names)} classes of the model; "
            f"allowed: {listed}. Mend the row, or name the classes in the model's order in data.labels.{hint}"
        )


def label_text(value: Any) -> str | None:
    """A label as text; None for a missing one.

    Raises:
        TypeError: it is a list, a mapping, or bytes that are no text.

    >>> label_text(1.0), label_text(True), label_text(" pos "), label_text(float("nan"))
    ('1', '1', 'pos', None)
    """
    if isinstance(value, bytes):
        try:
            value = value.decode("utf-8")
        except UnicodeDecodeError:
            raise TypeError("bytes that are no text") from None
    if isinstance(value, list | tuple | set | dict | np.ndarray):
        raise TypeError("several values")
    number = isinstance(value, float | np.floating | Decimal)
    if value is None or (number and np.isnan(float(value))):
        return None
    if isinstance(value, bool | np.bool_ | int | np.integer):
        return str(int(value))
    if number and float(value).is_integer():
        return str(int(value))
    return whole_text(str(value).strip()) or None


def _key(value: Any, row: int, origin: str) -> str | None:
    try:
        return label_text(value)
    except (TypeError, ValueError):  # ValueError: an integer of thousands of digits
        raise DataError(
            f"{origin}, row {row}: the label must be one text or number, got {_shown(value)}. Mend or remove the row."
        ) from None


def _shown(value: Any) -> str:
    return f"{value!r:.60}" if not isinstance(value, int) else "a number of thousands of digits"


def label_map(
    values: Sequence[Any], origin: str, file_names: Sequence[str] | None, model_names: Sequence[str] | None
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
        raise DataError(f"{origin}: data.labels names a class twice ({few(file_names)}). Give each class one name.")
    seen = {key for row, value in enumerate(values, start=1) if (key := _key(value, row, origin)) is not None}
    if model_names is None:
        _check_few(seen, len(values), origin)
        names = tuple(file_names) if file_names is not None else _names_of(seen, origin)
        return LabelMap(names, _classes(seen, names, names))
    counted = tuple(file_names) if file_names is not None else tuple(model_names)
    if len(counted) != len(model_names):
        raise DataError(
            f"{origin}: the model knows {len(model_names)} classes ({few(model_names)}), the data has {len(counted)} "
            f"label names ({few(counted)}). Set data.labels to the model's classes, in its order, or have the model "
            f"fine-tuned on these classes: teacher.training."
        )
    if file_names is None and len(set(model_names)) != len(model_names):
        raise DataError(
            f"{origin}: the model's config.json names a class twice ({few(model_names)}). Name its classes in "
            f"data.labels, in the model's order."
        )
    return _matched(seen, counted, tuple(model_names), origin)


def _matched(seen: set[str], counted: tuple[str, ...], model_names: tuple[str, ...], origin: str) -> LabelMap:
    """The same names in another order or case are matched by name; other names are taken in the model's order."""
    fold = _fold_of(counted, model_names)
    places = {fold(name): number for number, name in enumerate(model_names)}
    common = {fold(name) for name in counted} & set(places)
    if len(common) == len(model_names):
        by_place = [places[fold(name)] for name in counted]
        return LabelMap(model_names, _classes(seen, counted, model_names, by_place))
    if any(places.get(fold(name), number) != number for number, name in enumerate(counted)):
        raise DataError(
            f"{origin}: the labels are {few(counted)} and the model's classes {few(model_names)}: some are the same, "
            f"so the others cannot be taken by their place. Name the classes in data.labels as the model does."
        )
    note = ""
    if not all(GENERIC.fullmatch(name) or fold(name) in common for name in model_names):
        note = (
            f"the labels {few(counted)} are taken for the model's classes {few(model_names)} in this order. Name "
            f"them in data.labels as the model does where that is wrong"
        )
    return LabelMap(counted, _classes(seen, counted, counted), note)


def _fold_of(*lists: Sequence[str]) -> Callable[[str], str]:
    """What makes names of different case and separators the same, where it keeps each list's names apart."""
    if all(len({_folded(name) for name in names}) == len(names) for names in lists):
        return _folded
    return str


def _folded(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name.casefold()).strip()


def _classes(
    seen: set[str], counted: Sequence[str], names: Sequence[str], by_place: Sequence[int] | None = None
) -> dict[str, int]:
    """Each label as it is written -> its class: by name, or as a number that counts the names `counted`.

    Args:
        by_place: the class of each of `counted`; None where they are in the model's order.
    """
    places = range(len(counted)) if by_place is None else by_place
    by_name = dict(zip(counted, places, strict=True)) | {name: number for number, name in enumerate(names)}
    fold = _fold_of(names, counted)
    folded = {fold(name): number for name, number in by_name.items()}
    written = {key: folded[fold(key)] for key in seen if fold(key) in folded}
    by_number = {str(number): place for number, place in enumerate(places)}
    if len(written) >= len(seen & set(by_number)) and written:
        return {name: number for number, name in enumerate(names)} | by_name | written
    return by_number | _zeros(seen, by_number)


def _zeros(seen: set[str], by_number: dict[str, int]) -> dict[str, int]:
    """Numbers with zeros before them (00014), where no two of them are the same number."""
    plain = {key: key.lstrip("0") or "0" for key in seen if key.isascii() and key.isdecimal()}
    if len(plain) < len(seen) or len(set(plain.values())) < len(seen):
        return {}
    return {key: by_number[number] for key, number in plain.items() if number in by_number}


def _check_few(seen: set[str], rows: int, origin: str) -> None:
    if len(seen) > MANY and len(seen) * 2 > rows:
        raise DataError(
            f"{origin}: the labels have {len(seen)} different values in {rows} rows ({few(sorted(seen))}): that is no "
            f"class. Set data.columns.label to the column of classes."
        )


def _names_of(seen: set[str], origin: str) -> tuple[str, ...]:
    """Numbers 0 to K-1 or texts, in order. Numbers with zeros before them are texts."""
    if not all(is_number(key) for key in seen):
        return tuple(sorted(seen))
    numbers = sorted(int(key) for key in seen)
    if numbers != list(range(len(numbers))):
        listed = few([str(number) for number in numbers])
        raise DataError(
            f"{origin}: the labels are {listed}, and must count from 0 without gaps. "
            f"Renumber them, or name all classes in data.labels."
        )
    return tuple(str(number) for number in numbers)


def is_number(text: str) -> bool:
    """Whether a label is a whole number as people write it.

    >>> [is_number(text) for text in ("7", "-1", "007", "-0", "1.0", "one")]
    [True, True, False, False, False, False]
    """
    return re.fullmatch(r"0|-?[1-9][0-9]{0,17}", text) is not None


def folder_names(names: Iterable[str]) -> tuple[str, ...]:
    """Class names of folders in order, by their number where all are numbers.

    >>> folder_names(["10", "9", "9"]), folder_names(["b", "10", "9"])
    (('9', '10'), ('10', '9', 'b'))
    """
    found = {text for name in names if (text := label_text(name)) is not None}
    if all(is_number(name) for name in found):
        return tuple(sorted(found, key=int))
    return tuple(sorted(found))
