"""One model for four targets, one of which lacks an operation of it: the others go on, and the exit code tells."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgepress import targets
from tests.end_to_end.conftest import made_once
from tests.end_to_end.recipes import PLAIN, changed, edgepress, write_recipe, write_text_inputs

FOUR = ["onnxruntime-cpu", "tensorrt-gpu", "tflite-mobile", "xla-tpu"]
# An activation that ONNX, TensorRT and TFLite have, and our table for XLA has not.
UNUSUAL = """
import torch
from transformers.activations import ACT2FN

class Arc(torch.nn.Module):
    def forward(self, x):
        return torch.atan(x)

ACT2FN["gelu"] = Arc
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        any(found.state == "missing" for found in targets.probe_all().values()), reason="a target's extra is missing"
    ),
]


@pytest.fixture(scope="session")
def four(shared_folder: Path) -> Path:
    """A folder with the finished run `runs/plain`, what it printed, and its exit code."""

    def make(folder: Path) -> None:
        write_text_inputs(folder)
        write_recipe(folder, changed(PLAIN, targets=FOUR))
        done = edgepress(folder, "run", "recipe.yaml", code=UNUSUAL, timeout=280)
        (folder / "stderr").write_text(done.stderr)
        (folder / "code").write_text(str(done.returncode))

    return made_once(shared_folder / "four", make)


@pytest.fixture
def rows(four: Path) -> dict[str, dict[str, Any]]:
    """The row of each target's own artifact, or of its absence."""
    report = json.loads((four / "runs/plain/report/report.json").read_text())
    return {row["target"]: row for row in report["candidates"] if row["chosen"] or row["name"] == "no artifact"}


def test_each_target_has_its_row_and_says_what_it_is(rows: dict[str, dict[str, Any]]) -> None:
    states = {name: row["status"] for name, row in rows.items()}
    here = "measured" if targets.load("tensorrt-gpu").probe().state == "available" else "built"
    assert states == {
        "onnxruntime-cpu": "measured",
        "tensorrt-gpu": here,
        "tflite-mobile": "measured",
        "xla-tpu": "failed",
    }


def test_the_one_that_refuses_names_the_operation_and_its_module(rows: dict[str, dict[str, Any]]) -> None:
    reason = rows["xla-tpu"]["reason"]
    assert "\n" not in reason
    assert (
        "no form of aten.atan.default (in module 'network.bert.encoder.layer.0.intermediate.intermediate_act_fn', Arc)"
        in reason
    )


def test_the_exit_code_is_1_and_the_last_line_is_the_reason(four: Path, rows: dict[str, dict[str, Any]]) -> None:
    last = (four / "stderr").read_text().splitlines()[-1]
    assert (four / "code").read_text() == "1"
    assert last == f"error: {rows['xla-tpu']['reason']}"


def test_the_release_holds_the_three_that_were_made(four: Path) -> None:
    made = {path.parent.name for path in (four / "runs/plain/release").rglob("artifact.json")}
    assert made == set(FOUR) - {"xla-tpu"}
