"""A detector of your own, judged by its boxes: an own module, and mAP at IoU 0.5 as a metric of your own.

    python examples/detector.py ../shared/data/vision/fashion_mnist.npz

Scenes of up to four garments of Fashion-MNIST, each of three kinds at a size and place of its own. The network is a
small one-stage detector (YOLO, arXiv 1506.02640): a grid of 8 x 8 cells, and for each cell eight numbers, which squared
error teaches as in that paper: is there a garment's middle, where in the cell, its width and height, and its kind. So
the task is `array-regression`, whose own figure, RMSE, says nothing of boxes; `DetectionAP` below does, and candidates,
gates and the report go by it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import nn

from edgepress import Recipe, Splits, run
from edgepress.benchmarks.metrics import METRICS
from edgepress.benchmarks.metrics.base import Against, Unit, mean_of_known, ratio, same_rows

KINDS = {1: "trouser", 7: "sneaker", 8: "bag"}
SIDE, CELL, LONGEST = 64, 8, 32
GRID, NUMBERS = SIDE // CELL, 5 + len(KINDS)
LEAST_SCORE, OVERLAP = 0.1, 0.5


class Box(NamedTuple):
    """Corners in pixels, the kind's number, and how sure the detector is (1 in the truth)."""

    left: float
    top: float
    right: float
    bottom: float
    kind: int
    score: float = 1.0


def overlap(one: Box, other: Box) -> float:
    """Intersection over union, 0..1.

    >>> overlap(Box(0, 0, 4, 4, 0), Box(2, 0, 6, 4, 0))  # 8 of 24
    0.3333333333333333
    """
    width = min(one.right, other.right) - max(one.left, other.left)
    height = min(one.bottom, other.bottom) - max(one.top, other.top)
    shared = max(width, 0.0) * max(height, 0.0)
    areas = sum((box.right - box.left) * (box.bottom - box.top) for box in (one, other))
    return shared / (areas - shared) if shared else 0.0


def encoded(boxes: list[Box]) -> np.ndarray:
    """The grid that says these boxes, float32 `[GRID * GRID * NUMBERS]`."""
    grid = np.zeros((GRID, GRID, NUMBERS), np.float32)
    for box in boxes:
        x, y = (box.left + box.right) / 2 / CELL, (box.top + box.bottom) / 2 / CELL
        size = (box.right - box.left) / LONGEST, (box.bottom - box.top) / LONGEST
        grid[int(y), int(x), :5] = 1, x % 1, y % 1, *size
        grid[int(y), int(x), 5 + box.kind] = 1
    return grid.reshape(-1)


def decoded(numbers: np.ndarray) -> list[Box]:
    """The boxes of a grid, surest first; of two of one kind that overlap by more than half, the surer one."""
    grid, found = np.asarray(numbers, np.float64).reshape(GRID, GRID, NUMBERS), []
    for row, column in np.argwhere(grid[..., 0] > LEAST_SCORE):
        score, dx, dy, width, height = grid[row, column, :5]
        x, y, half = (column + dx) * CELL, (row + dy) * CELL, LONGEST / 2
        kind = int(grid[row, column, 5:].argmax())
        found.append(Box(x - width * half, y - height * half, x + width * half, y + height * half, kind, float(score)))
    kept: list[Box] = []
    for box in sorted(found, key=lambda box: -box.score):
        if all(box.kind != other.kind or overlap(box, other) <= OVERLAP for other in kept):
            kept.append(box)
    return kept


class DetectionAP:
    """Mean over the kinds of average precision at an IoU of 0.5: of each box that was found, the share of right ones
    among all that are as sure. A box of the truth is found once. A resample of rows keeps the ranks of all boxes.

    References: Everingham et al., IJCV 88(2), 2010, section 4.2, without interpolation.
    """

    key, name = "map-50", "mAP at IoU 0.5"
    unit: Unit = "share"
    higher_is_better = True
    against: Against = "labels"

    def counts(self, truth: Any, answers: Any) -> np.ndarray:
        """`[rows, 2 * kinds]`: the precision at each box that was found, summed over the row; then its true boxes."""
        same_rows(self.key, truth, answers)
        rows, kinds = len(truth), len(KINDS)
        precision, present, ranked = np.zeros((rows, kinds)), np.zeros((rows, kinds)), []
        for row, (wanted, got) in enumerate(zip(truth, answers, strict=True)):
            left = decoded(wanted)
            for box in left:
                present[row, box.kind] += 1
            for box in decoded(got):
                best = max(
                    (one for one in left if one.kind == box.kind), key=lambda one: overlap(one, box), default=None
                )
                right = best is not None and overlap(best, box) >= OVERLAP
                if right:
                    left.remove(best)
                ranked.append((-box.score, row, box.kind, right))
        for kind in range(kinds):
            ours = sorted(each for each in ranked if each[2] == kind)
            hits = np.cumsum([right for *_, right in ours])
            for place, (_, row, _, right) in enumerate(ours):
                precision[row, kind] += right * hits[place] / (place + 1)
        return np.concatenate([precision, present], axis=1)

    def value(self, means: np.ndarray) -> np.ndarray:
        """mAP, `[...]`; kinds without a true box are left out."""
        return mean_of_known(ratio(*np.split(means, 2, axis=-1)))


