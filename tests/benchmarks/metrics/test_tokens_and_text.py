from __future__ import annotations

import math

import numpy as np
import pytest

from edgepress.benchmarks.metrics import METRICS
from edgepress.benchmarks.metrics.base import value_of
from edgepress.benchmarks.metrics.text import edits
from edgepress.benchmarks.metrics.tokens import entities
from edgepress.targets.errors import BenchmarkError

# Two rows of three tokens; the last token of row 1 is padding.
LABELS = np.array([[0, 1, 1], [1, 0, -100]])
LOGITS = np.eye(2)[[[0, 1, 0], [1, 1, 1]]] * 4


def test_token_accuracy_leaves_out_tokens_that_are_not_judged() -> None:
    counts = METRICS["token-accuracy"].counts(LABELS, LOGITS)
    assert counts.tolist() == [[2, 3], [1, 2]]
    assert value_of(METRICS["token-accuracy"], counts) == pytest.approx(3 / 5)


def test_the_perplexity_of_even_logits_is_the_number_of_classes() -> None:
    assert value_of(METRICS["perplexity"], METRICS["perplexity"].counts(LABELS, np.zeros((2, 3, 7)))) == pytest.approx(
        7
    )


def test_perplexity_is_of_all_tokens_together() -> None:
    """Three tokens at log(1 + e^-4) nats, two at 4 more."""
    loss = math.log(1 + math.exp(-4))
    counts = METRICS["perplexity"].counts(LABELS, LOGITS)
    assert value_of(METRICS["perplexity"], counts) == pytest.approx(math.exp((5 * loss + 8) / 5))


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
        BenchmarkError, match=r"perplexity needs labels \[rows, tokens\] and logits .* got \[2, 3\] and"
    ):
        METRICS["perplexity"].counts(LABELS, LABELS)


def test_word_errors_are_edits_over_words_of_all_rows() -> None:
    """One replaced of three words, one missing of one: 2 / 4."""
    counts = METRICS["wer"].counts(["the cat sat", "yes"], ["the dog sat", ""])
    assert counts.tolist() == [[1, 3], [1, 1]]
    assert value_of(METRICS["wer"], counts) == 0.5
    assert edits("kitten", "sitting") == 3


def test_an_exact_match_is_the_whole_text() -> None:
    assert METRICS["exact-match"].counts(["42", "forty-two"], [" 42\n", "forty"]).ravel().tolist() == [1, 0]
