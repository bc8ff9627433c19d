"""The inputs that a recipe names → what they are: source, revision, sha256, and the licences stated beside them."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgepress.compress.data.handed import handed
from edgepress.compress.data.sources import DIGITS, find_source
from edgepress.compress.licences.beside import Beside, Finder, look
from edgepress.compress.licences.hub import hub_finder, hub_revision
from edgepress.compress.licences.records import PROVENANCE, Found, Provenance, Role, Stated, Text
from edgepress.compress.model.references import code_reference
from edgepress.compress.recipe.paths import PYTHON, in_home, kind_of
from edgepress.targets.files import sha256_of, write_whole

if TYPE_CHECKING:
    from edgepress.compress.recipe.recipe import Recipe

SPLITS = ("train", "val", "valid", "validation", "dev", "test")
"""Folders and files of such a name share the card of the folder that they lie in."""
OF_DIGITS = Stated(licence="CC-BY-4.0", by="https://archive.ics.uci.edu/dataset/80")


@dataclass(frozen=True)
class Named:
    """An input as a recipe names it: what for, which part of the recipe, and the reference."""

    role: Role
    part: str
    reference: str


def inputs_of(recipe: Recipe) -> Iterator[Named]:
    """Each input that a recipe names, a reference once for each of its roles."""
    teacher, student, data = recipe.teacher, recipe.student, recipe.data
    named: tuple[tuple[Role, str, str | None], ...] = (
        ("teacher", "teacher.model", teacher.model),
        ("teacher", "teacher.weights", teacher.weights),
        ("teacher", "teacher.tokenizer", teacher.tokenizer),
        ("code", "teacher.code", teacher.code),
        ("student", "student.model", student.model),
        ("student", "student.init_from", student.init_from),
        ("code", "student.code", student.code),
        ("data", "data.train", data.train),
        ("data", "data.validation", data.validation),
        ("data", "data.test", data.test),
    )
    seen = set()
    for role, part, reference in named:
        if reference is not None and (role, reference) not in seen:
            seen.add((role, reference))
            yield Named(role, part, reference)


def provenance_of(recipe: Recipe) -> Provenance:
    """What the inputs are now; relative paths begin in the current folder.

    Raises:
        DataError, ModelError: one is missing.
    """
    found: list[Found] = []
    texts: dict[str, Text] = {}
    for named in inputs_of(recipe):
        one, beside = _found(named)
        found.append(one.model_copy(update={"stated": (*one.stated, *beside.stated), "faults": beside.faults}))
        texts |= {text.text: text for text in beside.texts if text.text not in texts}
    return Provenance(inputs=tuple(found), texts=_named_apart(texts.values()))


def _named_apart(texts: Iterable[Text]) -> tuple[Text, ...]:
    """Texts of one name, of several inputs, with a number behind it."""
    names: Counter[str] = Counter()
    found = []
    for text in texts:
        names[text.name] += 1
        number = names[text.name]
        found.append(text if number == 1 else text.model_copy(update={"name": f"{text.name}-{number}"}))
    return tuple(found)


def keep_provenance(recipe: Recipe, run: Path) -> None:
    """Write `provenance.json` of a run, whole. The run is locked by the caller."""
    write_whole(run / PROVENANCE, provenance_of(recipe).model_dump_json(indent=1) + "\n")


def kept_provenance(run: Path) -> Provenance | None:
    """What a run has recorded of its inputs; None where an older edgepress made it.

    Raises:
        ArtifactError: the record is damaged.
    """
    path = run / PROVENANCE
    return Provenance.read(path) if path.is_file() else None


def _found(named: Named) -> tuple[Found, Beside]:
    if named.role == "code":
        return _of_code(named), Beside()
    if named.role == "data":
        return _of_data(named)
    folder = Path(in_home(named.reference))
    if kind_of(folder) is not None:
        return _of_path(named, folder)
    return _of_hub(named, named.reference, "model")


def _of_code(named: Named) -> Found:
    role = named.part.partition(".")[0]
    code = code_reference(named.reference, role)
    kind = "handed over" if named.reference == PYTHON else "code"
    return _record(named, kind, sha256=code.sha256)


def _of_data(named: Named) -> tuple[Found, Beside]:
    source = find_source(named.reference)
    if source.kind == "given":
        return _record(named, "handed over", sha256=handed(source.reference).digest), Beside()
    if source.reference == DIGITS:
        return _record(named, "built in").model_copy(update={"stated": (OF_DIGITS,)}), Beside()
    if source.path is None:
        return _of_hub(named, source.reference.partition(":")[0], "dataset")
    return _of_path(named, source.path)


def _of_path(named: Named, path: Path) -> tuple[Found, Beside]:
    is_folder = kind_of(path) == "folder"
    sha256 = folder_sha256(path) if is_folder else sha256_of(path)
    home = path if is_folder else path.parent
    beside = look(_finder(home), named.role)
    if not beside.stated and not beside.faults and is_folder and path.name.lower() in SPLITS:
        beside = look(_finder(path.parent), named.role)
    return _record(named, "folder" if is_folder else "file", sha256=sha256), beside


def _finder(folder: Path) -> Finder:
    return lambda name: path if (path := folder / name).is_file() else None


def _of_hub(named: Named, repository: str, kind: str) -> tuple[Found, Beside]:
    find = hub_finder(repository, kind)
    beside, (revision, snapshot) = look(find, named.role), hub_revision(repository, kind)
    sha256 = folder_sha256(snapshot) if snapshot is not None and kind == "model" else ""
    return _record(named, "hub", revision, sha256), beside


def _record(named: Named, kind: str, revision: str = "", sha256: str = "") -> Found:
    return Found.model_validate(
        {
            "role": named.role, "part": named.part, "source": shown_source(named.reference), "kind": kind,
            "revision": revision, "sha256": sha256,
        }
    )  # fmt: skip


def shown_source(reference: str) -> str:
    """A reference as it may travel: where it is absolute or leads up, its last name alone.

    >>> shown_source("data/train.jsonl"), shown_source("/srv/me/data/train.jsonl"), shown_source("owner/name:train")
    ('data/train.jsonl', 'train.jsonl', 'owner/name:train')
    """
    path = Path(reference)
    return path.name if path.is_absolute() or ".." in path.parts or reference.startswith("~") else reference


def folder_sha256(folder: Path) -> str:
    """Hex sha256 of a folder's list: `sha256  path` of each file below it, by path, as `sha256sum` writes them.

    Hidden files and folders do not count: they are what tools keep beside a download.
    """
    lines = [f"{sha256_of(path)}  {path.relative_to(folder).as_posix()}" for path in _files(folder)]
    return hashlib.sha256(
        b"".join(os.fsencode(line) + b"\n" for line in sorted(lines, key=lambda one: one[66:]))
    ).hexdigest()


def _files(folder: Path, deep: int | None = None) -> Iterator[Path]:
    """The files below a folder, `deep` folders down; behind a link, which may lead anywhere, those of two."""
    for entry in sorted(os.scandir(folder), key=lambda one: one.name):
        if entry.name.startswith("."):
            continue
        if entry.is_file():
            yield Path(entry.path)
        elif entry.is_dir() and deep != 0:
            yield from _files(Path(entry.path), deep - 1 if deep is not None else 2 if entry.is_symlink() else None)
