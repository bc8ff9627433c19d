"""What quantization-aware training is worth: int8 for ONNX Runtime after training, and trained for it.

    python examples/quantization.py ../shared/data            # all of them
    python examples/quantization.py ../shared/data resnet     # or some

Two small convolutional teachers for clothes (Fashion-MNIST), one of plain and one of depthwise convolutions, are
trained once each; the third is the first one with channels of outliers planted; the last is the teacher of
`examples/sst2.yaml` as it is. Their int8 artifacts: calibrated after
training; the same after as many more steps in float, under the same teacher (the control); and trained with fake
quantization, with observed and with learned ranges. Accuracy is on validation rows that no range was taken from. Prints
a table and writes `examples/results/quantization.json`. One seed: a difference of a point is no finding.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from safetensors.numpy import load_file, save_file

from edgepress import Recipe, run

RESULTS = Path(__file__).resolve().parent / "results" / "quantization.json"
PICTURES = {"train": "vision/fashion_mnist.npz", "image_size": 32, "limit": 6000, "validation_fraction": 0.3333}
REVIEWS = {"train": "text/sst2/train.jsonl.gz", "max_length": 64, "limit": 3000, "validation_fraction": 0.5}
NETWORKS: dict[str, dict[str, Any]] = {
    "resnet": {
        "model_type": "resnet", "num_channels": 1, "embedding_size": 24, "hidden_sizes": [48, 96], "depths": [1, 1],
        "layer_type": "basic", "downsample_in_first_stage": False,
    },
    "mobilenet_v2": {
        "model_type": "mobilenet_v2", "num_channels": 1, "image_size": 32, "depth_multiplier": 0.25, "min_depth": 8,
    },
}  # fmt: skip
EPOCHS = {"resnet": 4, "mobilenet_v2": 10}  # depthwise convolutions learn slowly
OUTLIERS, FACTOR = "outliers", 1000
MINILM = "minilm"
NAMES = (*NETWORKS, OUTLIERS, MINILM)
CANDIDATES = ["int8-qat", "int8-static", "int8-static-percentile", "int8-static-squared-error", "int8-dynamic"]


def arms(network: str) -> dict[str, list[dict[str, Any]]]:
    """The stages before `quantize`, by what the table calls them."""
    short = {"epochs": 1, "batch_size": 32, "learning_rate": 5e-5, "dropout": 0.0}
    training = short if network == MINILM else {"epochs": 2, "batch_size": 32, "learning_rate": 2e-4}
    return {
        "calibrated after training": [],
        "control: more steps in float, then calibrated": [{"distill": {"training": training, "max_drop": 1.0}}],
        "qat, observed ranges": [{"qat": {"method": "observed", "recover": training, "max_drop": 1.0}}],
        "qat, learned ranges": [{"qat": {"method": "learned", "recover": training, "max_drop": 1.0}}],
    }


def recipe(data: Path, runs: str, network: str, stages: list[dict[str, Any]]) -> Recipe:
    """One way to int8, from the same teacher."""
    path = Path(runs) / "recipe.json"
    rows = REVIEWS if network == MINILM else PICTURES
    teacher: dict[str, Any] = {"model": str(data / "models" / "sst2-minilm-teacher")}
    if network == OUTLIERS:
        teacher = {"model": f"{runs}/{OUTLIERS}"}
    elif network != MINILM:
        training = {"epochs": EPOCHS[network], "batch_size": 32, "learning_rate": 2e-3}
        teacher = {"config": NETWORKS[network], "training": training}
    content = {
        "name": network.replace("_", "-"),
        "task": "text-classification" if network == MINILM else "image-classification",
        "data": {**rows, "train": str(data / str(rows["train"]))}, "teacher": teacher, "targets": ["onnxruntime-cpu"],
        "stages": [*stages, {"quantize": {"max_drop": 1.0, "candidates": CANDIDATES}}],
        "benchmark": {"samples": 21, "sequences": [32], "roofline": False},
    }  # fmt: skip
    path.write_text(json.dumps(content))  # JSON is YAML too
    return Recipe.load(str(path))


def plant_outliers(data: Path, runs: str) -> None:
    """The trained resnet with one channel of each block `FACTOR` times as large, and the weights that read it as much
    smaller: the same function in float, and what 8 bits bear badly. Trained transformers have such channels."""
    done = run(recipe(data, runs, "resnet", []), until="teacher", runs=runs)
    source, place = done.folder / done.stages[-1].folder, Path(runs) / OUTLIERS
    place.mkdir()
    for name in ("config.json", "preprocessor_config.json"):
        shutil.copy(source / name, place)
    state = load_file(source / "model.safetensors")
    for name in [name for name in state if name.endswith("layer.0.normalization.weight")]:
        block = name.removesuffix("layer.0.normalization.weight")
        for part in ("weight", "bias"):
            state[f"{block}layer.0.normalization.{part}"][0] *= FACTOR
        state[f"{block}layer.1.convolution.weight"][:, 0] /= FACTOR
    save_file(state, place / "model.safetensors", metadata={"format": "pt"})


def main(data: str, *names: str) -> None:
    """Run every arm of the networks; the results of others stay."""
    asked = names or NAMES
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for network in asked:
            if network == OUTLIERS:
                plant_outliers(Path(data), folder)
            for arm, stages in arms(network).items():
                done = run(recipe(Path(data), folder, network, stages), until="quantize", runs=folder)
                found = figures(done, network, arm)
                print("\n".join(map(line, found)), flush=True)
                rows += found
    known = json.loads(RESULTS.read_text())["artifacts"] if RESULTS.is_file() else []
    rows = [row for row in known if row["network"] not in asked] + rows
    RESULTS.write_text(json.dumps({"artifacts": rows}, indent=1) + "\n")


def figures(done: Any, network: str, arm: str) -> list[dict[str, Any]]:
    """Accuracy of every artifact, and of the fake-quantized model where there is one."""
    folder = done.folder / done.stages[-1].folder
    results = json.loads((folder / "selection-onnxruntime-cpu.json").read_text())["results"]
    found = []
    for one in results:
        values = {metric["key"]: metric["value"] for metric in one["metrics"]}
        found.append((one["name"], values.get("accuracy"), values.get("kl"), one["milliseconds"]))
    row = json.loads((done.folder / done.stages[-2].folder / "row.json").read_text())
    fake = row["details"].get("fake_quantized", {})
    found += [(f"in torch: {name}", fake[name], None, None) for name in ("post_training", "trained") if fake]
    return [
        {"network": network, "arm": arm, "artifact": name, "accuracy": value, "kl": kl, "milliseconds": ms}
        for name, value, kl, ms in found
    ]


def line(row: dict[str, Any]) -> str:
    """A row of the table, as Markdown."""
    accuracy, kl, time = (
        "–" if row[name] is None else f"{row[name]:.4f}" for name in ("accuracy", "kl", "milliseconds")
    )
    return f"| {row['network']} | {row['arm']} | {row['artifact']} | {accuracy} | {kl} | {time} |"


if __name__ == "__main__":
    main(*sys.argv[1:])
