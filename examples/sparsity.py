"""What sparsity costs in accuracy and is worth in bytes: methods side by side at 50, 75 and 90 % of zeros.

    python examples/sparsity.py ../shared/data/vision/fashion_mnist.npz

One small convolutional teacher for clothes (Fashion-MNIST) is trained once; each method prunes it with the same rows,
steps and seed. Accuracy is on validation rows; bytes are of the fp32 artifact for ONNX Runtime, plain and after zstd
at level 10. Prints a table and writes `examples/results/sparsity.json`. About ten minutes on one core.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from edgepress import Recipe, run

RESULTS = Path(__file__).resolve().parent / "results" / "sparsity.json"
SPARSITIES = (0.5, 0.75, 0.9)
RECOVERY = {"epochs": 2, "batch_size": 32, "learning_rate": 1e-3}
PATTERNS = {0.5: (2, 4), 0.75: (1, 4)}


def methods(sparsity: float) -> dict[str, dict[str, Any]]:
    """What a recipe says of each method, by its name in the table."""
    schedule = {"sparsity": sparsity, "recover": RECOVERY}
    found = {
        "magnitude, one shot, no recovery": {"method": "magnitude", "sparsity": sparsity},
        "magnitude, one shot": {"method": "magnitude", **schedule},
        "magnitude, one shot, global": {"method": "magnitude", "scope": "global", **schedule},
        "magnitude, cubic": {"method": "magnitude", "schedule": "cubic", **schedule},
        "magnitude, cubic, global": {"method": "magnitude", "schedule": "cubic", "scope": "global", **schedule},
        "magnitude, cubic, erdos-renyi": {
            "method": "magnitude",
            "schedule": "cubic",
            "scope": "erdos-renyi",
            **schedule,
        },
        "movement": {"method": "movement", **schedule},
        "movement, erdos-renyi": {"method": "movement", "scope": "erdos-renyi", **schedule},
        "SET": {"method": "set", **schedule},
        "RigL": {"method": "rigl", **schedule},
    }
    if sparsity in PATTERNS:
        n, m = PATTERNS[sparsity]
        found[f"{n}:{m}"] = {"method": "n_of_m", "n": n, "m": m, "recover": RECOVERY}
    return found


def recipe(data: str, runs: str, prune: dict[str, Any]) -> Recipe:
    """One pruning of the same teacher."""
    path = Path(runs) / "recipe.json"
    network = {
        "model_type": "resnet", "num_channels": 1, "embedding_size": 24, "hidden_sizes": [48, 96], "depths": [1, 1],
        "layer_type": "basic", "downsample_in_first_stage": False,
    }  # fmt: skip
    content = {
        "name": "sparsity", "task": "image-classification", "targets": ["onnxruntime-cpu"],
        "data": {"train": data, "image_size": 32, "limit": 8000, "validation_fraction": 0.25},
        "teacher": {"config": network, "training": {"epochs": 4, "batch_size": 32, "learning_rate": 2e-3}},
        "stages": [{"prune": {**prune, "max_drop": 1.0}}], "benchmark": {"samples": 21, "roofline": False},
    }  # fmt: skip
    path.write_text(json.dumps(content))  # JSON is YAML too
    return Recipe.load(str(path))


def main(data: str) -> None:
    """Run every method at every sparsity."""
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for sparsity in SPARSITIES:
            for name, options in methods(sparsity).items():
                done = run(recipe(data, folder, options), until="prune", runs=folder)
                rows.append({"method": name, "sparsity": sparsity} | figures(done))
                print(line(rows[-1]), flush=True)
    RESULTS.write_text(json.dumps({"pruned": rows}, indent=1) + "\n")


def figures(done: Any) -> dict[str, Any]:
    """What the stage's row says: of the model before, and of the pruned one."""
    row = json.loads((done.folder / done.stages[-1].folder / "row.json").read_text())
    before, after = row["before"], row["after"]
    ratios = [old["p50"] / new["p50"] for old, new in zip(before["latency"], after["latency"], strict=True)]
    return {
        "teacher_accuracy": before["metrics"][0]["value"], "accuracy": after["metrics"][0]["value"],
        "zeros": after["exported_zeros"]["zeros"] / after["exported_zeros"]["weights"], "bytes": after["bytes"],
        "zstd_bytes": after["zstd_bytes"], "teacher_zstd_bytes": before["zstd_bytes"], "speedup": ratios[0],
    }  # fmt: skip


def line(row: dict[str, Any]) -> str:
    """A row of the table, as Markdown."""
    figures = f"{row['accuracy']:.4f} | {row['zeros']:.1%} | {row['bytes']:,} | {row['zstd_bytes']:,}"
    return f"| {row['sparsity']:.0%} | {row['method']} | {figures} | {row['speedup']:.2f}x |"


if __name__ == "__main__":
    main(sys.argv[1])
