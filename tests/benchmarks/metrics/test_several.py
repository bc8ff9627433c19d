"""Metrics of several labels a row, and of unequal classes: by hand, and against scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest

from edgepress.benchmarks.metrics import METRICS
from edgepress.benchmarks.metrics.base import value_of
from edgepress.targets.errors import BenchmarkError

TRUTH = np.array([[1, 0], [1, 1], [0, 0], [0, 1]])
LOGITS = np.array([[2.0, 1.0], [-1.0, 3.0], [-2.0, -1.0], [-3.0, 0.5]])


def value(key: str, truth: np.ndarray, answers: np.ndarray) -> float:
    return value_of(METRICS[key], METRICS[key].counts(truth, answers))


def test_f1_and_exact_match_are_worked_by_hand() -> None:
    """First label: tp 1, fn 1. Second: tp 2, fp 1. Whole rows: the third and the fourth."""
    assert value("label-macro-f1", TRUTH, LOGITS) == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert value("exact-labels", TRUTH, LOGITS) == 0.5


def test_agreement_with_the_teacher_counts_labels() -> None:
    assert value("label-agreement", LOGITS, np.where(np.arange(4)[:, None] == 0, -LOGITS, LOGITS)) == 0.75


def test_ranks_are_scikit_learns() -> None:
    from sklearn import metrics

    random = np.random.default_rng(0)
    truth = (random.random((300, 4)) < [0.5, 0.1, 0.02, 0.9]).astype(int)
    logits = np.round(random.standard_normal((300, 4)) + truth, 1)  # rounded, so that there are ties
    wanted = metrics.average_precision_score(truth, logits, average="macro")
    assert value("map", truth, logits) == pytest.approx(wanted)
    classes, scores = random.integers(0, 3, 300), random.standard_normal((300, 3))
    shares = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    area = metrics.roc_auc_score(classes, shares, multi_class="ovr", average="macro")
    assert value("auroc", classes, scores) == pytest.approx(area)
    assert value("mcc", classes, scores) == pytest.approx(metrics.matthews_corrcoef(classes, scores.argmax(1)))


def test_a_label_without_rows_is_left_out() -> None:
    truth, logits = np.array([[1, 0], [0, 0]]), np.array([[1.0, -1.0], [-1.0, -2.0]])
    assert value("label-macro-f1", truth, logits) == value("map", truth, logits) == 1.0
    assert value("auroc", np.array([0, 0, 1]), np.array([[2.0, 1.0, 0.0], [3.0, 1.0, 0.0], [0.0, 2.0, 1.0]])) == 1.0


def test_guessing_the_commonest_class_is_worth_nothing_to_mcc() -> None:
    assert np.isnan(value("mcc", np.array([0] * 9 + [1]), np.array([[1.0, 0.0]] * 10)))
    assert value("mcc", np.array([0, 0, 1, 1]), np.array([[1.0, 0], [1, 0], [0, 1], [0, 1]])) == 1.0


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(BenchmarkError, match=r"map needs truth and logits \[rows, labels\], got \[4\] and \[4, 2\]"):
        METRICS["map"].counts(np.zeros(4), LOGITS)
