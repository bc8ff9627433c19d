"""The recipe that `edgepress init` writes: every option, what it means, and the columns of the user's own file."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files

from edgepress.benchmarks.metrics import METRICS
from edgepress.compress.data.rows import MASKED
from edgepress.compress.data.sources import find_source
from edgepress.compress.data.tables import first_rows
from edgepress.compress.recipe.data import Columns
from edgepress.compress.tasks import load_task
from edgepress.compress.tasks.base import Inputs, Task
from edgepress.compress.tasks.inputs.columns import Column, first_named
from edgepress.targets.errors import DataError, RecipeError

LABELS = (
    *(
        "label",
        "labels",
        "tags",
        "ner_tags",
        "answers",
        "class",
        "target",
        "category",
        "intent",
        "sentiment",
        "y",
        "stars",
    ),
    "rating",
)
MASKS = ("mask", "masks", "segmentation_mask", "segmentation", "annotation")
SCORES = ("score", "similarity", "similarity_score", "relatedness", "relatedness_score", "gold")
OF_PAIRS = {"text_pair": "text_pair", "label": "score"}
"""What the columns of pairs are called in a template where the training file has none."""
GATE = re.compile(r"  max_accuracy_drop: .*\n(  # min_accuracy.*\n)+(  # metrics: .*\n)?")
LOOKED_AT = 200
"""Rows whose values are looked at."""
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
    known = load_task(task)
    inputs = known.inputs
    folder = files("edgepress.compress.cli").joinpath("recipes")
    templates = (folder.joinpath(f"{name}.yaml") for name in (task, inputs.content))
    if (template := next((one for one in templates if one.is_file()), None)) is None:
        raise RecipeError(f"the task {task!r} brings no recipe to start from. Write one by docs/recipe.md.")
    columns = Columns().model_dump() | _columns(known, data)
    values = {name: json.dumps(value) for name, value in columns.items()} | {
        "train": json.dumps(data or inputs.example),
        "task": task,
        "metrics": metric_words(known),
        "primary": known.metrics[0],
        "labels": "\n  ".join(known.outputs.template_lines()),
    }
    text = template.read_text(encoding="utf-8")
    for name, value in values.items():
        text = text.replace(f"<{name}>", value)
    return text if "accuracy" in known.metrics else GATE.sub(_gate_of(known), text)


def _gate_of(task: Task) -> str:
    """The gate of a task without accuracy: of its first metric that is a share of something, where more is better."""
    key = next(key for key in task.metrics if METRICS[key].higher_is_better and METRICS[key].against == "labels")
    return f"  metrics: {{{key}: {{max_drop: 0.03}}}}  # how much worse than the teacher's; also min, min_ratio\n"


def metric_words(task: Task) -> str:
    """The value of `metric` in a template, and the others there are in its comment."""
    first, second, *others = (key for key in task.metrics if METRICS[key].against == "labels")
    also = f": also {', '.join(others)}" if others else ""
    return f"{second:18} # what choices go by instead of {first}{also}"


def _columns(task: Task, data: str | None) -> dict[str, str | list[str]]:
    """The columns of a table file that hold the task's inputs and label, as far as names and values tell."""
    inputs, usual = task.inputs, dict(OF_PAIRS) if task.unlabelled else {}
    source = find_source(data) if data is not None else None
    if source is None or source.kind != "table" or source.path is None:
        return {**usual}
    rows = first_rows(source.path, LOOKED_AT)
    columns = {name: Column(name, tuple(row.get(name) for row in rows)) for name in rows[0]}
    if task.own_truth:
        return dict(_guessed(inputs, columns, str(data)))
    if task.unlabelled:
        return {**usual, **_pairs(inputs, columns, str(data))}
    masks = first_named(columns, MASKS) if inputs.content == MASKED else None
    label = masks or _label(columns, inputs.usual_names)
    others = {name: column for name, column in columns.items() if name != label}
    if label is None or not others:
        raise DataError(f"{data} needs a label column and one more; it has {', '.join(columns)}.")
    return {**_guessed(inputs, others, str(data)), "label": label}


def _guessed(inputs: Inputs, columns: Mapping[str, Column], data: str) -> Mapping[str, str | list[str]]:
    """The columns of inputs. Raises DataError where none can be."""
    if (found := inputs.guess_columns(columns)) is None:
        raise DataError(f"{data} has no column of {inputs.content}; it has {', '.join(columns)}.")
    return found


def _pairs(inputs: Inputs, columns: Mapping[str, Column], data: str) -> dict[str, str | list[str]]:
    """The columns of inputs and, where there is a number beside them, of the score."""
    found = _guessed(inputs, columns, data)
    numbers = [name for name, column in columns.items() if _is_score(column) and name not in found.values()]
    label = first_named(numbers, (*SCORES, *LABELS)) or next(reversed(numbers), None)
    return {**found} | ({"label": label} if label is not None and "text_pair" in found else {})


def _is_score(column: Column) -> bool:
    """Whether all values are numbers, whole or not."""
    try:
        return bool([float(value) for value in column.values])
    except (TypeError, ValueError, OverflowError):
        return False


def _label(columns: Mapping[str, Column], of_inputs: Sequence[str]) -> str | None:
    """The column called like a label; else one of few values, whole numbers before words; else the last one.

    A column whose values are all different, or all the same, is a label only where there is no other.
    """
    able = {name: column for name, column in columns.items() if not column.is_identifier} or columns
    if (named := first_named(able, LABELS)) is not None:
        return named
    able = {name: column for name, column in able.items() if name.lower() not in of_inputs} or able
    varied = {name: column for name, column in able.items() if column.kinds() > 1} or able
    classes = [column for column in varied.values() if column.words() <= 2 and column.kinds() <= MOST_KINDS]
    if any(column.is_number or len(column.values) > 1 for column in classes):
        return min(
            classes, key=lambda column: (not column.is_number or column.kinds() > FEW_KINDS, column.kinds())
        ).name
    return next(reversed(list(columns)), None)
