"""Metrics of a class for each pixel: by hand, and how coarse logits are brought to the size of the labels."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from edgepress.benchmarks.judge.fidelity import judge
from edgepress.benchmarks.metrics import METRICS
from edgepress.benchmarks.metrics.base import IGNORED, value_of
from edgepress.targets.errors import BenchmarkError
from edgepress.targets.preprocess.bilinear import interpolated

LABELS = np.array([[[0, 0, 1], [1, 1, IGNORED]], [[2, 2, 0], [0, 0, 0]]], np.int16)
SAID = np.array([[[0, 1, 1], [1, 0, 2]], [[2, 0, 0], [0, 0, 0]]])


def logits_of(classes: np.ndarray, count: int = 4) -> np.ndarray:
    """Logits `[rows, classes, height, width]` whose largest are these."""
    return np.moveaxis(np.eye(count, dtype=np.float32)[classes], -1, 1)


def value(key: str, truth: np.ndarray, answers: np.ndarray) -> float:
    return value_of(METRICS[key], METRICS[key].counts(truth, answers))


def test_mean_iou_is_worked_by_hand_over_the_pixels_of_all_rows() -> None:
    """Class 0: 5 found, 2 false, 1 missed; class 1: 2, 1, 1; class 2: 1, 0, 1; nobody names class 3, and the pixel that
    is not judged is no false 2."""
    counts = METRICS["mean-iou"].counts(LABELS, logits_of(SAID))
    assert counts.tolist() == [[1, 2, 0, 0, 1, 1, 0, 0, 1, 1, 0, 0], [4, 0, 1, 0, 1, 0, 0, 0, 0, 0, 1, 0]]
    assert value("mean-iou", LABELS, logits_of(SAID)) == pytest.approx((5 / 8 + 2 / 4 + 1 / 2) / 3)
    assert value("pixel-accuracy", LABELS, logits_of(SAID)) == pytest.approx(8 / 11)


def test_a_row_without_judged_pixels_counts_nowhere() -> None:
    labels = np.concatenate([LABELS, np.full((1, 2, 3), IGNORED)])
    logits = logits_of(np.concatenate([SAID, SAID[:1]]))
    for key in ("mean-iou", "pixel-accuracy"):
        assert value(key, labels, logits) == pytest.approx(value(key, LABELS, logits_of(SAID)))
    assert math.isnan(value("mean-iou", labels[2:], logits[2:]))


@pytest.mark.parametrize("size", [(32, 32), (5, 9), (8, 8), (3, 2), (1, 1)])
def test_maps_are_interpolated_as_torch_does_it(size: tuple[int, int]) -> None:
    maps = np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype(np.float32)
    wanted = interpolate(torch.from_numpy(maps), size, mode="bilinear", align_corners=False).numpy()
    assert interpolated(maps, size) == pytest.approx(wanted, abs=1e-5)
    assert interpolated(maps, size).dtype == np.float32


def test_coarse_logits_are_judged_at_the_size_of_the_labels() -> None:
    """Of the logits 3, -1 the four pixels have 3, 2, 0, -1; against 1 the first two are of class 0."""
    logits = np.array([[[[3.0, -1.0]], [[1.0, 1.0]]]], np.float32)
    assert value("pixel-accuracy", np.array([[[0, 0, 1, 1]]]), logits) == 1.0
    assert value("pixel-accuracy", np.array([[[0, 1, 1, 1]]]), logits) == 0.75


def test_agreement_and_noise_are_taken_on_the_finer_grid() -> None:
    coarse = np.array([[[[3.0, -1.0]], [[1.0, 1.0]]]], np.float32)
    fine = logits_of(np.array([[[0, 1, 1, 1]]]), 2)
    assert value("pixel-agreement", coarse, fine) == value("pixel-agreement", fine, coarse) == 0.75
    # The coarse ones are 3, 2, 0, -1 and 1, 1, 1, 1 there: power 18, difference 2, 2, 0, -1 and 1, 0, 0, 0.
    assert value("sqnr", coarse, fine) == pytest.approx(10 * math.log10(18 / 10))


def test_the_interval_of_mean_iou_is_that_of_pictures_drawn_again() -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, (60, 4, 4))
    teacher = logits_of(np.where(random.random(labels.shape) < 0.9, labels, 0), 3)
    worse = logits_of(np.where(random.random(labels.shape) < 0.6, labels, 0), 3)
    figure, *_ = judge(["mean-iou", "pixel-agreement"], labels, teacher, worse)
    assert figure.low is not None and figure.high is not None and figure.difference_high is not None
    assert figure.low < figure.value < figure.high and figure.difference_high < 0
    assert figure.difference == pytest.approx(figure.value - value("mean-iou", labels, teacher))


def test_maps_that_do_not_fit_are_refused() -> None:
    words = (
        r"mean-iou needs labels \[rows, height, width\] and logits \[rows, classes, height, width\] .*got \[2, 2, 3\] "
    )
    with pytest.raises(BenchmarkError, match=words + r"and \[2, 4\]"):
        METRICS["mean-iou"].counts(LABELS, np.zeros((2, 4)))
    with pytest.raises(BenchmarkError, match=r"pixel-agreement needs two logits .*\[2, 4, 2, 3\] and \[2, 3, 2, 3\]"):
        METRICS["pixel-agreement"].counts(logits_of(SAID), logits_of(SAID, 3))
    with pytest.raises(BenchmarkError, match=r"don't fit: give logits"):
        judge(["mean-iou"], LABELS, logits_of(SAID), logits_of(SAID, 3))
