"""Which column of a user's table is which, as far as names and the first values tell."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgepress.compress.data.images import IMAGE_SUFFIXES

ENOUGH_TO_TELL = 10
"""Rows from which on values that are all different are an identifier's; classes are not yet repeated in fewer."""


@dataclass(frozen=True)
class Column:
    """The first values of a column, and what they look like."""

    name: str
    values: tuple[Any, ...]

    @property
    def is_text(self) -> bool:
        return any(isinstance(value, str) for value in self.values)

    @property
    def is_number(self) -> bool:
        return all(isinstance(value, int) or str(value).isdecimal() for value in self.values)

    @property
    def is_identifier(self) -> bool:
        """Every value is another one, and one word: a running number, a key, a file name. Few rows do not tell."""
        different = len({str(value) for value in self.values}) == len(self.values)
        return different and len(self.values) >= ENOUGH_TO_TELL and self.words() <= 1

    def kinds(self) -> int:
        """How many different values there are."""
        return len({str(value) for value in self.values})

    def words(self) -> float:
        """Words of a value, on average."""
        return sum(len(str(value).split()) for value in self.values) / len(self.values)

    def pictures(self) -> float:
        """Share of values that are encoded images or names of image files."""
        return sum(
            isinstance(value, bytes | dict) or str(value).lower().endswith(IMAGE_SUFFIXES) for value in self.values
        ) / len(self.values)


def first_named(columns: Iterable[str], names: Sequence[str]) -> str | None:
    """The column whose name comes first in `names`, whatever its case; None where none of them is there.

    >>> first_named(["Review", "TEXT"], ("text", "review")), first_named(["a"], ("text",))
    ('TEXT', None)
    """
    lowered = {column.lower(): column for column in reversed(list(columns))}
    return next((lowered[name] for name in names if name in lowered), None)


def most(columns: Mapping[str, Column], of: Callable[[Column], float]) -> str:
    """The name of the first column that has most of something."""
    return max(columns.values(), key=of).name
