"""What lies beside an input and says under which licence it is: the front matter of its card, LICENSE files.

Cards come with downloads and may be anybody's: little of them is read, and their YAML within the bounds of a recipe.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgepress.compress.licences.records import Stated, Text
from edgepress.compress.licences.table import foreign, licence_id, of_text, together
from edgepress.compress.recipe.yaml_reader import parse_yaml
from edgepress.targets.errors import DataError, RecipeError, told
from edgepress.targets.text import visible

CARD = "README.md"
TEXTS = ("LICENSE", "LICENSE.txt", "LICENSE.md", "LICENCE", "LICENCE.txt", "COPYING", "LICENSE-MODEL", "NOTICE")
MOST_FRONT, MOST_TEXT = 64 << 10, 256 << 10
"""Bytes of a card in which its front matter must end, and of a licence text."""
MOST_NAMES = 20

Finder = Callable[[str], Path | None]
"""A file of an input's folder or repository by its name; None where there is no such file."""


@dataclass(frozen=True)
class Beside:
    """What was found: licences, texts that travel with a release, and what could not be read."""

    stated: tuple[Stated, ...] = ()
    texts: tuple[Text, ...] = ()
    faults: tuple[str, ...] = ()


def look(find: Finder, role: str) -> Beside:
    """Card and licence texts of one input.

    Args:
        find: gives its files.
        role: whose they are; begins the names of the texts.
    """
    stated: list[Stated] = []
    texts, faults = [], []
    try:
        stated += [Stated(licence=one, by="card") for one in _of_card(find(CARD))]
    except DataError as fault:
        faults.append(f"{CARD}: {told(fault)}")
    for name, content in _licence_texts(find):
        texts.append(Text(name=f"{role}-{name}", text=content))
        if name != "NOTICE":
            row = of_text(content)
            stated.append(Stated(licence=row.id if row is not None else foreign(f"{role}-{name}"), by=name))
    return Beside(tuple(stated), tuple(texts), tuple(faults))


def _licence_texts(find: Finder) -> Iterator[tuple[str, str]]:
    for name in TEXTS:
        path = find(name)
        if path is not None and path.is_file():
            with path.open("rb") as file:
                yield name, visible(file.read(MOST_TEXT).decode("utf-8", "replace").replace("\r\n", "\n"))


def _of_card(path: Path | None) -> list[str]:
    """The licences that a card's front matter names, as SPDX ids; none where it has none."""
    if path is None:
        return []
    front = front_matter(path)
    named = front.get("license", [])
    names = named if isinstance(named, list) else [named]
    if names in ([], [None]):
        return []
    if len(names) > MOST_NAMES or not all(isinstance(name, str) for name in names):
        raise DataError("its license is neither a name nor a short list of names")
    if names == ["other"] and isinstance(front.get("license_name"), str):
        names = [front["license_name"]]
    return [together(licence_id(name) or foreign(name) for name in names)]


def front_matter(path: Path) -> dict[str, Any]:
    """The YAML at the front of a card; empty where it has none.

    Raises:
        DataError: it does not end within 64 KiB, is no UTF-8, or is no mapping; one line says which.
    """
    with path.open("rb") as file:
        head = file.read(MOST_FRONT)
    if not head.lstrip(b"\xef\xbb\xbf").startswith(b"---"):
        return {}
    lines = head.decode("utf-8-sig", "replace").splitlines()
    if lines[0].rstrip() != "---":
        return {}
    end = next((place for place, line in enumerate(lines[1:], 1) if line.rstrip() == "---"), None)
    if end is None:
        raise DataError(f"its front matter does not end within {MOST_FRONT >> 10} KiB")
    if "\ufffd" in "".join(lines[:end]):
        raise DataError("its front matter is no UTF-8")
    try:
        found = parse_yaml("\n".join(lines[1:end]) + "\n", "its front matter,")
    except RecipeError as fault:
        raise DataError(told(fault)) from None
    if found is not None and not isinstance(found, dict):
        raise DataError("its front matter is no mapping of keys such as 'license:'")
    return found or {}
