"""Text that others wrote, as it is shown: what would steer a terminal or turn a line around is made visible."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

# Control characters but for tab and line feed, marks that turn the direction of writing, ends of lines and paragraphs,
# invisible operators and tags, lone surrogates. Joiners stay: Persian and Hindi are written with them.
UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f\ud800-\udfff]"
)

SURROGATE = re.compile("[\ud800-\udfff]")
LONG = re.compile(r"\d{20}")


def visible(text: str) -> str:
    """`text` with each such character as its escape.

    >>> visible("a\\x1b[31m"), visible("Zeile 1\\nZeile 2"), visible("fp32\\u202e8tni")
    ('a\\\\x1b[31m', 'Zeile 1\\nZeile 2', 'fp32\\\\u202e8tni')
    """
    return UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def whole_text(text: str) -> str:
    """`text` with U+FFFD for half of a surrogate pair, which no tokenizer and no file takes.

    >>> whole_text("a\\ud83d")
    'a\ufffd'
    """
    return SURROGATE.sub("\ufffd", text)


def all_visible(value: Any) -> Any:
    """The same for every text in lists and mappings, keys included."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, Mapping):
        return {all_visible(key): all_visible(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(all_visible(inner) for inner in value)
    return value


def sane_numbers(text: str) -> str:
    """JSON, as it is. Raises ValueError for a whole number beyond 64 bits: nothing that it could count is so many, and
    what shows it would fail."""
    if LONG.search(text):  # it may stand in a text
        json.loads(text, parse_int=_sane)
    return text


def _sane(digits: str) -> int:
    if len(digits.lstrip("-")) >= 20:
        raise ValueError(f"a whole number of {len(digits)} digits")
    return 0
