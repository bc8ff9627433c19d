from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from edgepress.benchmarks.judge.fidelity import judge
from edgepress.benchmarks.metrics import METRICS
from edgepress.benchmarks.metrics.base import value_of
from edgepress.benchmarks.metrics.pairs import CHUNK
from edgepress.targets.errors import BenchmarkError


def turned(*degrees: float) -> np.ndarray:
    """A vector of length 1 for each angle."""
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def pairs(*scores: float, texts: list[int] | None = None) -> np.ndarray:
    count = 2 * len(scores)
    return np.stack([np.arange(count) // 2, np.repeat(scores, 2), texts or np.arange(count)], axis=1)


def value(key: str, truth: np.ndarray, answers: np.ndarray) -> float:
    return value_of(METRICS[key], METRICS[key].counts(truth, answers))


def test_spearman_ranks_cosines_of_pairs_whatever_the_length_of_the_vectors() -> None:
    """Angles 10, 50, 30 within the pairs of scores 5, 3, 1: ranks 3, 1, 2 against 3, 2, 1, so rho = 1 - 6 * 2 / 24."""
    vectors = turned(0, 10, 0, 50, 0, 30)
    assert value("pair-spearman", pairs(5, 3, 1), vectors) == pytest.approx(0.5)
    assert value("pair-spearman", pairs(5, 3, 1), vectors * np.array([[1], [9], [2], [3], [7], [5]])) == pytest.approx(
        0.5
    )


def test_pearson_is_that_of_numpy() -> None:
    vectors = turned(0, 10, 0, 50, 0, 30)
    wanted = np.corrcoef([5, 3, 1], np.cos(np.radians([10, 50, 30])))[0, 1]
    assert value("pair-pearson", pairs(5, 3, 1), vectors) == pytest.approx(wanted)


def test_texts_without_a_score_take_no_part_in_correlations() -> None:
    truth, vectors = pairs(5, 3, 1), turned(0, 10, 0, 50, 0, 30)
    more = np.concatenate([truth, [[-1, np.nan, 6], [3, np.nan, 7], [3, np.nan, 8]]])
    assert value("pair-spearman", more, np.concatenate([vectors, turned(1, 2, 3)])) == pytest.approx(0.5)
    with pytest.raises(BenchmarkError, match="pair-spearman needs pairs with scores, and no row has one"):
        value("pair-spearman", more[6:], turned(1, 2, 3))


def test_pairs_are_what_is_resampled_and_what_is_paired_with_the_teacher() -> None:
    random = np.random.default_rng(0)
    truth, teacher = pairs(*random.uniform(0, 5, 60)), random.standard_normal((120, 4))
    counts = METRICS["pair-spearman"].counts(truth, teacher)
    assert counts.shape == (60, 5)
    found = judge(["pair-spearman"], truth, teacher, teacher + 0.1 * random.standard_normal((120, 4)))[0]
    assert found.low is not None and found.low < found.value < (found.high or 0)
    assert found.difference_low is not None and found.difference_low <= (found.difference or 0)


def test_recall_looks_for_the_other_text_of_pairs_that_belong_together() -> None:
    """0° and 10° belong together (score 5 of 0..5), 11° and 90° do not: seen from 10° the text at 11° is nearer."""
    truth, vectors = pairs(5, 0), turned(0, 10, 11, 90)
    assert METRICS["recall-at-1"].counts(truth, vectors).ravel().tolist() == [1.0, 0.0]
    assert value("recall-at-10", truth, vectors) == 1.0


def test_recall_counts_equal_texts_once_and_looks_for_no_text_by_itself() -> None:
    # The text 0 is there twice: seen from it neither copy is in the way of the text 1.
    truth = pairs(5, 5, 0, texts=[0, 1, 0, 0, 2, 3])
    found = METRICS["recall-at-1"].counts(truth, turned(0, 10, 0, 0, 40, 90))
    assert found.ravel().tolist() == [1.0, 1.0]
    assert math.isnan(value("recall-at-1", pairs(5, texts=[0, 0]), turned(0, 0)))
    assert judge(["recall-at-1"], pairs(5, texts=[0, 0]), turned(0, 0), turned(0, 0)) == ()


def test_recall_of_many_queries_is_that_of_all_similarities_at_once() -> None:
    random = np.random.default_rng(1)
    count = CHUNK + 40
    truth, vectors = pairs(*[5.0] * count), random.standard_normal((2 * count, 8))
    lengths = np.linalg.norm(vectors, axis=1)
    near = vectors @ vectors.T / lengths[:, None] / lengths
    np.fill_diagonal(near, -np.inf)
    partner = np.arange(2 * count) ^ 1
    wanted = (near > near[np.arange(2 * count), partner][:, None]).sum(1) < 10
    assert value("recall-at-10", truth, vectors) == pytest.approx(wanted.mean())


@pytest.mark.parametrize(
    ("truth", "answers"), [(np.zeros((2, 2)), np.zeros((2, 3))), (np.zeros((2, 3)), np.zeros((2, 3, 1)))]
)
def test_other_shapes_are_refused(truth: Any, answers: Any) -> None:
    with pytest.raises(
        BenchmarkError, match=r"pair-pearson needs \[texts, 3\] of pairs and vectors \[texts, width\], got"
    ):
        value("pair-pearson", truth, answers)
