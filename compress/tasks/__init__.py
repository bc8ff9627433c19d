"""What a model is for: one file a task, looked up here by name and loaded only when it is asked for."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast

from edgepress.targets.errors import RecipeError

if TYPE_CHECKING:
    from edgepress.compress.tasks.base import Task

TASKS: dict[str, str] = {
    "text-classification": "edgepress.compress.tasks.text_classification:TextClassification",
    "image-classification": "edgepress.compress.tasks.image_classification:ImageClassification",
}


def load_task(name: str) -> Task:
    """The task of that name.

    Raises:
        RecipeError: no task has that name.
    """
    if name not in TASKS:
        raise RecipeError(f"unknown task {name!r}; there are {', '.join(TASKS)}")
    module, attribute = TASKS[name].split(":")
    return cast("Task", getattr(import_module(module), attribute)())
