"""A task is composed of parts, and each part is asked what it alone knows."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgepress.compress.cli.init import recipe_template
from edgepress.compress.data.rows import Rows
from edgepress.compress.data.sources import check_task, find_source, read_raw
from edgepress.compress.model.loading import load_network
from edgepress.compress.model.model import Model
from edgepress.compress.recipe.recipe import Columns, Data, Recipe, parse_recipe
from edgepress.compress.tasks import TASKS, load_task
from edgepress.compress.tasks.base import Task, batches
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
from edgepress.targets.errors import DataError, ModelError, RecipeError
from edgepress.targets.preprocess.pixels import Preprocessing
from tests.compress.rows import lines
from tests.compress.tiny import tiny_image_teacher, tiny_text_teacher, tiny_tokenizer

TEXT, IMAGE = "text-classification", "image-classification"
DATA = Data(train="unused", max_length=8)
RECIPE: dict[str, Any] = {"name": "x", "data": {"train": "a"}, "teacher": {"model": "b"}}


@pytest.fixture
def third(monkeypatch: pytest.MonkeyPatch) -> Task:
    """A task of existing parts, registered from outside."""
    task = Task("depth-classes", ImageInputs(), Classes(), "AutoModelForImageClassification", ("macro-f1", "accuracy"))
    monkeypatch.setitem(TASKS, task.name, task)
    return task


def test_the_tasks_of_the_house_are_compositions() -> None:
    parts = {name: (type(task.inputs), type(task.outputs), task.network) for name, task in TASKS.items()}
    assert parts == {
        TEXT: (TextInputs, Classes, "AutoModelForSequenceClassification"),
        IMAGE: (ImageInputs, Classes, "AutoModelForImageClassification"),
        "audio-classification": (AudioInputs, Classes, "AutoModelForAudioClassification"),
        "vector-classification": (VectorInputs, Classes, "AutoModelForVectorClassification"),
        "array-classification": (ArrayInputs, Classes, "AutoModelForVectorClassification"),
        "array-regression": (ArrayInputs, Values, "AutoModelForVectorClassification"),
        "text-labels": (TextInputs, SeveralLabels, "AutoModelForSequenceClassification"),
        "image-labels": (ImageInputs, SeveralLabels, "AutoModelForImageClassification"),
        "text-regression": (TextInputs, Values, "AutoModelForSequenceClassification"),
        "image-regression": (ImageInputs, Values, "AutoModelForImageClassification"),
        "text-embeddings": (SentenceInputs, Vectors, "AutoModelForTextEmbedding"),
        "token-classification": (WordInputs, TokenClasses, "AutoModelForTokenClassification"),
        "text-generation": (ContinuedInputs, NextTokens, "AutoModelForCausalLM"),
        "text-to-text": (PairInputs, TargetTokens, "AutoModelForSeq2SeqLM"),
        "image-segmentation": (MaskedInputs, PixelClasses, "AutoModelForSemanticSegmentation"),
        "question-answering": (PassageInputs, AnswerSpans, "AutoModelForAnswerSpans"),
    }
    primary = {type(task.outputs): set() for task in TASKS.values()}  # type: dict[type, set[str]]
    for task in TASKS.values():
        primary[type(task.outputs)].add(task.metrics[0])
    assert primary == {
        Classes: {"accuracy"},
        SeveralLabels: {"label-macro-f1", "map"},
        Values: {"spearman", "rmse"},
        Vectors: {"pair-spearman"},
        TokenClasses: {"entity-f1"},
        NextTokens: {"perplexity"},
        TargetTokens: {"perplexity"},
        PixelClasses: {"mean-iou"},
        AnswerSpans: {"qa-f1"},
    }


def test_a_recipe_takes_every_registered_task_and_no_other(third: Task) -> None:
    assert parse_recipe({**RECIPE, "task": third.name}, "r").task == "depth-classes"
    words = r'task: got "depth-clases", allowed: one of .*, depth-classes\. Did you mean \'depth-classes\'\?'
    with pytest.raises(RecipeError, match=words):
        parse_recipe({**RECIPE, "task": "depth-clases"}, "r")
    with pytest.raises(
        ValueError, match=r"unknown task; there are text-classification, image-classification, .*, depth-classes"
    ):
        Recipe.model_validate({**RECIPE, "task": "depth-clases"})


def test_a_task_that_is_gone_again_is_no_longer_offered() -> None:
    with pytest.raises(RecipeError, match=r"allowed: one of .*question-answering\.$"):
        parse_recipe({**RECIPE, "task": "zzz"}, "r")


def test_sequences_follow_max_length_where_the_inputs_have_any(third: Task) -> None:
    data = {"train": "a", "max_length": 16}
    sequences = [
        parse_recipe(RECIPE | {"task": task, "data": data}, "r").benchmark.sequences for task in (TEXT, third.name)
    ]
    assert sequences == [(16,), (32, 128)]


def test_a_task_of_known_inputs_has_their_template(third: Task) -> None:
    text = recipe_template(third.name, None)
    assert "task: depth-classes" in text and "# metric: accuracy " in text


def test_a_task_of_inputs_without_a_template_says_so(third: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TASKS, third.name, replace(third, inputs=ImageInputs(content="depths")))
    with pytest.raises(RecipeError, match="the task 'depth-classes' brings no recipe to start from"):
        recipe_template(third.name, None)


def test_a_network_of_another_class_is_loaded_as_the_task_says(tmp_path: Path, monkeypatch: Any) -> None:
    folder = str(tiny_text_teacher(tmp_path / "teacher"))
    monkeypatch.setitem(TASKS, "next", Task("next", TextInputs(), Classes(), "AutoModelForNextSentencePrediction", ()))
    with pytest.raises(ModelError, match="lacks 2 weights"):  # of its own head, which a classifier's file has not
        load_network(folder, "next", trust_remote_code=False)
    assert type(load_network(folder, TEXT, trust_remote_code=False)).__name__ == "BertForSequenceClassification"


def test_a_class_that_transformers_does_not_have_is_named(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setitem(TASKS, "odd", Task("odd", TextInputs(), Classes(), "AutoModelForOdds", ()))
    with pytest.raises(ModelError, match="transformers has no class 'AutoModelForOdds', which the task names"):
        load_network(str(tiny_text_teacher(tmp_path / "teacher")), "odd", trust_remote_code=False)


def test_a_task_under_another_name_than_its_own_is_refused(monkeypatch: Any) -> None:
    monkeypatch.setitem(TASKS, "mine", TASKS[TEXT])
    with pytest.raises(RecipeError, match="the task 'mine' calls itself 'text-classification'; give it one name"):
        load_task("mine")


def test_a_saved_model_of_a_task_that_is_not_registered_is_refused(tmp_path: Path, third: Task) -> None:
    network = load_network(str(tiny_image_teacher(tmp_path / "teacher")), third.name, trust_remote_code=False)
    processor = Preprocessing(3, (32, 32), rescale=1.0, mean=(0.0,) * 3, std=(1.0,) * 3)
    Model(network, third.name, third.signature(network, processor, DATA)).save(tmp_path / "model")
    assert Model.load(tmp_path / "model").task == third.name
    del TASKS[third.name]
    with pytest.raises(ModelError, match="of the task 'depth-classes', which is not registered; there are text-"):
        Model.load(tmp_path / "model")


def test_inputs_say_which_columns_and_sources_they_read(tmp_path: Path) -> None:
    names = Columns(text="a", text_pair="b", image="c")
    assert TextInputs().columns(names) == ["a", "b"] and ImageInputs().columns(names) == ["c"]
    assert TextInputs().columns(Columns()) == ["text"]
    with pytest.raises(
        DataError, match=r"builtin:digits holds images, and the task is text-classification. Name a file"
    ):
        check_task(find_source("builtin:digits"), load_task(TEXT))
    path = lines(tmp_path / "a.jsonl", [{"a": "x", "b": "y", "c": "z.png", "label": 1}])
    data = Data(train=str(path), columns=names)
    assert read_raw(str(path), "train", data, load_task(TEXT)).texts == (["x"], ["y"])
    assert len(read_raw(str(path), "train", data, load_task(IMAGE)).images) == 1


def test_a_cell_that_is_no_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"mine, row 2: 'text' must be text, got 7\. Mend or remove the row\."):
        TextInputs().read({"text": ["x", 7], "label": [0, 1]}, Columns(), tmp_path, "mine")


def test_texts_given_by_a_caller_become_the_feeds_of_a_files() -> None:
    tokenizer, texts = tiny_tokenizer(), (["good film", "bad"], ["the plot", "a"])
    rows = Rows(np.zeros(2, np.int64), "rows", texts=texts)
    wanted = TextInputs().features(rows, tokenizer, DATA).batch([0, 1])
    feeds = TextInputs().apply(texts, tokenizer, DATA)
    assert {name: value.tolist() for name, value in feeds.items()} == {k: v.tolist() for k, v in wanted.items()}
    assert feeds["input_ids"].tolist() == [[2, 5, 9, 3, 12, 10, 3], [2, 6, 3, 11, 3, 0, 0]]


def test_texts_become_feeds_without_torch() -> None:
    code = """
