"""A task made of existing parts: pairs of texts, judged by macro-F1, since most pairs are of one class.

    python my_task.py recipe.yaml [STAGE]

The recipe says `task: text-pairs` and names both columns; everything else is as for every other task:

    name: pairs
    task: text-pairs
    data: {train: pairs.jsonl, columns: {text: question, text_pair: answer, label: fits}}
    teacher: {model: path/to/model}
    student: {layers: 1}
"""

from __future__ import annotations

import sys

from edgepress import Recipe, run
from edgepress.compress.tasks import TASKS
from edgepress.compress.tasks.base import Task
from edgepress.compress.tasks.inputs.text import TextInputs
from edgepress.compress.tasks.outputs.classes import Classes

TASKS["text-pairs"] = Task(
    name="text-pairs",
    inputs=TextInputs(),  # texts or pairs of texts, as the recipe's columns say
    outputs=Classes(),  # logits [batch, classes]; trained with cross-entropy
    network="AutoModelForSequenceClassification",  # any class of transformers that gives these outputs
    metrics=("macro-f1", "accuracy", "log-loss"),  # the first one is primary
)


def main(path: str, until: str | None) -> None:
    """Run the recipe at `path` up to the stage `until`; all of it where that is None."""
    result = run(Recipe.load(path), until=until)
    print(*(stage.name for stage in result.stages), "in", result.folder)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None)
