from __future__ import annotations

import math

import numpy as np
import pytest

from edgepress.benchmarks.metrics import METRICS, metric
from edgepress.benchmarks.metrics.base import value_of
from edgepress.targets.errors import BenchmarkError

# Six rows of three classes. Right: rows 0, 1, 3 and 5; row 2 (class 1) is called 0, row 4 (class 2) is called 1.
LABELS = np.array([0, 0, 1, 1, 2, 2])
ANSWERS = np.eye(3)[[0, 0, 0, 1, 1, 2]] * 2


def value(key: str, truth: np.ndarray, answers: np.ndarray) -> float:
    return value_of(METRICS[key], METRICS[key].counts(truth, answers))


def test_accuracy_is_four_of_six() -> None:
    assert value("accuracy", LABELS, ANSWERS) == pytest.approx(4 / 6)
    assert METRICS["accuracy"].counts(LABELS, ANSWERS).ravel().tolist() == [1, 1, 0, 1, 0, 1]


def test_macro_f1_is_the_mean_of_the_classes_f1() -> None:
    """tp, fp, fn: class 0 has 2, 1, 0; class 1 has 1, 1, 1; class 2 has 1, 0, 1: F1 of 4/5, 1/2 and 2/3."""
    assert value("macro-f1", LABELS, ANSWERS) == pytest.approx((4 / 5 + 1 / 2 + 2 / 3) / 3)


def test_macro_f1_is_that_of_scikit_learn_on_uneven_classes() -> None:
    from sklearn.metrics import balanced_accuracy_score, f1_score

    random = np.random.default_rng(0)
    labels, answers = random.choice(4, 300, p=(0.7, 0.2, 0.1, 0.0)), random.standard_normal((300, 4))
    answers[:, 3] = -9  # nobody's class, and nobody's answer
    assert value("macro-f1", labels, answers) == pytest.approx(f1_score(labels, answers.argmax(-1), average="macro"))
    wanted = balanced_accuracy_score(labels, answers.argmax(-1))
    assert value("balanced-accuracy", labels, answers) == pytest.approx(wanted)


def test_balanced_accuracy_gives_each_class_the_same_weight() -> None:
    """Nine rows of class 0, all right, and one of class 1, wrong: accuracy 0.9, recalls 1 and 0."""
    labels, answers = np.array([0] * 9 + [1]), np.eye(2)[[0] * 10]
    assert value("accuracy", labels, answers) == 0.9
    assert value("balanced-accuracy", labels, answers) == 0.5


def test_the_label_among_the_five_largest_is_enough_for_top_5() -> None:
    answers = np.array([[6.0, 5, 4, 3, 2, 1], [6.0, 5, 4, 3, 2, 1]])
    assert value("top-5-accuracy", np.array([4, 5]), answers) == 0.5


def test_log_loss_of_even_logits_is_the_logarithm_of_the_classes() -> None:
    assert value("log-loss", np.array([0, 3]), np.zeros((2, 4))) == pytest.approx(math.log(4))


def test_agreement_and_divergence_are_against_the_teacher() -> None:
    """Rows 0 equal, row 1 with swapped logits: KL = (p - q) * 2 with p = 1 / (1 + e^-2), halved by the mean."""
    teacher, answers = np.array([[2.0, 0.0], [2.0, 0.0]]), np.array([[2.0, 0.0], [0.0, 2.0]])
    p = 1 / (1 + math.exp(-2))
    assert (METRICS["agreement"].against, METRICS["kl"].against) == ("teacher", "teacher")
    assert value("agreement", teacher, answers) == 0.5
    assert value("kl", teacher, answers) == pytest.approx((p - (1 - p)) * 2 / 2)
    assert value("kl", teacher * 500, teacher * 1000) == 0.0


def test_answers_that_do_not_fit_the_rows_are_refused() -> None:
    with pytest.raises(BenchmarkError, match=r"accuracy needs an answer for each row .* got 6 rows and 5 answers"):
        METRICS["accuracy"].counts(LABELS, ANSWERS[:5])
    with pytest.raises(BenchmarkError, match=r"macro-f1 needs logits \[rows, classes\], got \[6\]"):
        METRICS["macro-f1"].counts(LABELS, LABELS)
    with pytest.raises(BenchmarkError, match=r"kl needs two logits .* got \[6, 3\] and \[5, 3\]"):
        METRICS["kl"].counts(ANSWERS, ANSWERS[:5])


def test_every_metric_is_registered_under_its_own_key() -> None:
    assert {key: one.key for key, one in METRICS.items()} == {key: key for key in METRICS}


def test_an_unknown_metric_is_one_line_with_those_there_are() -> None:
    with pytest.raises(BenchmarkError, match="unknown metric 'f2'; there are accuracy, top-5-accuracy, macro-f1, "):
        metric("f2")
