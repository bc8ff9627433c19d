"""Text of others made safe to show: what would steer a terminal or turn the reading order is written as an escape."""

from __future__ import annotations

import re

# C0 and C1 controls, marks that reorder or hide what follows, separators that some programs take for a line's end, and
# halves of characters, which cannot be encoded. Line ends and tabs are layout, which `visible` leaves alone.
STEERING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)


def visible(text: str) -> str:
    r"""`text` with each control character as Python would write it.

    >>> print(visible("a\x1b[31mb"), visible("\u202ecba"))
    a\x1b[31mb \u202ecba
    """
    return STEERING.sub(_escape, text)


def visible_line(text: str, longest: int | None = None) -> str:
    r"""The same on one line, cut to `longest` characters.

    >>> visible_line("a\nb"), visible_line("abcdefgh", 6)
    ('a\\nb', 'abc...')
    """
    if longest is not None and len(text) > longest:
        text = text[: longest - 3] + "..."
    return visible(text).replace("\n", "\\n").replace("\t", "\\t")


def _escape(found: re.Match[str]) -> str:
    return found.group().encode("unicode_escape", "surrogatepass").decode()
