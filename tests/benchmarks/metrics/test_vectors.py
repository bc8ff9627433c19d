from __future__ import annotations

import math

import numpy as np
import pytest

from edgepress.benchmarks.metrics import METRICS
from edgepress.benchmarks.metrics.base import value_of
from edgepress.targets.errors import BenchmarkError


def value(key: str, truth: object, answers: object) -> float:
    truth, answers = np.array(truth, float), np.array(answers, float)
    return value_of(METRICS[key], METRICS[key].counts(truth, answers))


def test_rmse_is_the_root_of_the_mean_squared_error() -> None:
    """Errors 3 and 4: the root of (9 + 16) / 2."""
    assert value("rmse", [1.0, 2.0], [4.0, 6.0]) == pytest.approx(math.sqrt(12.5))
    assert value("rmse", [[0.0, 0.0]], [[3.0, 4.0]]) == pytest.approx(math.sqrt(12.5))


def test_pearson_is_worked_by_hand() -> None:
    """x 1, 2, 3 and y 1, 3, 2: covariance 1/3, both variances 2/3."""
    assert value("pearson", [1, 2, 3], [1, 3, 2]) == pytest.approx(0.5)


def test_pearson_loses_no_digits_far_from_zero() -> None:
    assert value("pearson", [1e9 + 1, 1e9 + 2, 1e9 + 3], [1, 3, 2]) == pytest.approx(0.5, abs=1e-6)


def test_spearman_sees_order_alone_and_ties_share_their_rank() -> None:
    assert value("spearman", [1, 2, 3, 4], [1, 10, 100, 1000]) == pytest.approx(1.0)
    # Ranks 1.5 1.5 3 against 1 2 3: covariance 0.5, variances 0.5 and 2/3.
    assert value("spearman", [5, 5, 9], [1, 2, 3]) == pytest.approx(0.5 / math.sqrt(0.5 * 2 / 3))


def test_correlations_are_those_of_numpy_on_random_numbers() -> None:
    x, y = np.random.default_rng(0).standard_normal((2, 200)) + 1e4
    assert value("pearson", x, x + y) == pytest.approx(np.corrcoef(x, x + y)[0, 1])


def test_a_constant_has_no_correlation() -> None:
    assert math.isnan(value("pearson", [1, 2, 3], [4, 4, 4]))


def test_cosine_is_the_mean_over_the_rows_and_sees_no_length() -> None:
    assert value("cosine", [[1, 0], [3, 0]], [[9, 0], [1, 1]]) == pytest.approx((1 + math.sqrt(0.5)) / 2)


def test_ten_times_less_noise_than_signal_are_ten_db() -> None:
    """Signal 1 + 9 = 10, noise 1: 10 dB, as the comparison of artifacts counts it."""
    assert value("sqnr", [[1.0, 3.0]], [[1.0, 2.0]]) == pytest.approx(10.0)
    assert math.isnan(value("sqnr", [[1.0]], [[1.0]]))


def test_vectors_of_other_sizes_are_refused() -> None:
    with pytest.raises(BenchmarkError, match=r"rmse needs as many numbers .* got \[2, 1\] and \[2, 2\]"):
        METRICS["rmse"].counts(np.zeros((2, 1)), np.zeros((2, 2)))
    with pytest.raises(BenchmarkError, match=r"pearson needs as many numbers .* got \[3, 2\] and \[3, 1\]"):
        METRICS["pearson"].counts(np.zeros((3, 2)), np.zeros((3, 1)))


def test_the_correlation_of_several_numbers_is_the_mean_of_theirs() -> None:
    truth = [[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]]
    assert value("pearson", truth, [[2.0, 3.0], [4.0, 2.0], [6.0, 1.0]]) == pytest.approx(0.0)  # 1 and -1
    # Ranks 1, 2, 3 against 1, 3, 2: rho = 1 - 6 * 2 / (3 * 8) = 0.5; the mean with 1.
    assert value("spearman", truth, [[1.0, 1.0], [5.0, 2.0], [4.0, 9.0]]) == pytest.approx(0.75)
