"""Which column of a user's table is which, as far as names tell."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def first_named(columns: Iterable[str], names: Sequence[str]) -> str | None:
    """The column whose name comes first in `names`, whatever its case; None where none of them is there.

    >>> first_named(["Review", "TEXT"], ("text", "review")), first_named(["a"], ("text",))
    ('TEXT', None)
    """
    lowered = {column.lower(): column for column in reversed(list(columns))}
    return next((lowered[name] for name in names if name in lowered), None)
