"""Masks of pictures through a run, packaged, measured on a device, and answered without torch."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepress import targets
from edgepress.benchmarks.devices.record import read_record
from tests.benchmarks.tiny_release import run_bare
from tests.compress.tiny import tiny_scenes, tiny_segmenter_config
from tests.end_to_end.conftest import finish, made_once
from tests.end_to_end.recipes import BENCHMARK, TRAINING, edgepress, environment

TARGETS = ["onnxruntime-cpu"]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        any(targets.probe_all()[name].state == "missing" for name in TARGETS), reason="a target's extra is missing"
    ),
]
CONFIG = {**tiny_segmenter_config().to_diff_dict(), "model_type": "segformer"}
RECIPE: dict[str, Any] = {
    "name": "masks",
    "task": "image-segmentation",
    "data": {"train": "train.jsonl", "test": "test.jsonl", "columns": {"label": "mask"}, "calibration": 8,
             "labels": ["black", "bright", "dim"], "validation_fraction": 0.2},
    "teacher": {
        "config": {name: value for name, value in CONFIG.items() if name not in ("id2label", "label2id", "num_labels")},
        "training": {"epochs": 12, "batch_size": 16, "learning_rate": 1e-2},
    },
    "stages": [
        {"distill": {"training": TRAINING}},
        {"quantize": {"min_int8_share": 0.05, "candidates": ["int8-static"], "max_drop": 1.0}},
    ],
    "targets": TARGETS,
    "benchmark": BENCHMARK,
    "gates": {"metrics": {"mean-iou": {"min": 0.4, "max_drop": 0.5}}},
}  # fmt: skip
ALONE = """
import json, sys
import numpy as np
sys.modules["torch"] = sys.modules["transformers"] = None
from edgepress.targets import open_bundle
with open_bundle(sys.argv[1]) as bundle:
    answers = bundle.predict([sys.argv[2], np.full((20, 48), 250, np.uint8)], batch=2)
    assert bundle.labels == ("black", "bright", "dim")
print(json.dumps([[answer.labels, answer.scores, answer.mask.dtype.name, answer.mask.tolist()] for answer in answers]))
"""


def write_inputs(folder: Path) -> Path:
    tiny_scenes(folder, "train", 128)
    tiny_scenes(folder, "test", 24)
    return folder


@pytest.fixture(scope="session")
def run(shared_folder: Path) -> Path:
    """A folder with `runs/masks`, finished and packaged; not to be changed."""

    def make(folder: Path) -> None:
        finish(RECIPE, write_inputs)(folder)
        done = edgepress(folder, "package", "runs/masks")
        assert done.returncode == 0, done.stderr
        assert "24 test rows travel with it" in done.stdout

    return made_once(shared_folder / "masks", make) / "runs/masks"


def test_the_run_ends_with_an_int8_artifact_judged_by_mean_iou(run: Path) -> None:
    report = json.loads((run / "report/report.json").read_text())
    chosen = {row["target"]: row for row in report["candidates"] if row["chosen"]}
    assert list(chosen) == TARGETS and {row["precision"] for row in chosen.values()} == {"int8"}
    found = {one["key"]: one for one in chosen["onnxruntime-cpu"]["metrics"]}
    assert found["mean-iou"]["primary"] and 0.4 < found["mean-iou"]["low"] < found["mean-iou"]["value"]
    assert found["pixel-accuracy"]["value"] > found["mean-iou"]["value"]
    assert found["pixel-agreement"]["value"] > 0.8 and found["sqnr"]["value"] > 5
    assert chosen["onnxruntime-cpu"]["batch_check"]["agreement"] > 0.9


def test_masks_of_the_pictures_size_are_answered_without_torch_and_transformers(run: Path) -> None:
    picture = run.parents[1] / "test/0-image.png"
    done = subprocess.run(
        [sys.executable, "-c", ALONE, str(run / "release"), str(picture)],
        env=environment(), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    first, second = json.loads(done.stdout)
    mask = np.array(first[3])
    assert first[0][0] == "black" and first[2] == "uint8" and mask.shape == (32, 32)
    for name, number in zip(("black", "bright", "dim"), range(3), strict=True):
        assert first[1].get(name, 0.0) == pytest.approx(float((mask == number).mean()))
    assert np.shape(second[3]) == (20, 48)


def test_a_device_compares_the_pixels_of_the_sample(run: Path, tmp_path: Path) -> None:
    release = shutil.copytree(run / "release", tmp_path / "device")
    done = run_bare(release, "--target", "onnxruntime-cpu", "--samples", "11")
    assert done.returncode == 0, done.stderr
    with np.load(release / "sample.npz") as sample:
        pixels = int((sample["labels"] != -100).sum())
        assert sample["teacher"].shape == (24, 3, 8, 8) and sample["labels"].shape == (24, 32, 32)
    assert f" of {pixels} answers), agreement with the teacher" in done.stdout
    record = read_record(release / "record.json")
    assert record.accuracy is not None and record.accuracy.rows == pixels
    shutil.copytree(run.parents[1] / "runs", tmp_path / "runs")
    added = edgepress(tmp_path, "report", "add", "runs/masks", str(release / "record.json"))
    assert (added.returncode, added.stderr) == (0, "")
