"""F1 and exact match of answers as SQuAD counts them, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from edgepress.benchmarks.metrics import metric
from edgepress.benchmarks.metrics.base import value_of
from edgepress.benchmarks.metrics.passages import Documents, Passages, answers_of, normalised, word_f1
from edgepress.targets.errors import BenchmarkError
from edgepress.targets.inference.passages import LONGEST, best_of, best_places

NAN = np.nan


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("The  Cat", "cat"),
        ("a cat, an owl; the", "cat owl"),
        ("Anna's theatre", "annas theatre"),
        ("", ""),
        ("U.S.", "us"),
    ],
)
def test_answers_are_normalised_as_squad_does(text: str, left: str) -> None:
    assert normalised(text) == left


@pytest.mark.parametrize(
    ("wanted", "got", "value"),
    [
        ("the cat sat", "cat", 2 / 3),  # precision 1, recall 1/2
        ("cat cat owl", "cat owl owl", 2 / 3),  # 2 of 3 either way: words count as often as they are there
        ("cat", "owl", 0.0),
        ("Cat!", "the cat", 1.0),
        ("cat", "", 0.0),
    ],
)
def test_f1_of_words(wanted: str, got: str, value: float) -> None:
    assert word_f1(wanted, got) == pytest.approx(value)


def test_the_best_accepted_answer_counts_and_documents_are_averaged() -> None:
    truth, answers = [("the cat sat", "cat"), ("big owl",)], ["cat", "owl"]
    found = {key: metric(key).counts(truth, answers) for key in ("qa-f1", "qa-exact-match")}
    assert found["qa-f1"][:, 0].tolist() == pytest.approx([1.0, 2 / 3])
    assert value_of(metric("qa-exact-match"), found["qa-exact-match"]) == 0.5


def windows() -> tuple[Passages, np.ndarray]:
    """`one two three` in two windows, [CLS] q [SEP] one two / two three; `six` in one."""
    places = np.array([[0, 0]] * 3 + [[0, 3], [4, 7]] + [[0, 0]] * 3 + [[4, 7], [8, 13]] + [[0, 0]] * 3 + [[0, 3]])
    numbers = np.array([[3, 3, 3, 5, 0, 0], [0, 0, 3, 5, 0, 5], [3, 3, 3, 4, 1, 10]])
    logits = np.full((3, 5, 2), NAN, np.float32)
    logits[:, 0] = logits[:, 3:] = 0
    logits[2, 4] = NAN
    return Passages.of(numbers, Documents(["one two three", "six"], [("one",), ("seven", "six")], places)), logits


def test_the_best_window_answers_for_its_document() -> None:
    truth, logits = windows()
    logits[0, 3, 0], logits[0, 4, 1] = 2, 2  # `one two`
    logits[1, 3, 0], logits[1, 4, 1] = 3, 3  # `two three`, of the other window
    assert answers_of(truth, logits) == ["two three", "six"]
    assert metric("qa-f1").counts(truth, logits)[:, 0].tolist() == [0.0, 1.0]


def test_a_window_that_says_it_has_no_answer_gives_way_whatever_its_logits() -> None:
    truth, logits = windows()
    logits[0, 3] = 1
    logits[1, 0], logits[1, 3:] = 20, 10
    assert answers_of(truth, logits)[0] == "one"


def test_no_end_lies_before_its_start_and_none_too_far_behind() -> None:
    logits = np.zeros((LONGEST + 10, 2))
    logits[9, 0], logits[4, 1] = 50, 50
    assert (best_places(logits)[0].start, best_places(logits)[0].end) != (9, 4)
    logits[9 + LONGEST, 1] = 50  # one token too far
    assert best_places(logits)[0].end != 9 + LONGEST
    logits[9 + LONGEST - 1, 1] = 50
    assert (best_places(logits)[0].start, best_places(logits)[0].end) == (9, 9 + LONGEST - 1)
    assert all(place.start <= place.end < place.start + LONGEST for place in best_places(logits, 500))


def test_scores_are_probabilities_of_both_tokens() -> None:
    """Three able tokens, equal logits: 1/3 * 1/3."""
    logits = np.array([[0, 0], [NAN, NAN], [0, 0], [0, 0]], np.float32)
    found = best_places(logits, 9)
    assert [(place.start, place.end) for place in found] == [(2, 2), (2, 3), (3, 3)]
    assert [place.score for place in found] == pytest.approx([1 / 9] * 3)
    assert best_of([np.zeros((1, 2))]) is None


def test_agreement_is_of_whole_spans() -> None:
    _, logits = windows()
    other = logits.copy()
    other[0, 4] = 5
    assert metric("span-agreement").counts(logits, other)[:, 0].tolist() == [0, 1, 1]


def test_what_does_not_fit_is_refused() -> None:
    truth, logits = windows()
    with pytest.raises(BenchmarkError, match=r"qa-f1 needs Passages \[windows, 6\] and logits .* got ndarray \[3, 6\]"):
        metric("qa-f1").counts(np.asarray(truth), logits)
    with pytest.raises(BenchmarkError, match="windows need the documents they are cut of"):
        metric("qa-f1").counts(np.asarray(truth).view(Passages), logits)
    with pytest.raises(BenchmarkError, match=r"span-agreement needs two logits \[windows, positions, 2\]"):
        metric("span-agreement").counts(logits[..., :1], logits[..., :1])
