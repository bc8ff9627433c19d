from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepress.benchmarks.judge.fidelity import class_accuracies, judge, mcnemar, predict
from edgepress.benchmarks.metrics import METRICS
from edgepress.benchmarks.records.figures import Figure
from edgepress.benchmarks.statistics import bootstrap, difference_interval, wilson_interval
from edgepress.targets.errors import BenchmarkError
from edgepress.targets.records import Feeds

# Four rows, labels 0 0 1 1. Teacher: right, right, right, wrong. Candidate: right, wrong, right, right.
LABELS = np.array([0, 0, 1, 1])
TEACHER = np.array([[2.0, 0.0], [2.0, 0.0], [0.0, 2.0], [2.0, 0.0]])
CANDIDATE = np.array([[2.0, 0.0], [0.0, 2.0], [0.0, 2.0], [0.0, 2.0]])


KEYS = ("accuracy", "agreement", "kl", "sqnr")


def by_key(figures: tuple[Figure, ...]) -> dict[str, Figure]:
    return {figure.key: figure for figure in figures}


class Session:
    """Answers with the given outputs, one a batch."""

    def __init__(self, outputs: Iterable[np.ndarray]) -> None:
        self.outputs = iter(outputs)

    def infer(self, feeds: Feeds) -> dict[str, np.ndarray]:
        return {"logits": next(self.outputs)}


def batches(*sizes: int) -> list[Feeds]:
    return [{"x": np.zeros((size, 3), np.float32)} for size in sizes]


def test_four_rows_judged_by_hand() -> None:
    figures = by_key(judge(KEYS, LABELS, TEACHER, CANDIDATE))
    assert figures["accuracy"].interval == wilson_interval(3, 4)
    assert figures["accuracy"].value == 0.75
    assert figures["agreement"].value == 0.5
    assert (figures["accuracy"].flips_lost, figures["accuracy"].flips_won) == (1, 1)
    assert figures["accuracy"].p == 1.0
    assert figures["accuracy"].difference_interval == difference_interval(1, 1, 4)
    # Two rows are equal, two have swapped logits: KL = (p - q) * 2 with p = 1 / (1 + e^-2), so the mean is half of it.
    p = 1 / (1 + math.exp(-2))
    assert figures["kl"].value == pytest.approx((p - (1 - p)) * 2 / 2)
    # Signal 4 rows x 4, noise 2 rows x (4 + 4): 16 / 16 = 0 dB.
    assert figures["sqnr"].value == pytest.approx(0.0)


def test_the_teacher_judged_by_itself_is_perfect() -> None:
    figures = by_key(judge(KEYS, LABELS, TEACHER, TEACHER))
    assert (figures["agreement"].value, figures["kl"].value, figures["accuracy"].p) == (1.0, 0.0, 1.0)
    assert "sqnr" not in figures
    assert figures["accuracy"].value == 0.75
    alone = by_key(judge(KEYS, LABELS, TEACHER, TEACHER, is_teacher=True))["accuracy"]
    assert (alone.value, alone.difference, alone.flips_lost, alone.p) == (0.75, None, None, None)


def test_kl_survives_logits_that_overflow_a_plain_softmax() -> None:
    teacher = np.array([[1000.0, 0.0]], np.float32)
    assert judge(["kl"], np.array([0]), teacher, teacher * 2)[0].value == 0.0


@pytest.mark.parametrize(
    ("lost", "won", "p"),
    [(0, 0, 1.0), (5, 0, 2 / 32), (1, 4, 2 * (1 + 5) / 32), (3, 3, 1.0), (10, 2, 2 * (1 + 12 + 66) / 4096)],
)
def test_mcnemar_is_twice_the_tail_of_the_fair_coin(lost: int, won: int, p: float) -> None:
    assert mcnemar(lost, won) == pytest.approx(p)


@given(st.integers(0, 3000), st.integers(0, 3000))
def test_mcnemar_is_symmetric_and_a_probability(lost: int, won: int) -> None:
    assert 0.0 <= mcnemar(lost, won) == mcnemar(won, lost) <= 1.0


def test_logits_of_all_batches_are_joined_in_order() -> None:
    logits = predict(Session([np.array([[1, 2], [3, 4]], np.float16), np.array([[5, 6]], np.float16)]), batches(2, 1))
    assert logits.dtype == np.float32
    assert logits.tolist() == [[1, 2], [3, 4], [5, 6]]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_an_output_that_is_not_finite_names_the_batch(bad: float) -> None:
    session = Session([np.zeros((2, 2)), np.array([[0.0, bad], [0.0, 1.0]])])
    with pytest.raises(BenchmarkError, match="batch 1: 1 of 2 rows hold NaN or infinity"):
        predict(session, batches(2, 2))


def test_outputs_of_the_wrong_shape_and_no_data_are_refused() -> None:
    with pytest.raises(BenchmarkError, match=r"batch 0: output must be \[2, ..., classes\], got \[3, 2\]"):
        predict(Session([np.zeros((3, 2))]), batches(2))
    with pytest.raises(BenchmarkError, match="nothing to predict"):
        predict(Session([]), [])


def test_rows_that_do_not_fit_each_other_are_refused() -> None:
    with pytest.raises(BenchmarkError, match=r"labels \[4\], teacher \[4, 2\] and candidate \[3, 2\] don't fit"):
        judge(KEYS, LABELS, TEACHER, CANDIDATE[:3])


def test_each_class_has_its_own_accuracy_and_difference_to_the_teacher() -> None:
    found = class_accuracies(LABELS, TEACHER, CANDIDATE, ["no", "yes", "never seen"])
    assert [(one.name, one.samples, one.accuracy, one.difference) for one in found] == [
        ("no", 2, 0.5, -0.5),
        ("yes", 2, 1.0, 0.5),
    ]
    assert [one.difference for one in class_accuracies(LABELS, None, TEACHER, ["no", "yes"])] == [None, None]


def test_the_first_metric_is_primary_unless_another_one_is_named() -> None:
    keys = ("accuracy", "macro-f1")
    assert [one.primary for one in judge(keys, LABELS, TEACHER, CANDIDATE)] == [True, False]
    assert [one.primary for one in judge(keys, LABELS, TEACHER, CANDIDATE, primary="macro-f1")] == [False, True]


def test_a_metric_that_is_no_share_of_rows_has_the_intervals_of_the_bootstrap() -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 200)
    teacher = np.eye(3)[labels] + random.standard_normal((200, 3)) * 0.5
    answers = teacher + random.standard_normal((200, 3)) * 0.5
    (figure,) = judge(["macro-f1"], labels, teacher, answers, seed=3)
    metric = METRICS["macro-f1"]
    wanted = bootstrap(metric.counts(labels, answers), metric.value, metric.counts(labels, teacher), seed=3)
    assert (figure.interval, figure.difference_interval, figure.p) == (wanted.interval, wanted.difference, wanted.p)
    assert figure.difference is not None and figure.difference_interval is not None
    assert figure.difference_interval[0] < figure.difference < figure.difference_interval[1]
    plain = judge(["macro-f1"], labels, teacher, answers, intervals=False)[0]
    assert (plain.value, plain.interval, plain.p) == (figure.value, None, None)
