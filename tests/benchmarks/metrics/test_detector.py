"""The example of a detector: its grid, its mAP by hand, and a metric of the user's own that a whole run goes by."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from edgepress import Splits, run
from edgepress.benchmarks.metrics import METRICS
from edgepress.benchmarks.metrics.base import value_of
from tests.conftest import ROOT


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    import detector

    monkeypatch.setitem(METRICS, detector.DetectionAP.key, detector.DetectionAP())
    yield detector
    sys.modules.pop("detector", None)


def test_boxes_are_read_from_the_grid_that_says_them(example: Any) -> None:
    boxes = [example.Box(4, 8, 24, 30, 1), example.Box(40, 36, 60, 62, 0)]
    found = example.decoded(example.encoded(boxes))
    assert np.allclose(sorted(found), sorted(boxes), atol=1e-4)


def test_of_two_boxes_of_one_kind_that_overlap_the_surer_one_stays(example: Any) -> None:
    grid = example.encoded([example.Box(4, 4, 24, 24, 1), example.Box(6, 14, 26, 34, 2)])
    grid = grid.reshape(example.GRID, example.GRID, -1)
    grid[2, 1] = grid[1, 1] * [0.5, 1, 0, 1, 1, 1, 1, 1]  # its middle is 2 pixels lower
    assert [(box.kind, box.score) for box in example.decoded(grid)] == [(1, 1.0), (2, 1.0)]


def test_average_precision_is_what_a_pencil_gives(example: Any) -> None:
    """Kind 0: found at ranks 1 and 3, (1/1 + 2/3) / 2; kind 1: one box, never found; no box of kind 2."""
    box = example.Box
    truth = [example.encoded([box(4, 4, 24, 24, 0), box(36, 36, 56, 56, 1)]), example.encoded([box(4, 4, 24, 24, 0)])]
    sure, other, late = box(4, 4, 24, 24, 0), box(36, 36, 56, 56, 0), box(4, 4, 24, 24, 0)
    answers = [example.encoded([sure, other]), example.encoded([late])]
    for grid, scores in zip(answers, ([0.9, 0.8], [0.7]), strict=True):
        cells = grid.reshape(example.GRID, example.GRID, -1)[..., 0]
        cells[cells > 0] = scores
    metric = example.DetectionAP()
    assert value_of(metric, metric.counts(truth, truth)) == 1.0
    assert value_of(metric, metric.counts(truth, answers)) == pytest.approx((1 + 2 / 3) / 2 / 2)


def test_scenes_hold_garments_that_keep_clear_of_each_other(example: Any) -> None:
    images, labels = np.full((4, 28, 28), 200, np.uint8), np.array([1, 7, 8, 3])
    for inputs, grid in example.scenes(images, labels, 20, 0):
        boxes = example.decoded(grid)
        assert inputs["pixels"].shape == (1, 64, 64) and 1 <= len(boxes) <= 4
        assert all(example.overlap(one, two) == 0 for one in boxes for two in boxes if one is not two)


@pytest.mark.slow
def test_a_run_chooses_judges_and_gates_by_a_metric_of_ones_own(example: Any, tmp_path: Any, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    images, labels = random.integers(60, 255, (40, 28, 28), np.uint8), np.tile([1, 7, 8, 8], 10)
    rows = list(example.scenes(images, labels, 160, 0))
    cut = {"stages": [{"quantize": {"max_drop": 1.0, "candidates": ["int8-static"]}}], "targets": ["onnxruntime-cpu"]}
    quick = {"benchmark": {"samples": 30, "warmup": 2}, "gates": {"metrics": {"map-50": {"max_drop": 1.0}}}}
    recipe = type(example.recipe(1)).model_validate(example.recipe(1).model_dump(exclude_unset=True) | cut | quick)
    report = run(recipe, teacher=example.Detector(4), student=example.Detector(2), data=Splits(rows)).report
    assert report.teacher.primary is not None and report.teacher.primary.key == "map-50"
    assert [gate.gate for gate in report.gates] == ["map-50.max_drop"] and report.gates[0].passed
