"""Rows of words with a tag for each: read, tokenized, learned, distilled; only first tokens of words are judged."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgepress.benchmarks.desk import judged
from edgepress.benchmarks.metrics import metric
from edgepress.benchmarks.metrics.base import value_of
from edgepress.benchmarks.metrics.tokens import IGNORED
from edgepress.compress.cli.init import recipe_template
from edgepress.compress.data.rows import Rows
from edgepress.compress.data.truths.tags import tags_of
from edgepress.compress.methods.distill.terms.soft_targets import distillation_loss
from edgepress.compress.model.loading import load_network
from edgepress.compress.model.model import Model
from edgepress.compress.network.importance import importance_of
from edgepress.compress.network.slicing import Group, Member
from edgepress.compress.recipe.data import Columns, Data
from edgepress.compress.recipe.recipe import Recipe
from edgepress.compress.tasks import load_task
from edgepress.compress.tasks.inference import logits_of, metric_of
from edgepress.compress.tasks.inputs.words import WordFeatures, WordInputs
from edgepress.compress.tasks.outputs.tokens import TokenClasses
from edgepress.compress.training.teacher_cache import TeacherCache, Wanted
from edgepress.targets.errors import DataError, ModelError
from edgepress.targets.progress import WarningsOnly
from tests.compress.rows import lines, load
from tests.compress.tiny import TAGS, tiny_tagged_rows, tiny_tagger, tiny_tokenizer

TASK = "token-classification"
COLUMNS = Columns(label="tags")
DATA = Data(train="unused", max_length=8, columns=COLUMNS)
# `film-plot` is three tokens, the third word of row 2 none; row 3 is cut after 6 words.
WORDS = (("good", "film-plot", "actor"), ("a", "the", " "), ("good",) * 9)
LABELS = np.array([[0, 1, 2] + [IGNORED] * 6, [3, 0, 4] + [IGNORED] * 6, [0] * 9])


def features(words: Any = WORDS, labels: np.ndarray = LABELS) -> WordFeatures:
    return WordInputs().features(Rows(labels, "mine", words=words), tiny_tokenizer(), DATA)


@pytest.fixture(scope="module")
def tagger(tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = tiny_tagger(tmp_path_factory.mktemp("tagger"))
    task = load_task(TASK)
    network = load_network(str(folder), TASK, trust_remote_code=False)
    return Model(network, TASK, task.signature(network, task.load_processor(str(folder)), DATA))


def test_labels_stand_at_the_first_token_of_each_word_and_nowhere_else() -> None:
    found, none = features(), IGNORED
    assert found.labels.tolist() == [
        [none, 0, 1, none, none, 2, none, none],
        [none, 3, 0, none, none, none, none, none],
        [none, 0, 0, 0, 0, 0, 0, none],
    ]
    feeds = found.batch([0])
    assert feeds["input_ids"].tolist() == [[2, 5, 9, 1, 10, 15, 3]]
    assert found.lengths is not None and found.lengths.tolist() == [7, 4, 8]


def test_words_that_are_cut_away_or_have_no_token_are_counted_and_told() -> None:
    assert features().note == (
        "mine: 4 of 15 words are not judged: they lie beyond data.max_length (8 tokens), or the tokenizer makes "
        "nothing of them"
    )
    assert features(WORDS[:1], LABELS[:1]).note == ""


def test_outputs_of_any_width_are_judged_at_words_alone() -> None:
    found = features()
    for width in (7, 32):
        outputs = np.arange(width, dtype=np.float32)[None, :, None].repeat(2, 2)
        kept = judged(found, np.array([0]), outputs)
        assert kept.shape == (1, 8, 2)
        assert np.nan_to_num(kept[0, :, 0], nan=-1).tolist() == [-1, 1, 2, -1, -1, 5, -1, -1]


def test_rows_come_as_lists_texts_and_written_lists(tmp_path: Path) -> None:
    rows = [{"tokens": ["New York", "is", "big"], "tags": ["B-LOC", "O", "O"]}, {"tokens": ["I"], "tags": ["B-PER"]}]
    written = [{name: json.dumps(cell) for name, cell in row.items()} for row in rows]
    spaced = [{"tokens": "York is big", "tags": "B-LOC O O"}, {"tokens": "I", "tags": "B-PER"}]
    for number, kind in enumerate((rows, written, spaced)):
        splits = load(lines(tmp_path / f"{number}.jsonl", kind * 20), TASK, columns=COLUMNS)
        assert splits.label_names == ("B-LOC", "B-PER", "O")
        train = splits.train
        assert {tuple(row) for row in train.labels.tolist()} == {(0, 2, 2), (1, IGNORED, IGNORED)}
        assert train.words is not None and {len(words) for words in train.words} == {3, 1}
        assert train.labels.names == splits.label_names  # type: ignore[attr-defined]


def test_numbers_count_the_names_of_data_labels(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", [{"tokens": ["a", "b"], "tags": [0, 2]}, {"tokens": ["c"], "tags": [1]}] * 20)
    splits = load(path, TASK, columns=COLUMNS, labels=TAGS[:3])
    assert splits.label_names == TAGS[:3]
    assert {tuple(row) for row in splits.train.labels.tolist()} == {(0, 2), (1, IGNORED)}


def test_each_split_has_its_share_of_the_rarest_tag(tmp_path: Path) -> None:
    rows = [{"tokens": ["a", "b"], "tags": ["O", "B-X" if number % 5 == 0 else "O"]} for number in range(100)]
    splits = load(lines(tmp_path / "a.jsonl", rows), TASK, columns=COLUMNS, test_fraction=0.2, validation_fraction=0.25)
    for part in (splits.train, splits.validation, splits.test()):
        assert (part.labels == 0).any(1).mean() == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"tokens": ["a", "b"], "tags": ["O"]}, "row 41: 2 words and 1 tags; each word needs its own. Mend the row"),
        ({"tokens": [], "tags": []}, r"row 41: a list of words is asked for, .* and at least one, got \[\]"),
        ({"tokens": "", "tags": ""}, "row 41: a list of words is asked for"),
        ({"tokens": 7, "tags": ["O"]}, "row 41: a list of words is asked for, .* got 7. Mend or remove the row"),
        ({"tokens": ["a", 7], "tags": ["O", "O"]}, "row 41: word 2 of 'tokens' must be text, got 7. Mend or remove"),
        ({"tokens": ["a"], "tags": [None]}, "row 41, word 1: a tag must be a text or number, got None. Mend or remove"),
        ({"tokens": ["a"], "tags": [["O"]]}, r"row 41, word 1: a tag must be a text or number, got \['O'\]"),
    ],
)  # fmt: skip
def test_a_row_that_is_none_is_named(tmp_path: Path, row: dict[str, Any], words: str) -> None:
    good = [{"tokens": ["a", "b"], "tags": ["O", "B-X"]}] * 40
    with pytest.raises(DataError, match=words):
        load(lines(tmp_path / "a.jsonl", [*good, row]), TASK, columns=COLUMNS)


def test_a_tag_that_training_rows_lack_is_named_with_its_place(tmp_path: Path) -> None:
    train = lines(tmp_path / "a.jsonl", [{"tokens": ["a", "b"], "tags": ["O", "B-PER"]}] * 40)
    test = lines(tmp_path / "b.jsonl", [{"tokens": ["a", "b"], "tags": ["O", "B-PRE"]}])
    words = r"b.jsonl, row 1, word 2: the tag 'B-PRE' is none of the model's 2; allowed: .*Did you mean 'B-PER'\?"
    with pytest.raises(DataError, match=words):
        load(train, TASK, columns=COLUMNS, test=str(test))


def test_tags_that_are_not_the_teachers_are_refused(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", [{"tokens": ["a", "b"], "tags": ["O", "B-ORG"]}] * 40)
    with pytest.raises(DataError, match=r"row 1, word 2: the tag 'B-ORG' is none of the model's 3; allowed"):
        load(path, TASK, names=TAGS[:3], columns=COLUMNS)


def test_words_of_one_tag_teach_nothing(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", [{"tokens": ["a", "b"], "tags": ["O", "O"]}] * 40)
    with pytest.raises(DataError, match=r"all words have the tag 'O'; there is nothing to learn\. Add rows"):
        load(path, TASK, columns=COLUMNS)


def test_tags_of_no_spans_are_told_to_have_no_entity_f1() -> None:
    assert tags_of([["NOUN", "VERB"]], "mine", None, None, True).note == (
        "the tags NOUN, VERB begin no spans (O, B-TYPE, I-TYPE), so entity-f1 has no value: set metric to "
        "token-accuracy"
    )
    assert tags_of([["B-A", "I-A", "O"]], "mine", None, None, True).note == ""


def test_a_template_finds_the_columns_of_a_file(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", [{"id": "7", **row} for row in tiny_tagged_rows(20)])
    (tmp_path / "recipe.yaml").write_text(recipe_template(TASK, str(path)))
    recipe = Recipe.load(tmp_path / "recipe.yaml")
    assert (recipe.data.columns.tokens, recipe.data.columns.label) == ("tokens", "tags")
    assert recipe.gates.metric_keys == ("entity-f1",)


def test_the_losses_are_means_over_words_whatever_stands_between_them() -> None:
    # p = (1/4, 3/4) at the two words; what stands at other places must not matter.
    logits = torch.log(torch.tensor([[[9.0, 1.0], [1.0, 3.0], [1.0, 9.0], [1.0, 3.0]]])).requires_grad_()
    labels = torch.tensor([[IGNORED, 1, IGNORED, 0, IGNORED, IGNORED]])  # the longest row of the split has six
    loss = TokenClasses().loss({"logits": logits}, labels)
    assert loss.item() == pytest.approx((math.log(4 / 3) + math.log(4)) / 2, rel=1e-6)
    loss.backward()
    assert logits.grad is not None and logits.grad[0, [0, 2]].abs().max() == 0
    teacher = torch.log(torch.tensor([[[7.0, 2.0], [1.0, 1.0], [3.0, 1.0], [1.0, 3.0]]]))
    # KL((1/2, 1/2) || (1/4, 3/4)) at the first word, 0 at the second.
    wanted = 0.5 * math.log(2) + 0.5 * math.log(2 / 3)
    found = distillation_loss(logits, teacher, labels, temperature=1.0, alpha=1.0, kind=TokenClasses())
    assert found.item() == pytest.approx(wanted / 2, rel=1e-5)


def test_a_batch_without_a_word_has_a_loss_of_nothing() -> None:
    logits, labels = torch.zeros(1, 2, 3, requires_grad=True), torch.full((1, 2), IGNORED)
    loss = distillation_loss(logits, logits.detach(), labels, 1.0, 0.5, TokenClasses())
    loss.backward()
    assert loss.item() == 0 and logits.grad is not None and not logits.grad.any()


def test_importance_comes_from_words_alone(tagger: Model) -> None:
    neurons = Member("bert.encoder.layer.0.output.dense", "in", np.arange(32))
    group = Group("ffn", "first layer", 32, (neurons,))
    found, loss = features(), TokenClasses().loss
    feeds = tagger.signature.select(found.batch(np.arange(3)))
    scores = importance_of(tagger.network, [group], "taylor", [feeds], [np.asarray(found.labels)], loss)
    wider = {name: np.pad(value, ((0, 0), (0, 4))) for name, value in feeds.items()}  # four tokens more of padding
    again = importance_of(tagger.network, [group], "taylor", [wider], [np.asarray(found.labels)], loss)
    assert scores[0].max() > 0
    assert again[0] == pytest.approx(scores[0], rel=1e-3)


def test_a_network_is_told_by_the_shape_of_its_logits(tagger: Model) -> None:
    assert tagger.signature.outputs[0].shape == ("batch", "sequence", len(TAGS))
    network = nn.Linear(1, 1)
    network.config = SimpleNamespace(num_labels=3)
    with pytest.raises(
        ModelError, match=r"logits of shape \[2, 3\], not \[batch, positions, 3\]: it is no token class"
    ):
        TokenClasses().specs(network, {"logits": torch.zeros(2, 3)}, rows=2)


def test_answers_of_a_model_do_not_depend_on_how_rows_are_batched(tagger: Model) -> None:
    found = features()
    logits = logits_of(tagger, found)
    assert logits.shape == (3, 8, len(TAGS))
    assert (np.isnan(logits).any(-1) == (found.labels == IGNORED)).all()
    with torch.no_grad():
        feeds = tagger.signature.select(found.batch([1]))
        alone = tagger.module(*(torch.from_numpy(value) for value in feeds.values())).numpy()
    assert logits[1, 1:3] == pytest.approx(alone[0, 1:3], abs=1e-5)
    kind = metric("token-accuracy")
    assert metric_of(tagger, found, kind.key) == value_of(kind, kind.counts(found.labels, logits))
    assert kind.counts(found.labels, logits)[:, 1].tolist() == [3, 2, 6]


def test_the_teachers_logits_are_kept_for_every_token_and_given_for_the_rows_of_a_batch(
    tagger: Model, tmp_path: Path
) -> None:
    found = features()
    cache = TeacherCache.open(tmp_path, tagger, found, Wanted(hidden=(1,), grids=(None,)), WarningsOnly())
    logits = logits_of(tagger, found)
    for rows in ([0], [2, 1]):
        kept = cache.rows(np.array(rows))
        width = kept["hidden"][0].shape[1]
        assert kept["logits"].shape == (len(rows), width, len(TAGS))
        words = found.labels[rows] != IGNORED
        assert kept["logits"].numpy()[words[:, :width]] == pytest.approx(logits[rows][words], abs=1e-5)
