"""Rows that a script hands to `run`: sequences of (inputs by name, label), as NumPy, torch and datasets give them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgepress.compress.recipe.paths import PYTHON
from edgepress.targets.errors import DataError

ONLY = "input"
"""What the input of a row is called that has one without a name."""
_HANDED: dict[str, Handed] = {}


@dataclass(frozen=True)
class Splits:
    """The rows of a run whose recipe says `data: {train: python}`.

    Each is a sequence or iterable, a torch Dataset or a `datasets.Dataset` of rows: (inputs, label), where inputs are
    an array or a mapping of arrays by name, or a mapping that has the label too, under `data.columns.label`. What is
    None is cut from train.
    """

    train: Iterable[Any]
    validation: Iterable[Any] | None = None
    test: Iterable[Any] | None = None


@dataclass(frozen=True)
class Handed:
    """One split as columns of one value a row, and the digest of all of them."""

    columns: Mapping[str, list[Any]]
    digest: str


def hand_over_rows(splits: Splits, label: str) -> dict[str, str | None]:
    """Keep the rows for the run of this process; the references that stand for them in a recipe, by split.

    Args:
        splits: the rows.
        label: what the label is called where rows are mappings.

    Raises:
        DataError: a row is none, or a split has no rows.
    """
    references: dict[str, str | None] = {}
    for split in ("train", "validation", "test"):
        rows = getattr(splits, split)
        references[split] = None if rows is None else f"{PYTHON}:{split}"
        if rows is not None:
            _HANDED[f"{PYTHON}:{split}"] = _collected(rows, split, label)
    return references


def handed(reference: str) -> Handed:
    """The rows that a reference stands for.

    Raises:
        DataError: no rows were handed over.
    """
    if reference not in _HANDED:
        raise DataError(f"data: {reference}: hand rows over, run(recipe, data=Splits(train, validation, test)).")
    return _HANDED[reference]


def _collected(rows: Iterable[Any], split: str, label: str) -> Handed:
    columns: dict[str, list[Any]] = {}
    digest = hashlib.sha256()
    for number, row in enumerate(_each(rows), start=1):
        named = _named(row, f"{split}, row {number}", label)
        if number > 1 and named.keys() != columns.keys():
            raise DataError(f"{split}, row {number} has {', '.join(named)}; the rows before it {', '.join(columns)}.")
        for name, value in named.items():
            columns.setdefault(name, []).append(value)
            digest.update(f"{name} {getattr(value, 'shape', '')} {getattr(value, 'dtype', '')}".encode())
            digest.update(value.tobytes() if isinstance(value, np.ndarray) else repr(value).encode())
    if not columns:
        raise DataError(f"{split} has no rows: it needs at least one.")
    return Handed(columns, digest.hexdigest())


def _each(rows: Any) -> Iterator[Any]:
    """torch's map-style data sets have a length and numbers, and nothing says where they end."""
    if hasattr(rows, "__len__") and hasattr(rows, "__getitem__") and not isinstance(rows, Mapping):
        return (rows[number] for number in range(len(rows)))
    return iter(rows)


def _named(row: Any, origin: str, label: str) -> dict[str, Any]:
    """Inputs and label of a row by name, tensors as arrays."""
    if isinstance(row, Mapping):
        found = dict(row)
    elif isinstance(row, tuple | list) and len(row) == 2:
        found = {**(row[0] if isinstance(row[0], Mapping) else {ONLY: row[0]}), label: row[1]}
    else:
        raise DataError(f"{origin} is a {type(row).__name__}; a row is (inputs, label), or a mapping with {label!r}.")
    if label not in found or len(found) < 2 or not all(isinstance(name, str) for name in found):
        raise DataError(f"{origin} has {', '.join(map(str, found))}; a row has inputs by name and {label!r}.")
    return {name: _value(value, name == label) for name, value in found.items()}


def _value(value: Any, is_label: bool) -> Any:
    """Tensors become arrays, and a label of one number that number."""
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    if is_label and isinstance(value, np.ndarray | np.generic) and value.ndim == 0:
        return value.item()
    return value
