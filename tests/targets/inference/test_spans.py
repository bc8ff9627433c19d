"""Texts and lists of words answered with spans: which words were read, and where they stand."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgepress.targets.device.sample import compared, misfit
from edgepress.targets.errors import DataError
from edgepress.targets.inference.answers import Answer, Span
from edgepress.targets.inference.words import WordRows
from edgepress.targets.records import Signature, TensorSpec
from edgepress.targets.serving.app import _fields_of
from tests.compress.tiny import tiny_tokenizer

NAMES = ("O", "B-PER", "I-PER")
TEXT = "good  film-plot\tactor"
"""Three words; the second is three tokens: [CLS] good film - plot actor [SEP]."""


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> WordRows:
    """Of a model that takes 8 tokens."""
    folder = tmp_path_factory.mktemp("words")
    tiny_tokenizer().save_pretrained(folder)
    inputs = tuple(
        TensorSpec(name=name, dtype="int64", shape=("batch", "sequence")) for name in ("input_ids", "attention_mask")
    )
    output = TensorSpec(name="logits", dtype="float32", shape=("batch", "sequence", 3))
    bounds = {"batch": (1, 8), "sequence": (2, 8)}
    return WordRows(folder, Signature(inputs=inputs, outputs=(output,), bounds=bounds))


def logits(tags: list[int]) -> np.ndarray:
    """Of each token the logits of its tag, which has a probability of 1/2: ln 2 against 0 and 0."""
    return np.eye(3)[tags] * np.log(2.0)


def test_a_word_is_read_at_its_first_token(rows: WordRows) -> None:
    feeds, (words,) = rows.read([TEXT])
    assert feeds["input_ids"].shape == (1, 7) and words.tokens == ((0, 1), (1, 2), (2, 5))
    answer = words.answer(logits([1, 1, 2, 1, 1, 0, 1]), NAMES)
    assert answer.labels == ("PER",) and answer.label == "PER" and answer.unread == 0
    (span,) = answer.spans or ()
    assert (span.text, span.label, span.start, span.end) == ("good  film-plot", "PER", 0, 15)
    assert span.score == pytest.approx(0.5)
    assert [(word.text, word.label) for word in answer.words] == [
        ("good", "B-PER"),
        ("film-plot", "I-PER"),
        ("actor", "O"),
    ]


def test_a_list_of_words_stands_in_a_text_of_its_own(rows: WordRows) -> None:
    _, (words,) = rows.read([["New film", "good"]])
    answer = words.answer(logits([0, 0, 0, 1, 0]), NAMES)
    assert answer.spans == (Span("good", "PER", pytest.approx(0.5), 9, 13),)


def test_classes_that_are_no_tags_are_a_span_for_each_word(rows: WordRows) -> None:
    _, (words,) = rows.read(["good film"])
    answer = words.answer(logits([0, 1, 1, 0]), ("NOUN", "VERB", "X"))
    assert [(span.text, span.label) for span in answer.spans or ()] == [("good", "VERB"), ("film", "VERB")]


def test_words_beyond_the_longest_sequence_are_counted(rows: WordRows) -> None:
    feeds, found = rows.read(["good " * 10, "", "film"])
    assert feeds["input_ids"].shape == (3, 8) and feeds["input_ids"][1].tolist() == [2, 3, 0, 0, 0, 0, 0, 0]
    answers = [one.answer(logits([0] * 8), NAMES) for one in found]
    assert [answer.unread for answer in answers] == [4, 0, 0]
    assert answers[1] == Answer((), {}, spans=()) and answers[1].label == ""


def test_tokens_are_those_that_the_training_saw(rows: WordRows, tmp_path: Path) -> None:
    from edgepress.compress.recipe.data import Data
    from edgepress.compress.tasks.inputs.words import WordInputs

    words = [("good", "film-plot", "actor"), ("a",), ("the",) * 20]
    wanted = WordInputs().apply(words, tiny_tokenizer(), Data(train="unused", max_length=8))
    found = rows.feeds(words)
    assert all(found[name].tolist() == wanted[name].tolist() for name in found)


@pytest.mark.parametrize("row", [7, None, ["a", 7], {"a": "b"}])
def test_what_is_no_row_of_words_is_told(rows: WordRows, row: Any) -> None:
    with pytest.raises(DataError, match=r"a text, or a list of its words is asked for, got "):
        rows.feeds([row])


def test_a_service_gives_spans_too() -> None:
    told = _fields_of(Answer(("PER",), {}, spans=(Span("Ann", "PER", 0.5, 0, 3),)))
    assert told["spans"] == [{"text": "Ann", "label": "PER", "score": 0.5, "start": 0, "end": 3}]
    assert "spans" not in _fields_of(Answer(("good",), {"good": 1.0}))


def test_a_device_compares_the_words_of_its_sample_alone() -> None:
    none = [np.nan, np.nan]
    labels = np.array([[-100, 1, 0], [-100, 0, -100]])
    teacher = np.array([[none, [0, 1], [0, 1]], [none, [1, 0], none]])
    assert compared({"labels": labels, "teacher": teacher}) == ([1, 0, 0], [1, 1, 0])
    assert compared({"labels": np.array([1, 0]), "teacher": np.eye(2)}) == ([1, 0], [0, 1])


def test_a_sample_whose_teacher_has_other_tokens_is_refused() -> None:
    sample = {"labels": np.zeros((2, 3), int), "teacher": np.zeros((2, 4, 2)), "widths": np.ones(2, int)}
    facts: Any = SimpleNamespace()  # is not looked at
    assert misfit(sample, facts) == "labels [2, 3], logits of the teacher [2, 4, 2]"
