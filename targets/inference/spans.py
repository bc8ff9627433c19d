"""Tags of words → spans: IOB1, IOB2 and IOBES, as conlleval and seqeval's default mode read them."""

from __future__ import annotations

import re
from collections.abc import Sequence

TAG = re.compile(r"[BIES]-.+")
"""A tag within a span."""
Place = tuple[str, int, int]
"""Type, first word, last word."""


def are_tags(names: Sequence[str]) -> bool:
    """Whether classes are called as tags of spans are: `O`, and `B-` or `I-` (also `E-`, `S-`) before a type.

    >>> are_tags(["O", "B-PER", "I-PER"]), are_tags(["NOUN", "VERB"])
    (True, False)
    """
    return all(name == "O" or TAG.fullmatch(name) for name in names)


def spans_in(tags: Sequence[str]) -> list[Place]:
    """The spans of one row of tags, in their order. An `I-` that follows no tag of its type begins one.

    >>> spans_in(["B-PER", "I-PER", "O", "I-LOC", "B-LOC"])
    [('PER', 0, 1), ('LOC', 3, 3), ('LOC', 4, 4)]
    >>> spans_in(["S-PER", "B-LOC", "E-LOC", "I-LOC"])
    [('PER', 0, 0), ('LOC', 1, 2), ('LOC', 3, 3)]
    """
    found: list[Place] = []
    start, kind, before = 0, "", "O"
    for place, tag in enumerate([*tags, "O"]):
        prefix, _, name = tag.partition("-")
        begins = prefix in ("B", "S") or name != kind or before in ("E", "S")
        if kind and (prefix == "O" or begins):
            found.append((kind, start, place - 1))
            kind = ""
        if prefix != "O" and not kind:
            start, kind = place, name
        before = prefix
    return found
