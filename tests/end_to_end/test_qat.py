"""A whole run with quantization-aware training: its stage is judged, and its ranges are those of a candidate."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgepress.compress.model.model import Model
from tests.end_to_end.recipes import (
    ANY_DROP,
    IMAGE,
    TRAINING,
    changed,
    edgepress,
    stage_folder,
    write_image_inputs,
    write_recipe,
)

pytestmark = pytest.mark.slow


def test_a_run_trains_for_int8_and_offers_what_it_trained(tmp_path: Path) -> None:
    write_image_inputs(tmp_path)
    stages = [
        {"qat": {"method": "learned", "recover": TRAINING, **ANY_DROP}},
        {"quantize": {"min_int8_share": 0.05, "candidates": ["int8-qat", "int8-static"], **ANY_DROP}},
    ]
    write_recipe(tmp_path, changed(IMAGE, stages=stages))
    done = edgepress(tmp_path, "run", "recipe.yaml")
    assert done.returncode == 0, done.stderr
    run = tmp_path / "runs" / "image"
    trained, quantized = stage_folder(run, "03-qat"), stage_folder(run, "04-quantize")
    row = json.loads((trained / "row.json").read_text())
    judged = row["details"]["fake_quantized"]
    worse = judged["trained"] < judged["post_training"]
    assert row["verdict"] == ("kept although it did not pay" if worse else "kept")
    assert worse == any("worse than" in reason for reason in row["reasons"])
    assert "7 layers train as int8: learned ranges, affine activations" in row["details"]["plan"]
    assert len(row["details"]["recovery"]["epochs"]) == 2
    # Judged in torch at the best epoch, whose weights and ranges were kept.
    assert judged["trained"] == max(epoch["validation"] for epoch in row["details"]["recovery"]["epochs"])
    assert len(Model.load(trained).ranges) == 7
    selection = json.loads((quantized / "selection-onnxruntime-cpu.json").read_text())
    assert [one["name"] for one in selection["results"]] == ["fp32", "int8-qat", "int8-static"]
    artifact = json.loads((quantized / "artifacts" / "onnxruntime-cpu" / "int8-qat" / "artifact.json").read_text())
    assert "7 of 7 layers have the ranges that the model was trained with" in artifact["notes"]
