"""What quantization-aware training is worth: int8 for ONNX Runtime after training, and trained for it.

    python examples/quantization.py ../shared/data/vision/fashion_mnist.npz

Two small convolutional teachers for clothes (Fashion-MNIST), one of plain and one of depthwise convolutions, are
trained once each. Their int8 artifacts: calibrated after training; the same after as many more steps in float, under
the same teacher (the control); and trained with fake quantization, with observed and with learned ranges. Accuracy is
on 2,000 validation rows that no range was taken from. Prints a table and writes `examples/results/quantization.json`.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from edgepress import Recipe, run

RESULTS = Path(__file__).resolve().parent / "results" / "quantization.json"
TRAINING = {"epochs": 2, "batch_size": 32, "learning_rate": 2e-4}
EPOCHS = {"resnet": 4, "mobilenet_v2": 10}  # depthwise convolutions learn slowly
NETWORKS: dict[str, dict[str, Any]] = {
    "resnet": {
        "model_type": "resnet", "num_channels": 1, "embedding_size": 24, "hidden_sizes": [48, 96], "depths": [1, 1],
        "layer_type": "basic", "downsample_in_first_stage": False,
    },
    "mobilenet_v2": {
        "model_type": "mobilenet_v2", "num_channels": 1, "image_size": 32, "depth_multiplier": 0.25, "min_depth": 8,
    },
}  # fmt: skip
CANDIDATES = ["int8-qat", "int8-static", "int8-static-percentile", "int8-static-squared-error"]
ARMS: dict[str, list[dict[str, Any]]] = {
    "calibrated after training": [],
    "control: more steps in float, then calibrated": [{"distill": {"training": TRAINING, "max_drop": 1.0}}],
    "qat, observed ranges": [{"qat": {"method": "observed", "recover": TRAINING, "max_drop": 1.0}}],
    "qat, learned ranges": [{"qat": {"method": "learned", "recover": TRAINING, "max_drop": 1.0}}],
}


def recipe(data: str, runs: str, network: str, stages: list[dict[str, Any]]) -> Recipe:
    """One way to int8, from the same teacher."""
    path = Path(runs) / "recipe.json"
    content = {
        "name": network.replace("_", "-"), "task": "image-classification", "targets": ["onnxruntime-cpu"],
        "data": {"train": data, "image_size": 32, "limit": 6000, "validation_fraction": 0.3333},
        "teacher": {
            "config": NETWORKS[network],
            "training": {"epochs": EPOCHS[network], "batch_size": 32, "learning_rate": 2e-3},
        },
        "stages": [*stages, {"quantize": {"max_drop": 1.0, "candidates": CANDIDATES}}],
        "benchmark": {"samples": 21, "roofline": False},
    }  # fmt: skip
    path.write_text(json.dumps(content))  # JSON is YAML too
    return Recipe.load(str(path))


def main(data: str) -> None:
    """Run every arm of every network."""
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for network in NETWORKS:
            for arm, stages in ARMS.items():
                done = run(recipe(data, folder, network, stages), until="quantize", runs=folder)
                rows += figures(done, network, arm)
                print("\n".join(line(row) for row in rows if row["arm"] == arm and row["network"] == network))
    RESULTS.write_text(json.dumps({"artifacts": rows}, indent=1) + "\n")


def figures(done: Any, network: str, arm: str) -> list[dict[str, Any]]:
    """Accuracy of every artifact, and of the fake-quantized model where there is one."""
    folder = done.folder / done.stages[-1].folder
    results = json.loads((folder / "selection-onnxruntime-cpu.json").read_text())["results"]
    found = [(one["name"], one["metrics"][0]["value"], one["milliseconds"]) for one in results if one["metrics"]]
    row = json.loads((done.folder / done.stages[-2].folder / "row.json").read_text())
    fake = row["details"].get("fake_quantized", {})
    found += [(f"in torch: {name}", fake[name], None) for name in ("post_training", "trained") if fake]
    return [
        {"network": network, "arm": arm, "artifact": name, "accuracy": value, "milliseconds": ms}
        for name, value, ms in found
    ]


def line(row: dict[str, Any]) -> str:
    """A row of the table, as Markdown."""
    time = "–" if row["milliseconds"] is None else f"{row['milliseconds']:.3f}"
    return f"| {row['network']} | {row['arm']} | {row['artifact']} | {row['accuracy']:.4f} | {time} |"


if __name__ == "__main__":
    main(sys.argv[1])
