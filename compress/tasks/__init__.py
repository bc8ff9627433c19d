"""What a model is for: each task a composition of inputs, outputs, a network class and metrics, by its name."""

from __future__ import annotations

from edgepress.compress.tasks.base import Task
from edgepress.compress.tasks.inputs.audio import AudioInputs
from edgepress.compress.tasks.inputs.image import ImageInputs
from edgepress.compress.tasks.inputs.text import TextInputs
from edgepress.compress.tasks.inputs.vectors import VectorInputs
from edgepress.compress.tasks.outputs.classes import Classes
from edgepress.targets.errors import RecipeError

OF_CLASSES = ("accuracy", "macro-f1", "balanced-accuracy", "log-loss", "agreement", "kl", "sqnr")

TASKS: dict[str, Task] = {
    "text-classification": Task(
        name="text-classification",
        inputs=TextInputs(),
        outputs=Classes(),
        network="AutoModelForSequenceClassification",
        metrics=OF_CLASSES,
    ),
    "image-classification": Task(
        name="image-classification",
        inputs=ImageInputs(),
        outputs=Classes(),
        network="AutoModelForImageClassification",
        metrics=OF_CLASSES,
    ),
    "audio-classification": Task(
        name="audio-classification",
        inputs=AudioInputs(),
        outputs=Classes(),
        network="AutoModelForAudioClassification",
        metrics=(*OF_CLASSES, "false-alarms"),
    ),
    "vector-classification": Task(
        name="vector-classification",
        inputs=VectorInputs(),
        outputs=Classes(),
        network="AutoModelForVectorClassification",
        metrics=OF_CLASSES,
    ),
}


def load_task(name: str) -> Task:
    """The task of that name.

    Raises:
        RecipeError: no task has that name, or the one that is registered under it calls itself otherwise.
    """
    if name not in TASKS:
        raise RecipeError(f"unknown task {name!r}; there are {', '.join(TASKS)}")
    if (task := TASKS[name]).name != name:
        raise RecipeError(f"the task {name!r} calls itself {task.name!r}; give it one name, in TASKS and as Task.name")
    return task
