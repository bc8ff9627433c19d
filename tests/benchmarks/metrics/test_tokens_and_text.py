from __future__ import annotations

import math

import numpy as np
import pytest

from edgepress.benchmarks.judge.fidelity import judge
from edgepress.benchmarks.metrics import METRICS
from edgepress.benchmarks.metrics.base import value_of
from edgepress.benchmarks.metrics.text import edits
from edgepress.benchmarks.metrics.tokens import IGNORED, Tags, entities
from edgepress.targets.errors import BenchmarkError

# Two rows of three tokens; the last token of row 1 is padding.
LABELS = np.array([[0, 1, 1], [1, 0, -100]])
LOGITS = np.eye(2)[[[0, 1, 0], [1, 1, 1]]] * 4


def test_token_accuracy_leaves_out_tokens_that_are_not_judged() -> None:
    counts = METRICS["token-accuracy"].counts(LABELS, LOGITS)
    assert counts.tolist() == [[2, 3], [1, 2]]
    assert value_of(METRICS["token-accuracy"], counts) == pytest.approx(3 / 5)


def test_an_entity_counts_only_where_type_and_both_ends_are_right() -> None:
    """Three entities, three predicted, one found: F1 = 2 / 6."""
    truth = [["B-PER", "I-PER", "O", "B-LOC"], ["B-ORG", "O"]]
    answers = [["B-PER", "I-PER", "O", "B-ORG"], ["B-ORG", "I-ORG"]]
    counts = METRICS["entity-f1"].counts(truth, answers)
    assert counts.tolist() == [[1, 2, 2], [0, 1, 1]]
    assert value_of(METRICS["entity-f1"], counts) == pytest.approx(2 / 6)


@pytest.mark.parametrize(
    ("tags", "wanted"),
    [
        (["I-PER", "I-PER"], {("PER", 0, 1)}),
        (["B-PER", "B-PER"], {("PER", 0, 0), ("PER", 1, 1)}),
        (["B-PER", "I-LOC"], {("PER", 0, 0), ("LOC", 1, 1)}),
        (["O", "O"], set()),
    ],
)
def test_entities_begin_and_end_as_conlleval_has_it(tags: list[str], wanted: set[tuple[str, int, int]]) -> None:
    assert entities(tags) == wanted


def test_rows_of_another_length_are_named() -> None:
    with pytest.raises(BenchmarkError, match="entity-f1: row 0 has 2 tags and 1 answers"):
        METRICS["entity-f1"].counts([["O", "O"]], [["O"]])
    with pytest.raises(
        BenchmarkError, match=r"token-accuracy needs labels \[rows, tokens\] and logits .* got \[2, 3\] and"
    ):
        METRICS["token-accuracy"].counts(LABELS, LABELS)


def test_word_errors_are_edits_over_words_of_all_rows() -> None:
    """One replaced of three words, one missing of one: 2 / 4."""
    counts = METRICS["wer"].counts(["the cat sat", "yes"], ["the dog sat", ""])
    assert counts.tolist() == [[1, 3], [1, 1]]
    assert value_of(METRICS["wer"], counts) == 0.5
    assert edits("kitten", "sitting") == 3


def test_an_exact_match_is_the_whole_text() -> None:
    assert METRICS["exact-match"].counts(["42", "forty-two"], [" 42\n", "forty"]).ravel().tolist() == [1, 0]


# What seqeval 1.2.2 (`f1_score`, its default mode) gives for the judged tags of `drawn`.
SEQEVAL = {0: 0.611111111111111, 1: 0.7066666666666667, 2: 0.7127659574468085}
NAMES = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")


def drawn(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels [20, 12], the last ones of a row padding, and logits that are right for two words of three."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, len(NAMES), (20, 12))
    said = np.where(random.random(labels.shape) < 0.67, labels, random.integers(0, len(NAMES), labels.shape))
    padded = np.where(np.arange(12) < random.integers(1, 13, 20)[:, None], labels, IGNORED)
    return Tags.of(padded, NAMES), np.eye(len(NAMES))[said]


@pytest.mark.parametrize("seed", SEQEVAL)
def test_entity_f1_of_class_numbers_is_that_of_seqeval(seed: int) -> None:
    truth, logits = drawn(seed)
    kind = METRICS["entity-f1"]
    assert value_of(kind, kind.counts(truth, logits)) == pytest.approx(SEQEVAL[seed], abs=1e-12)


def test_entity_f1_reads_numbers_as_the_tags_that_they_stand_for() -> None:
    """`B-PER I-PER` is found; `I-LOC`, which begins a place, is not: it is said to be a person."""
    truth = Tags.of(np.array([[IGNORED, 1, 2, 0, 4, IGNORED]]), NAMES)
    logits = np.eye(5)[[[3, 1, 2, 0, 1, 3]]]
    counts = METRICS["entity-f1"].counts(truth, logits)
    assert counts.tolist() == [[1, 2, 2]]
    assert value_of(METRICS["entity-f1"], counts) == pytest.approx(0.5)
    assert METRICS["entity-f1"].counts(truth[:1], logits).tolist() == counts.tolist()  # rows that are taken know it too
    with pytest.raises(BenchmarkError, match="entity-f1 needs the names of 5 classes, got 0"):
        METRICS["entity-f1"].counts(np.asarray(truth), logits)


def test_classes_that_are_no_tags_of_spans_have_no_entity_f1() -> None:
    counts = METRICS["entity-f1"].counts(Tags.of(np.array([[0, 1]]), ("NOUN", "VERB")), np.eye(2)[[[0, 1]]])
    assert math.isnan(value_of(METRICS["entity-f1"], counts))


def test_agreement_with_the_teacher_and_noise_are_of_judged_tokens_alone() -> None:
    none = [np.nan, np.nan]
    teacher = np.array([[[3.0, 0.0], [0.0, 1.0], none], [[1.0, 0.0], none, none]])
    answers = np.array([[[2.0, 0.0], [1.0, 0.0], none], [[1.0, 0.0], none, none]])
    counts = METRICS["token-agreement"].counts(teacher, answers)
    assert counts.tolist() == [[1, 2], [1, 1]]
    assert value_of(METRICS["token-agreement"], counts) == pytest.approx(2 / 3)
    assert METRICS["sqnr"].counts(teacher, answers).tolist() == [[10, 3], [1, 0]]
    with pytest.raises(BenchmarkError, match=r"token-agreement needs two logits \[rows, tokens, classes\] of the same"):
        METRICS["token-agreement"].counts(teacher, answers[..., :1])


def test_entity_f1_has_an_interval_over_rows_paired_with_the_teacher() -> None:
    truth, logits = drawn(0)
    worse = np.where((np.arange(20) % 2 == 0)[:, None, None], logits, np.eye(5)[0])  # finds nothing in every other row
    teacher, worse = (np.where((truth == IGNORED)[..., None], np.nan, one) for one in (logits, worse))
    (found,) = judge(["entity-f1"], truth, teacher, worse)
    assert found.low is not None and found.high is not None and found.low < found.value < found.high
    assert found.difference is not None and found.difference < 0
    assert found.difference_high is not None and found.difference_high < 0
