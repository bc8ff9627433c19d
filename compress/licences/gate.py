"""Whether a run's inputs may go into a release, as far as their licences are known: information, not legal advice."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from edgepress.compress.licences.records import Found, Input, Provenance
from edgepress.compress.licences.table import ADVICE, OTHER, judged, together
from edgepress.targets.errors import LicenceError
from edgepress.targets.text import visible

if TYPE_CHECKING:
    from edgepress.compress.recipe.licences import AcceptLicence, Licences

STOPPING = ("restricts", "unknown")
UNREAD = f"{OTHER}unreadable-card"


def judge(provenance: Provenance, said: Licences, accepted: AcceptLicence) -> tuple[Input, ...]:
    """Each input with what its licences come to. What a recipe says is added to what is stated beside an input: a card
    that restricts is answered by a reason, not by another name."""
    return tuple(
        _judged(found, getattr(said, found.role), getattr(accepted, found.role)) for found in provenance.inputs
    )


def _judged(found: Found, said: str | None, reason: str | None) -> Input:
    stated = [(one.licence, one.by) for one in found.stated]
    stated += [(UNREAD, visible(fault)[:300]) for fault in found.faults]
    stated += [(said, "recipe")] if said is not None else []
    bare = Input(
        **found.model_dump(exclude={"stated", "faults"}),
        stated_by=tuple(dict.fromkeys(by for _, by in stated)),
        verdict="not stated",
    )
    if not stated:
        return bare
    licence = together(one for one, _ in stated)
    verdict, rows = judged(licence)
    known = {
        "licence": licence,
        "verdict": verdict,
        "says": tuple(dict.fromkeys(row.says for row in rows)),
        "source_of_terms": tuple(dict.fromkeys(f"{row.source} ({row.dated})" for row in rows)),
        "accepted": reason if reason is not None and verdict in STOPPING else "",
    }
    return bare.model_copy(update=known)


def check_licences(inputs: Iterable[Input]) -> None:
    """Raises LicenceError for inputs whose licence restricts or is not known, and that the recipe does not accept."""
    stopping = [one for one in inputs if one.verdict in STOPPING and not one.accepted]
    if not stopping:
        return
    first = stopping[0]
    more = f" (and {len(stopping) - 1} more inputs)" if len(stopping) > 1 else ""
    why = "is not in the table" if first.verdict == "unknown" else f"restricts: {' '.join(first.says).rstrip('.')}"
    where = f" ({', '.join(first.source_of_terms)})" if first.source_of_terms else ""
    what = f"the licence of {first.part} {first.source}{more} is {first.licence} by {', '.join(first.stated_by)}"
    raise LicenceError(
        f"{' '.join(visible(what).split())}, which {why}{where}. Nothing was packaged. Read it; to package it all the "
        f"same, write accept_licence: {{{first.role}: REASON}} into the recipe and run again, or give it with "
        f"--recipe. {ADVICE}"
    )


def unstated(inputs: Iterable[Input]) -> tuple[str, ...]:
    """Inputs of which nobody said under which licence they are, as the recipe names them."""
    return tuple(f"{one.part} {one.source}" for one in inputs if one.verdict == "not stated")