class Detector(nn.Module):
    """Pictures `pixels` `[batch, 1, 64, 64]` -> the grid's numbers `[batch, 512]`."""

    def __init__(self, width: int) -> None:
        super().__init__()
        widths = (1, width, 2 * width, 4 * width)
        steps = pairwise(widths)
        self.body = nn.Sequential(*(layer for one, two in steps for layer in _block(one, two, 2)))
        self.deep = nn.Sequential(*_block(widths[-1], widths[-1], 1), *_block(widths[-1], widths[-1], 1))
        self.head = nn.Conv2d(widths[-1], NUMBERS, 1)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        features = self.body(pixels)
        return self.head(features + self.deep(features)).permute(0, 2, 3, 1).flatten(1)


def _block(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]


def scenes(images: np.ndarray, labels: np.ndarray, rows: int, seed: int) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
    """(pixels in 0..1 `[1, 64, 64]`, grid) of scenes; garments keep clear of each other.

    Args:
        images: uint8 `[pictures, 28, 28]`.
        labels: class of each.
        rows: scenes.
        seed: of what stands where.
    """
    random, kinds = np.random.default_rng(seed), list(KINDS)
    chosen = np.flatnonzero(np.isin(labels, kinds))
    for _ in range(rows):
        canvas, boxes = np.zeros((SIDE, SIDE), np.float32), []
        for number in random.choice(chosen, random.integers(1, 5)):
            size = int(random.integers(18, LONGEST + 1))
            tile = np.asarray(Image.fromarray(images[number]).resize((size, size)), np.float32) / 255
            top, left = random.integers(0, SIDE - size + 1, 2)
            ys, xs = np.nonzero(tile > 0.1)
            corners = (left + xs.min(), top + ys.min(), left + xs.max() + 1, top + ys.max() + 1)
            box = Box(*map(float, corners), kinds.index(int(labels[number])))
            if all(overlap(box, other) == 0 for other in boxes):
                canvas[top : top + size, left : left + size] = np.maximum(
                    canvas[top : top + size, left : left + size], tile
                )
                boxes.append(box)
        yield {"pixels": canvas[None]}, encoded(boxes)


def recipe(epochs: int) -> Recipe:
    """Teacher, student, channels, int8 for two targets; everything is chosen by mAP."""
    training = {"epochs": epochs, "batch_size": 32, "learning_rate": 0.003}
    return Recipe.model_validate({
        "name": "detector", "task": "array-regression", "metric": DetectionAP.key,
        "data": {"train": "python", "validation_fraction": 0.1, "calibration": 64},
        "teacher": {"code": "python", "training": training}, "student": {"code": "python"},
        "stages": [{"distill": {"training": training}},
                   {"prune": {"channels": 0.25, "max_drop": 0.02, "recover": training}},
                   {"quantize": {"max_drop": 0.02}}],
        "targets": ["onnxruntime-cpu", "tflite-mobile"],
        "gates": {"metrics": {DetectionAP.key: {"max_drop": 0.05}}},
    })  # fmt: skip


def main(source: Path, rows: int = 4000, epochs: int = 12) -> None:
    """Train, compress and measure; prints what was reached.

    Args:
        source: fashion_mnist.npz.
        rows: scenes to train on; a quarter more is the test split.
        epochs: of each training.
    """
    METRICS[DetectionAP.key] = DetectionAP()
    with np.load(source, allow_pickle=False) as arrays:
        splits = [
            list(scenes(arrays[f"x_{split}"], arrays[f"y_{split}"], count, seed))
            for seed, (split, count) in enumerate((("train", rows), ("test", rows // 4)))
        ]
    done = run(recipe(epochs), teacher=Detector(32), student=Detector(12), data=Splits(splits[0], test=splits[1]))
    for row in (done.report.teacher, *(row for row in done.report.candidates if row.chosen)):
        figure = row.primary
        print(row.target, row.name, row.bytes, "bytes", figure and f"{figure.name} {figure.value:.4f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
