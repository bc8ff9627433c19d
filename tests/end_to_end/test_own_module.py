"""A network of the user's own through every stage: from the command line, and by the example from a script."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.compress.tiny import tiny_image_data
from tests.conftest import ROOT
from tests.end_to_end.recipes import ANY_DROP, BENCHMARK, TRAINING, edgepress, write_recipe

pytestmark = pytest.mark.slow

MODEL = """
import torch
from torch import nn

class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.one = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.two = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x):
        return torch.relu(x + self.two(torch.relu(self.norm(self.one(x)))))

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, padding=1)
        self.block = Block(8)
        self.head = nn.Linear(8, 2)

    def forward(self, pixels):
        features = self.block(torch.relu(self.stem(pixels)))
        return {"logits": self.head(features.mean((2, 3))), "features": features}

def build():
    torch.manual_seed(0)
    return Net()
"""
RECIPE = {
    "name": "own", "task": "image-classification",
    "data": {"train": "images.npz", "image_size": 8, "calibration": 8, "validation_fraction": 0.2},
    "teacher": {"code": "model.py:build", "states": ["stem", "block"], "training": TRAINING},
    "stages": [
        {"distill": {"hidden": 1.0, "training": TRAINING}},
        {"prune": {"channels": 0.5, **ANY_DROP}},
        {"factorize": {"rank": 2, "layers": ["conv"], **ANY_DROP}},
        {"quantize": {"min_int8_share": 0.05, "candidates": ["int8-static"], **ANY_DROP}},
    ],
    "targets": ["onnxruntime-cpu"], "benchmark": BENCHMARK,
}  # fmt: skip


def test_a_network_with_residuals_from_the_command_line(workdir: Path) -> None:
    tiny_image_data(workdir, 96)
    (workdir / "model.py").write_text(MODEL)
    write_recipe(workdir, RECIPE)
    refused = edgepress(workdir, "run", "recipe.yaml")
    assert refused.returncode == 2
    assert "model.py is code and would be run. Read it; if you trust it, give --allow-code." in refused.stderr
    done = edgepress(workdir, "run", "recipe.yaml", "--allow-code")
    assert done.returncode == 0, done.stderr
    report = json.loads((workdir / "runs/own/report/report.json").read_text())
    (chosen,) = [row for row in report["candidates"] if row["chosen"]]
    assert (chosen["precision"], chosen["status"]) == ("int8", "measured")
    stages = {row["kind"]: row for row in report["stages"]}
    assert stages["prune"]["after"]["parameters"] < stages["prune"]["before"]["parameters"]
    assert report["teacher"]["name"] == "model.py:build"
    again = edgepress(workdir, "run", "recipe.yaml")  # nothing is to do, so that nothing is run
    assert again.returncode == 0, again.stderr
    (workdir / "model.py").write_text(MODEL + "# another file\n")
    assert "model.py is code and would be run" in edgepress(workdir, "run", "recipe.yaml").stderr


def test_the_example_hands_module_and_rows_over(workdir: Path) -> None:
    example = ROOT / "examples/own_module.py"
    assert len(example.read_text().splitlines()) <= 40
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, str(example)], cwd=workdir, env=environment, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr
    assert "'onnxruntime-cpu': 0.9" in done.stdout and "'tflite-mobile': 0.9" in done.stdout
