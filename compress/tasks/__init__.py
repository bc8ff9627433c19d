"""What a model is for: each task a composition of inputs, outputs, a network class and metrics, by its name."""

from __future__ import annotations

from edgepress.compress.tasks.base import Task
from edgepress.compress.tasks.inputs.arrays import ArrayInputs
from edgepress.compress.tasks.inputs.audio import AudioInputs
from edgepress.compress.tasks.inputs.continued import ContinuedInputs
from edgepress.compress.tasks.inputs.image import ImageInputs
from edgepress.compress.tasks.inputs.masked import MaskedInputs
from edgepress.compress.tasks.inputs.passages import PassageInputs
from edgepress.compress.tasks.inputs.sentences import SentenceInputs
from edgepress.compress.tasks.inputs.seq2seq import PairInputs
from edgepress.compress.tasks.inputs.text import TextInputs
from edgepress.compress.tasks.inputs.vectors import VectorInputs
from edgepress.compress.tasks.inputs.words import WordInputs
from edgepress.compress.tasks.outputs.answers import AnswerSpans
from edgepress.compress.tasks.outputs.classes import Classes
from edgepress.compress.tasks.outputs.next_tokens import NextTokens, TargetTokens
from edgepress.compress.tasks.outputs.pixels import PixelClasses
from edgepress.compress.tasks.outputs.several import SeveralLabels
from edgepress.compress.tasks.outputs.tokens import TokenClasses
from edgepress.compress.tasks.outputs.values import Values
from edgepress.compress.tasks.outputs.vectors import Vectors
from edgepress.targets.errors import RecipeError

OF_CLASSES = ("accuracy", "macro-f1", "balanced-accuracy", "mcc", "auroc", "log-loss", "agreement", "kl", "sqnr")
OF_LABELS = ("label-macro-f1", "exact-labels", "map", "label-agreement", "sqnr")
OF_VALUES = ("spearman", "pearson", "rmse", "sqnr")
OF_VECTORS = ("pair-spearman", "pair-pearson", "recall-at-1", "recall-at-10", "cosine", "sqnr")
OF_NEXT_TOKENS = ("perplexity", "next-token-accuracy", "next-token-agreement")
OF_GENERATED = ("bleu", "chrf", "exact-match")
OF_TOKENS = ("entity-f1", "token-accuracy", "token-agreement", "sqnr")
OF_PIXELS = ("mean-iou", "pixel-accuracy", "pixel-agreement", "sqnr")
OF_ANSWERS = ("qa-f1", "qa-exact-match", "span-agreement", "sqnr")

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
    "array-classification": Task(
        name="array-classification",
        inputs=ArrayInputs(),
        outputs=Classes(),
        network="AutoModelForVectorClassification",
        metrics=OF_CLASSES,
    ),
    "array-regression": Task(
        name="array-regression",
        inputs=ArrayInputs(),
        outputs=Values(),
        network="AutoModelForVectorClassification",
        metrics=("rmse", *(key for key in OF_VALUES if key != "rmse")),
    ),
    "text-labels": Task(
        name="text-labels",
        inputs=TextInputs(),
        outputs=SeveralLabels(),
        network="AutoModelForSequenceClassification",
        metrics=OF_LABELS,
    ),
    "image-labels": Task(
        name="image-labels",
        inputs=ImageInputs(),
        outputs=SeveralLabels(),
        network="AutoModelForImageClassification",
        metrics=("map", *(key for key in OF_LABELS if key != "map")),
    ),
    "text-regression": Task(
        name="text-regression",
        inputs=TextInputs(),
        outputs=Values(),
        network="AutoModelForSequenceClassification",
        metrics=OF_VALUES,
    ),
    "image-regression": Task(
        name="image-regression",
        inputs=ImageInputs(),
        outputs=Values(),
        network="AutoModelForImageClassification",
        metrics=("rmse", *(key for key in OF_VALUES if key != "rmse")),
    ),
    "text-embeddings": Task(
        name="text-embeddings",
        inputs=SentenceInputs(),
        outputs=Vectors(),
        network="AutoModelForTextEmbedding",
        metrics=OF_VECTORS,
        unlabelled=True,
    ),
    "token-classification": Task(
        name="token-classification",
        inputs=WordInputs(),
        outputs=TokenClasses(),
        network="AutoModelForTokenClassification",
        metrics=OF_TOKENS,
    ),
    "text-generation": Task(
        name="text-generation",
        inputs=ContinuedInputs(),
        outputs=NextTokens(),
        network="AutoModelForCausalLM",
        metrics=OF_NEXT_TOKENS,
        own_truth=True,
    ),
    "text-to-text": Task(
        name="text-to-text",
        inputs=PairInputs(),
        outputs=TargetTokens(),
        network="AutoModelForSeq2SeqLM",
        metrics=OF_NEXT_TOKENS,
        own_truth=True,
        generated=OF_GENERATED,
    ),
    "image-segmentation": Task(
        name="image-segmentation",
        inputs=MaskedInputs(),
        outputs=PixelClasses(),
        network="AutoModelForSemanticSegmentation",
        metrics=OF_PIXELS,
    ),
    "question-answering": Task(
        name="question-answering",
        inputs=PassageInputs(),
        outputs=AnswerSpans(),
        network="AutoModelForAnswerSpans",
        metrics=OF_ANSWERS,
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
