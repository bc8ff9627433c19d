"""One paired bootstrap serves every metric."""

from __future__ import annotations

import numpy as np
import pytest

from edgepress.benchmarks.metrics import METRICS
from edgepress.benchmarks.statistics import bootstrap, difference_interval, wilson_interval
from edgepress.targets.errors import BenchmarkError


def answers(seed: int, rows: int, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Labels of two classes, and 0/1 counts of answers of which about `share` are right."""
    random = np.random.default_rng(seed)
    return random.integers(0, 2, rows), (random.random((rows, 1)) < share).astype(np.uint8)


def first(means: np.ndarray) -> np.ndarray:
    return means[..., 0]


def test_the_bootstrap_of_an_accuracy_is_wilsons_interval_within_a_fifth_of_a_point() -> None:
    _, right = answers(0, 2000, 0.88)
    found = bootstrap(right, first).interval
    assert found == pytest.approx(wilson_interval(int(right.sum()), 2000), abs=0.002)


def test_the_paired_bootstrap_of_accuracies_is_bonett_and_prices_within_a_fifth_of_a_point() -> None:
    """1,000 rows, 50 lost and 30 won."""
    teacher = np.ones((1000, 1), np.uint8)
    teacher[:30] = 0
    candidate = np.ones((1000, 1), np.uint8)
    candidate[30:80] = 0
    found = bootstrap(candidate, first, teacher)
    assert found.difference == pytest.approx(difference_interval(50, 30, 1000), abs=0.002)
    # McNemar's exact test gives 0.0326.
    assert found.p == pytest.approx(0.0326, abs=0.015)


def test_rows_are_drawn_in_pairs_so_equal_answers_have_no_difference() -> None:
    _, right = answers(1, 300, 0.7)
    found = bootstrap(right, first, right)
    assert (found.difference, found.p) == ((0.0, 0.0), 1.0)
    assert found.interval is not None and found.interval[1] - found.interval[0] > 0.05


def test_the_interval_of_a_mean_is_that_of_its_standard_error() -> None:
    values = np.random.default_rng(2).standard_normal((2500, 1)) * 3 + 1
    low, high = bootstrap(values, first).interval or (0, 0)
    half = 1.96 * values.std() / 50
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.01)


def test_an_f1_that_is_clearly_worse_has_an_interval_below_zero_and_a_small_p() -> None:
    random = np.random.default_rng(3)
    labels = random.integers(0, 3, 600)
    teacher = np.eye(3)[labels] + random.standard_normal((600, 3)) * 0.3
    worse = np.eye(3)[labels] + random.standard_normal((600, 3)) * 0.8
    metric = METRICS["macro-f1"]
    found = bootstrap(metric.counts(labels, worse), metric.value, metric.counts(labels, teacher))
    assert found.difference is not None and found.difference[1] < 0
    assert found.p == pytest.approx(2 / 2001)


def test_the_same_seed_gives_the_same_interval_and_another_one_a_near_one() -> None:
    _, right = answers(4, 400, 0.8)
    one, again, other = (bootstrap(right, first, seed=seed).interval for seed in (7, 7, 8))
    assert one == again != other
    assert other == pytest.approx(one, abs=0.01)


def test_a_metric_without_a_value_in_some_resamples_has_no_interval() -> None:
    found = bootstrap(np.array([[0.0], [1.0]]), lambda means: np.where(means[:, 0] > 0, 1 / 3, np.nan))
    assert found.interval is None


def test_counts_of_other_rows_are_refused() -> None:
    with pytest.raises(BenchmarkError, match=r"got \[3, 1\] and \[2, 1\] of the teacher"):
        bootstrap(np.zeros((3, 1)), first, np.zeros((2, 1)))
    with pytest.raises(BenchmarkError, match=r"got \[0, 1\]"):
        bootstrap(np.zeros((0, 1)), first)
