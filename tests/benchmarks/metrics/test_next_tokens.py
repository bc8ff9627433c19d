"""Perplexity and accuracy of next tokens, from the two numbers that are kept of each place's logits."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgepress.benchmarks.metrics import METRICS
from edgepress.benchmarks.metrics.base import value_of
from edgepress.benchmarks.metrics.next_tokens import scored
from edgepress.benchmarks.metrics.tokens import IGNORED
from edgepress.targets.errors import BenchmarkError

# Two rows of three tokens; the last token of row 1 is padding.
LABELS = np.array([[0, 1, 1], [1, 0, IGNORED]])
LOGITS = np.eye(2)[[[0, 1, 0], [1, 1, 1]]] * 4


def test_the_perplexity_of_even_logits_is_the_number_of_classes() -> None:
    counts = METRICS["perplexity"].counts(LABELS, scored(np.zeros((2, 3, 7)), LABELS))
    assert value_of(METRICS["perplexity"], counts) == pytest.approx(7)


def test_perplexity_is_of_all_tokens_together() -> None:
    """Three tokens at log(1 + e^-4) nats, two at 4 more."""
    loss = math.log(1 + math.exp(-4))
    counts = METRICS["perplexity"].counts(LABELS, scored(LOGITS, LABELS))
    assert value_of(METRICS["perplexity"], counts) == pytest.approx(math.exp((5 * loss + 8) / 5), rel=1e-6)


def test_accuracy_is_of_judged_tokens_and_agreement_of_the_likeliest() -> None:
    found, other = scored(LOGITS, LABELS), scored(-LOGITS, LABELS)
    counts = METRICS["next-token-accuracy"].counts(LABELS, found)
    assert counts.tolist() == [[2, 3], [1, 2]]
    assert METRICS["next-token-agreement"].counts(found, found).tolist() == [[3, 3], [2, 2]]
    assert METRICS["next-token-agreement"].counts(found, other).tolist() == [[0, 3], [0, 2]]


def test_two_numbers_are_kept_whatever_the_vocabulary() -> None:
    found = scored(np.zeros((1, 2, 50_000)), np.array([[49_999, IGNORED]]))
    assert found.shape == (1, 2, 2) and found.dtype == np.float32
    assert found[0, 0].tolist() == [np.float32(-math.log(50_000)), 0.0] and np.isnan(found[0, 1]).all()


def test_answers_of_another_shape_are_refused_with_both_shapes() -> None:
    with pytest.raises(BenchmarkError, match=r"perplexity needs labels .* got \[2, 3\] and \[2, 3, 7\]"):
        METRICS["perplexity"].counts(LABELS, np.zeros((2, 3, 7)))
    with pytest.raises(BenchmarkError, match="agreement needs two answers of the same rows"):
        METRICS["next-token-agreement"].counts(np.zeros((1, 3, 2)), np.zeros((2, 3, 2)))
