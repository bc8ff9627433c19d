"""What common licences and terms say about training with something and passing on the result: a dated table.

It is information, not legal advice: each row sums up a text of the date that it gives, and names where to read it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any, Literal

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

Verdict = Literal["permits", "conditions", "restricts", "unknown", "not stated"]
ORDER: tuple[Verdict, ...] = ("permits", "conditions", "restricts", "unknown")
TABLE = Path(__file__).with_name("table.json")
ADVICE = "This is information, not legal advice."
OTHER = "LicenseRef-"
LONGEST = 200  # characters of a licence's name or expression
TEXT_READ = 20_000  # characters of a licence text that its name is looked for in


@dataclass(frozen=True)
class Terms:
    """One row: a licence, and what it says.

    Args:
        id: its SPDX id; `LicenseRef-…` where SPDX has none.
        verdict: whether it permits, asks for something (told in the release), or restricts (packing stops).
        says: what it says of distilling and passing on, in a sentence.
        source: where the text stands.
        dated: of the text that was summed up, as it dates itself.
        tags: what the Hugging Face hub and people call it, in lower case.
        phrases: what its text holds, every one of them, in lower case.
    """

    id: str
    verdict: Verdict
    says: str
    source: str
    dated: str
    tags: tuple[str, ...] = ()
    phrases: tuple[str, ...] = ()


@cache
def terms() -> tuple[Terms, ...]:
    """The rows of the table, in the order in which texts are compared with them."""
    rows: list[dict[str, Any]] = json.loads(TABLE.read_text(encoding="utf-8"))["licences"]
    return tuple(Terms(**row | {"tags": tuple(row["tags"]), "phrases": tuple(row["phrases"])}) for row in rows)


@cache
def _by_name() -> dict[str, Terms]:
    return {name: row for row in terms() for name in (row.id.lower(), *row.tags)}


def of_name(name: str) -> Terms | None:
    """The row of an SPDX id or of a tag of the hub.

    >>> of_name("apache-2.0").id, of_name("llama3.1").verdict, of_name("mine")
    ('Apache-2.0', 'restricts', None)
    """
    return _by_name().get(" ".join(name.lower().split()))


def licence_id(text: str) -> str | None:
    """An SPDX expression in its usual spelling, with the table's ids for tags of the hub; None where it is neither.

    >>> licence_id("mit OR apache-2.0"), licence_id("gemma"), licence_id("free for friends")
    ('MIT OR Apache-2.0', 'LicenseRef-gemma', None)
    """
    if not text.strip() or len(text) > LONGEST:
        return None
    if (row := of_name(text)) is not None:
        return row.id
    try:
        return str(canonicalize_license_expression(text))
    except InvalidLicenseExpression:
        return None


def known_licence(text: str) -> str:
    """`licence_id`, for what a user wrote. Raises ValueError with the nearest name."""
    if (found := licence_id(text)) is not None:
        return found
    near = get_close_matches(text.lower()[:LONGEST], _by_name(), 1)
    hint = f" Did you mean {_by_name()[near[0]].id!r}?" if near else ""
    raise ValueError(
        f"{text[:60]!r} is no SPDX licence id. Give one such as Apache-2.0 or CC-BY-4.0 (https://spdx.org/licenses), "
        f"or LicenseRef-NAME for terms that have none.{hint}"
    )


def foreign(name: str) -> str:
    """What a card called a licence that is neither SPDX's nor the table's, as an SPDX reference.

    >>> foreign("My own! terms")
    'LicenseRef-My-own-terms'
    """
    return OTHER + (re.sub(r"[^A-Za-z0-9.]+", "-", name[:60]).strip("-") or "other")


def of_text(text: str) -> Terms | None:
    """The row whose licence a text is, by phrases of it; None where it is none of the table's."""
    folded = re.sub(r"\s+", " ", text[:TEXT_READ]).lower()
    return next((row for row in terms() if row.phrases and all(phrase in folded for phrase in row.phrases)), None)


def together(expressions: Iterable[str]) -> str:
    """Several licences that all hold, as one expression.

    >>> together(["MIT", "MIT OR Apache-2.0", "MIT"])
    'MIT AND (MIT OR Apache-2.0)'
    """
    found = list(dict.fromkeys(expressions))
    if len(found) == 1:
        return found[0]
    return " AND ".join(f"({one})" if re.search(r" (OR|AND) ", one) else one for one in found)


def judged(expression: str) -> tuple[Verdict, tuple[Terms, ...]]:
    """What a licence expression comes to, and the rows behind it: the mildest of alternatives, else the strictest.

    An expression with both AND and OR counts by its strictest part. What stands behind WITH only ever permits more.

    >>> judged("MIT OR CC-BY-NC-4.0")[0], judged("MIT AND CC-BY-NC-4.0")[0], judged("EUPL-1.2")[0]
    ('permits', 'restricts', 'unknown')
    """
    names = re.split(r" (?:OR|AND) ", re.sub(r" WITH \S+", "", re.sub(r"[()]", "", expression)))
    rows = [of_name(name) for name in names]
    verdicts: list[Verdict] = [row.verdict if row is not None else "unknown" for row in rows]
    choose = min if " OR " in expression and " AND " not in expression else max
    verdict = choose(verdicts, key=ORDER.index)
    return verdict, tuple(row for row in rows if row is not None and row.verdict == verdict)
