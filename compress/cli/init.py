"""The recipe that `edgepress init` writes: every option, what it means, and the columns of the user's own file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from edgepress.compress.data.sources import DIGITS, find_source
from edgepress.compress.data.tables import columns_of
from edgepress.compress.tasks import TASKS
from edgepress.targets.errors import DataError, RecipeError

FIRST_TEXTS = ("text", "sentence", "sentence1", "premise", "question", "question1", "review", "content", "utterance")
SECOND_TEXTS = ("text_pair", "pair", "sentence2", "hypothesis", "question2", "answer", "context")
LABELS = ("label", "labels", "class", "target", "category", "intent", "sentiment", "y")
IMAGES = ("image", "img", "picture", "file", "file_name", "path")


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
    row = columns_of(source.path)
    label = _first(row, LABELS) or _label_like(row)
    others = {name: value for name, value in row.items() if name != label}
    if label is None or not others:
        raise DataError(f"{data} needs a label column and one more; it has {', '.join(row)}.")
    if task == "image-classification":
        return {"image": _first(others, IMAGES) or next(iter(others)), "label": label}
    texts = [name for name, value in others.items() if isinstance(value, str)]
    if not texts:
        raise DataError(f"{data} has no column of texts; it has {', '.join(row)}.")
    text = _first(dict.fromkeys(texts), FIRST_TEXTS) or texts[0]
    second = _first({name: None for name in texts if name != text}, SECOND_TEXTS)
    return {"text": text, "label": label} | ({"text_pair": second} if second else {})


def _first(row: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    """The column whose name comes first in `names`, whatever its case."""
    lowered = {name.lower(): name for name in reversed(row)} if isinstance(row, dict) else {}
    return next((lowered[name] for name in names if name in lowered), None)


def _label_like(row: Mapping[str, Any]) -> str | None:
    """The first column of whole numbers, else the last one."""
    numbers = [name for name, value in row.items() if isinstance(value, int) or str(value).isdecimal()]
    return numbers[0] if numbers else next(reversed(list(row)), None)