import sys
from edgepress.compress.recipe.recipe import Data
from edgepress.compress.tasks import load_task

class Letters:
    pad_token_id, pad_token_type_id, padding_side, model_input_names = 0, 0, "right", ["attention_mask"]

    def __call__(self, first, second, max_length, **options):
        rows = [[ord(letter) - 96 for letter in text[:max_length]] for text in first]
        return {"input_ids": rows, "token_type_ids": [[0] * len(row) for row in rows]}

feeds = load_task("text-classification").inputs.apply((["abc", "z"], None), Letters(), Data(train="x"))
print({name: value.tolist() for name, value in feeds.items()}, {"torch", "transformers"} & set(sys.modules))
"""
    told = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert told.stdout == ("{'input_ids': [[1, 2, 3], [26, 0, 0]], 'attention_mask': [[1, 1, 1], [1, 0, 0]]} set()\n")


def test_images_given_by_a_caller_become_the_feeds_of_a_files_without_torch() -> None:
    code = (
        "import sys, numpy as np; from edgepress.compress.tasks import load_task; "
        "from edgepress.targets.preprocess.pixels import Preprocessing; "
        "ready = Preprocessing(1, (4, 2), rescale=1.0, mean=(100.0,), std=(0.5,)); "
        "feeds = load_task('image-classification').inputs.apply(np.full((1, 8, 8, 3), 200, np.uint8), ready, None); "
        "print(feeds['pixel_values'].shape, set(feeds['pixel_values'].ravel().tolist()), 'torch' in sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert told.stdout == "(1, 1, 4, 2) {200.0} False\n"


def test_classes_answer_with_the_largest_logit_and_are_compared_with_the_labels() -> None:
    logits = np.array([[0.0, 2.0, 1.0], [3.0, -1.0, 0.0]], np.float32)
    assert Classes().answers(logits).tolist() == [1, 0]
    assert Classes().truth(SimpleNamespace(labels=np.array([1, 2]))).tolist() == [1, 2]


def test_the_loss_of_classes_is_cross_entropy_in_nats() -> None:
    # p = (1/4, 3/4): -ln(3/4) for class 1, -ln(1/4) for class 0; their mean.
    logits = torch.log(torch.tensor([[1.0, 3.0], [1.0, 3.0]]))
    loss = Classes().loss({"logits": logits}, torch.tensor([1, 0]))
    assert float(loss) == pytest.approx((np.log(4 / 3) + np.log(4)) / 2, rel=1e-6)


def test_logits_of_another_shape_are_no_classifiers() -> None:
    network = nn.Linear(1, 1)
    network.config = SimpleNamespace(num_labels=3)
    with pytest.raises(ModelError, match=r"Linear gives logits of shape \[2, 4, 4\], not \[batch, 3\]: it is no class"):
        Classes().specs(network, {"logits": torch.zeros(2, 4, 4)}, rows=2)
    (spec,) = Classes().specs(network, {"logits": torch.zeros(2, 3)}, rows=2)
    assert (spec.name, spec.shape) == ("logits", ("batch", 3))


def test_a_third_task_reads_its_rows_and_tries_its_network(tmp_path: Path, third: Task) -> None:
    network = load_network(str(tiny_image_teacher(tmp_path / "teacher")), third.name, trust_remote_code=False)
    rows = Rows(np.array([0, 1]), "rows", images=np.zeros((2, 32, 32, 3), np.uint8))
    processor = Preprocessing(3, (32, 32), rescale=1.0, mean=(0.0,) * 3, std=(1.0,) * 3)
    signature = third.signature(network, processor, DATA)
    for _, feeds in batches(third.features(rows, processor, DATA), 2):
        signature.check(feeds)
    with pytest.raises(DataError, match="rows holds texts, and the task is depth-classes"):
        third.features(Rows(np.zeros(1), "rows", texts=(["a"], None)), processor, DATA)


def test_answers_in_other_batches_are_compared_by_the_classes_of_every_task_of_parts() -> None:
    """Of a decoder NaN is kept where nothing is judged: compared as numbers, no row would ever be the same."""
    from edgepress.benchmarks.judge.costs import AGREEMENTS

    of_rows = {"agreement", "label-agreement"}
    named = {key for task in TASKS.values() for key in task.metrics if key.endswith("agreement")}
    assert named - of_rows == set(AGREEMENTS)
