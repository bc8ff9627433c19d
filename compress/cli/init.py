"""The recipe that `edgepress init` writes: every option, what it means, and the columns of the user's own file."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from edgepress.compress.data.images import IMAGE_SUFFIXES
from edgepress.compress.data.sources import DIGITS, find_source
from edgepress.compress.data.tables import first_rows
from edgepress.compress.tasks import TASKS
from edgepress.targets.errors import DataError, RecipeError

FIRST_TEXTS = (
    "text",
    "sentence",
    "sentence1",
    "premise",
    "question",
    "question1",
    "review",
    "content",
    "utterance",
    "body",
    "comment",
    "message",
    "document",
)
SECOND_TEXTS = ("text_pair", "pair", "sentence2", "hypothesis", "question2", "answer", "context")
LABELS = ("label", "labels", "class", "target", "category", "intent", "sentiment", "y", "stars", "rating")
IMAGES = ("image", "img", "picture", "file", "file_name", "path")
LOOKED_AT = 200
"""Rows whose values are looked at."""
ENOUGH_TO_TELL = 10
"""Rows from which on values that are all different are an identifier's; classes are not yet repeated in fewer."""
MOST_KINDS = 50
"""Different values among them that may still be classes."""
FEW_KINDS = 10
"""Different whole numbers that are rather classes than a measurement."""


def recipe_template(task: str, data: str | None) -> str:
    """A commented recipe that can be read as it is.

    Args:
        data: a file, folder, hub id or builtin:digits; its columns are looked up. None leaves a path to fill in (text),
            or takes the built-in digits (images).

    Raises:
        RecipeError: no task has that name.
        DataError: the data is missing, empty or has no column that could be the task's.
    """
    if task not in TASKS:
        raise RecipeError(f"unknown task {task!r}; there are {', '.join(TASKS)}")
    columns = {"text": "text", "text_pair": None, "image": "image", "label": "label"} | _columns(task, data)
    default = "path/to/train.jsonl" if task == "text-classification" else DIGITS
    values = {name: json.dumps(value) for name, value in columns.items()} | {"train": json.dumps(data or default)}
    text = files("edgepress.compress.cli").joinpath("recipes", f"{task}.yaml").read_text(encoding="utf-8")
    for name, value in values.items():
        text = text.replace(f"<{name}>", value)
    return text


def _columns(task: str, data: str | None) -> dict[str, str]:
    """The columns of a table file that hold the task's inputs and label, as far as names and values tell."""
    source = find_source(data) if data is not None else None
    if source is None or source.kind != "table" or source.path is None:
        return {}
    rows = first_rows(source.path, LOOKED_AT)
    columns = {name: Column(name, tuple(row.get(name) for row in rows)) for name in rows[0]}
    label = _label(columns, task)
    others = {name: column for name, column in columns.items() if name != label}
    if label is None or not others:
        raise DataError(f"{data} needs a label column and one more; it has {', '.join(columns)}.")
    if task == "image-classification":
        return {"image": _first(others, IMAGES) or _most(others, Column.pictures), "label": label}
    texts = {name: column for name, column in others.items() if column.is_text}
    if not texts:
        raise DataError(f"{data} has no column of texts; it has {', '.join(columns)}.")
    # A name says little where every value is one word and another one: that is an identifier.
    plain = {name: column for name, column in texts.items() if not column.is_identifier} or texts
    text = _first(plain, FIRST_TEXTS) or _most(plain, Column.words)
    second = _first({name: None for name in plain if name != text}, SECOND_TEXTS)
    return {"text": text, "label": label} | ({"text_pair": second} if second else {})


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


def _label(columns: Mapping[str, Column], task: str) -> str | None:
    """The column called like a label; else one of few values, whole numbers before words; else the last one.

    A column whose values are all different, or all the same, is a label only where there is no other.
    """
    able = {name: column for name, column in columns.items() if not column.is_identifier} or columns
    if (named := _first(able, LABELS)) is not None:
        return named
    inputs = FIRST_TEXTS if task == "text-classification" else IMAGES
    able = {name: column for name, column in able.items() if name.lower() not in (*inputs, *SECOND_TEXTS)} or able
    varied = {name: column for name, column in able.items() if column.kinds() > 1} or able
    classes = [column for column in varied.values() if column.words() <= 2 and column.kinds() <= MOST_KINDS]
    if any(column.is_number or len(column.values) > 1 for column in classes):
        return min(
            classes, key=lambda column: (not column.is_number or column.kinds() > FEW_KINDS, column.kinds())
        ).name
    return next(reversed(list(columns)), None)


def _most(columns: Mapping[str, Column], of: Callable[[Column], float]) -> str:
    """The first column that has most of something."""
    return max(columns.values(), key=of).name


def _first(row: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    """The column whose name comes first in `names`, whatever its case."""
    lowered = {name.lower(): name for name in reversed(row)} if isinstance(row, dict) else {}
    return next((lowered[name] for name in names if name in lowered), None)
