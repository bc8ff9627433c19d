"""The recipe that `edgepress init` writes: every option, what it means, and the columns of the user's own file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from edgepress.compress.data.sources import find_source
from edgepress.compress.data.tables import columns_of
from edgepress.compress.recipe.data import Columns
from edgepress.compress.tasks import load_task
from edgepress.compress.tasks.base import Inputs
from edgepress.compress.tasks.inputs.columns import first_named
from edgepress.targets.errors import DataError, RecipeError

LABELS = ("label", "labels", "class", "target", "category", "intent", "sentiment", "y")


def recipe_template(task: str, data: str | None) -> str:
    """A commented recipe that can be read as it is.

    Args:
        data: a file, folder, hub id or builtin:digits; its columns are looked up. None leaves a path to fill in (text),
            or takes the built-in digits (images).

    Raises:
        RecipeError: no task has that name.
        DataError: the data is missing, empty or has no column that could be the task's.
    """
    inputs = load_task(task).inputs
    template = files("edgepress.compress.cli").joinpath("recipes", f"{task}.yaml")
    if not template.is_file():
        raise RecipeError(f"the task {task!r} brings no recipe to start from. Write one by docs/recipe.md.")
    columns = Columns().model_dump() | _columns(inputs, data)
    values = {name: json.dumps(value) for name, value in columns.items()} | {
        "train": json.dumps(data or inputs.example)
    }
    text = template.read_text(encoding="utf-8")
    for name, value in values.items():
        text = text.replace(f"<{name}>", value)
    return text


def _columns(inputs: Inputs, data: str | None) -> dict[str, str]:
    """The columns of a table file that hold the task's inputs and label, as far as names and values tell."""
    source = find_source(data) if data is not None else None
    if source is None or source.kind != "table" or source.path is None:
        return {}
    row = columns_of(source.path)
    label = first_named(row, LABELS) or _label_like(row)
    others = {name: value for name, value in row.items() if name != label}
    if label is None or not others:
        raise DataError(f"{data} needs a label column and one more; it has {', '.join(row)}.")
    if (columns := inputs.guess_columns(others)) is None:
        raise DataError(f"{data} has no column of {inputs.content}; it has {', '.join(row)}.")
    return columns | {"label": label}


def _label_like(row: Mapping[str, Any]) -> str | None:
    """The first column of whole numbers, else the last one."""
    numbers = [name for name, value in row.items() if isinstance(value, int) or str(value).isdecimal()]
    return numbers[0] if numbers else next(reversed(list(row)), None)
