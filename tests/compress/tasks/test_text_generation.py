"""Texts to go on with: read, packed or completed, learned, distilled from the teacher's likeliest tokens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgepress.benchmarks.metrics import metric
from edgepress.benchmarks.metrics.base import value_of
from edgepress.benchmarks.metrics.tokens import IGNORED
from edgepress.compress.cli.init import recipe_template
from edgepress.compress.data.rows import Rows
from edgepress.compress.data.splits import load_splits
from edgepress.compress.model.loading import load_network
from edgepress.compress.model.model import Model
from edgepress.compress.recipe.data import Columns, Data
from edgepress.compress.recipe.recipe import Recipe
from edgepress.compress.tasks import load_task
from edgepress.compress.tasks.inference import logits_of, metric_of
from edgepress.compress.tasks.inputs.continued import Continued, ContinuedInputs
from edgepress.compress.tasks.outputs.next_tokens import NextTokens
from edgepress.compress.training.teacher_cache import TeacherCache, Wanted
from edgepress.targets.errors import DataError, ModelError
from edgepress.targets.progress import WarningsOnly
from tests.compress.rows import lines
from tests.compress.tiny import WORDS, tiny_decoder, tiny_decoder_tokenizer, tiny_stories

TASK = "text-generation"
DATA = Data(train="unused", max_length=8)
PAIRED = Data(train="unused", max_length=8, columns=Columns(prompt="prompt"))
GOOD, BAD, FINE = 3, 4, 5  # numbers of the first three words


def tokenizer() -> Any:
    found = tiny_decoder_tokenizer()
    ContinuedInputs().check_tokenizer(found, "here")
    return found


def features(first: list[str], second: list[str] | None = None, data: Data = DATA) -> Continued:
    rows = Rows(np.zeros(len(first), np.int64), "mine", texts=(first, second))
    return ContinuedInputs().features(rows, tokenizer(), data)


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = tiny_decoder(tmp_path_factory.mktemp("decoder"))
    task = load_task(TASK)
    network = load_network(str(folder), TASK, trust_remote_code=False)
    return Model(network, TASK, task.signature(network, task.load_processor(str(folder)), DATA))


def test_texts_are_packed_end_to_end_and_each_token_is_the_truth_of_the_one_before_it() -> None:
    found = features(["good bad", "fine " * 7])
    feeds = found.batch(np.arange(2))
    assert feeds["input_ids"].tolist() == [[1, GOOD, BAD, 2, 1, FINE, FINE, FINE], [FINE] * 4 + [2, 2, 2, 2]]
    assert feeds["attention_mask"][1].tolist() == [1, 1, 1, 1, 1, 0, 0, 0]  # the token that ends texts pads
    assert found.labels[0].tolist() == [GOOD, BAD, 2, 1, FINE, FINE, FINE, IGNORED]
    assert found.labels[1].tolist() == [FINE, FINE, FINE, 2] + [IGNORED] * 4


def test_of_a_prompt_and_its_completion_only_the_completion_is_judged() -> None:
    found = features(["good bad", "good"], ["fine", "fine fine bad"], PAIRED)
    assert found.batch(np.arange(2))["input_ids"].tolist() == [
        [1, GOOD, BAD, FINE, 2, 2],
        [1, GOOD, FINE, FINE, BAD, 2],
    ]
    assert found.labels.tolist() == [
        [IGNORED, IGNORED, FINE, 2, IGNORED, IGNORED],
        [IGNORED, FINE, FINE, BAD, 2, IGNORED],
    ]
    assert found.note == ""


def test_what_max_length_cuts_is_told_and_rows_without_a_completion_are_left_out() -> None:
    found = features(["good " * 9, "good " * 5, "bad"], ["fine", "fine fine fine", "fine"], PAIRED)
    assert len(found) == 2 and (found.labels[0] != IGNORED).sum() == 2
    assert found.note == (
        "mine: 2 of 3 rows are longer than data.max_length (8 tokens) and are cut; of 1 of them nothing of the "
        "completion is left, and they are left out"
    )
    with pytest.raises(DataError, match=r"mine: no row has two tokens.* or a longer data.max_length than 8"):
        features(["good " * 9], ["fine"], PAIRED)


def test_a_tokenizer_pads_with_the_token_that_ends_texts_and_needs_one() -> None:
    assert tokenizer().pad_token == "</s>"
    without = tiny_decoder_tokenizer()
    without.eos_token = None
    with pytest.raises(ModelError, match="the tokenizer of here has no token that ends a text"):
        ContinuedInputs().check_tokenizer(without, "here")


def test_rows_need_no_column_of_labels_and_labels_are_refused(tmp_path: Path) -> None:
    data = Data(train=str(lines(tmp_path / "a.jsonl", tiny_stories(60))), validation_fraction=0.2)
    splits = load_splits(data, load_task(TASK), 0)
    assert len(splits.train) + len(splits.validation) + len(splits.test()) == 60
    with pytest.raises(DataError, match=r"texts to go on with have no labels: leave data.labels out"):
        load_splits(data.model_copy(update={"labels": ("a", "b")}), load_task(TASK), 0)
    with pytest.raises(DataError, match="no column 'prompt'"):
        load_splits(data.model_copy(update={"columns": Columns(prompt="prompt")}), load_task(TASK), 0)


def test_the_perplexity_of_a_model_is_that_of_its_own_loss(decoder: Model) -> None:
    found = features([row["text"] for row in tiny_stories(40)])
    index = np.arange(len(found))
    feeds = {name: torch.from_numpy(value) for name, value in found.batch(index).items()}
    with torch.no_grad():
        loss = NextTokens().loss({"logits": decoder.network(**feeds).logits}, torch.from_numpy(found.labels))
    kept = logits_of(decoder, found)
    assert kept.shape == (*found.labels.shape, 2)
    assert metric_of(decoder, found, "perplexity") == pytest.approx(float(torch.exp(loss)), rel=1e-4)
    accuracy = metric("next-token-accuracy")
    assert 0 <= value_of(accuracy, accuracy.counts(found.labels, kept)) <= 1


def test_the_soft_loss_is_exact_where_every_token_is_kept_and_a_bound_from_below_elsewhere() -> None:
    torch.manual_seed(0)
    kind, student, teacher = NextTokens(), torch.randn(5, 11), 3 * torch.randn(5, 11)
    own, wanted = (torch.log_softmax(logits / 2.0, -1) for logits in (student, teacher))
    exact = 4.0 * (wanted.exp() * (wanted - own)).sum(-1).mean()
    found = [float(kind.soft_loss(student, kind.kept(teacher, most, 2.0), 2.0)) for most in (1, 4, 8, None)]
    assert found[-1] == pytest.approx(float(exact), rel=1e-5)
    assert found == sorted(found) and found[0] < found[-1]
    assert kind.soft_loss(teacher, kind.kept(teacher, 4, 2.0), 2.0) == pytest.approx(0.0, abs=1e-5)


def test_the_soft_loss_by_hand() -> None:
    """Teacher (1/2, 1/4, 1/4), of which one token is kept; the student thinks all three alike."""
    teacher, student = torch.log(torch.tensor([[0.5, 0.25, 0.25]])), torch.zeros(1, 3)
    kept = NextTokens().kept(teacher, 1, 1.0)
    assert kept.tolist() == [[0.0, 0.5, 0.5]]
    wanted = 0.5 * np.log(0.5 / (1 / 3)) + 0.5 * np.log(0.5 / (2 / 3))
    assert float(NextTokens().soft_loss(student, kept, 1.0)) == pytest.approx(wanted, rel=1e-5)


def test_the_gradient_of_the_soft_loss_pulls_to_the_teacher() -> None:
    torch.manual_seed(1)
    teacher, student = torch.randn(3, 9), torch.zeros(3, 9, requires_grad=True)
    kept = NextTokens().kept(teacher, 3, 1.0)
    NextTokens().soft_loss(student, kept, 1.0).backward()  # type: ignore[no-untyped-call]
    assert student.grad is not None
    best = teacher.argmax(-1)
    assert (student.grad.gather(1, best[:, None]) < 0).all()


def test_the_cache_keeps_the_likeliest_tokens_alone_at_their_temperature(decoder: Model, tmp_path: Path) -> None:
    found = features([row["text"] for row in tiny_stories(30)])
    wanted = Wanted(likeliest=4, temperature=2.0)
    rows = TeacherCache.open(tmp_path, decoder, found, wanted, WarningsOnly()).rows(np.arange(2))["logits"]
    assert rows.shape == (2, 8, 9)
    feeds = {name: torch.from_numpy(value) for name, value in found.batch(np.arange(2)).items()}
    with torch.no_grad():
        likely = torch.softmax(decoder.network(**feeds).logits / 2.0, -1).topk(4, -1)
    assert rows[..., :4].long().equal(likely.indices)
    assert torch.allclose(rows[..., 4:8], likely.values, atol=1e-6)
    assert torch.allclose(rows[..., 8], 1 - likely.values.sum(-1), atol=1e-5)


@pytest.mark.parametrize("columns", [{"text": "story"}, {"prompt": "instruction", "completion": "response"}])
def test_a_template_finds_the_columns_and_is_a_recipe(tmp_path: Path, columns: dict[str, str]) -> None:
    row = {name: f"{name} of several words" for name in columns.values()}
    train = str(lines(tmp_path / "a.jsonl", [{**row, "number": str(place)} for place in range(3)]))
    text = recipe_template(TASK, train)
    (tmp_path / "recipe.yaml").write_text(text)
    recipe = Recipe.load(tmp_path / "recipe.yaml")
    assert {name: getattr(recipe.data.columns, name) for name in columns} == columns
    assert (recipe.data.columns.prompt is None) == ("text" in columns)
    assert recipe.gates.metrics["perplexity"].max_drop is not None


def test_prompts_are_words_that_the_model_knows(decoder: Model) -> None:
    feeds = ContinuedInputs().apply(([f"{WORDS[0]} {WORDS[1]}"], None), tokenizer(), DATA)
    assert feeds["input_ids"].tolist() == [[1, GOOD, BAD]]
    assert json.loads(decoder.signature.model_dump_json())["outputs"][0]["shape"] == ["batch", "sequence", 16]
