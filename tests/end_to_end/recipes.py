"""Tiny recipes on tiny data, and the command line as users call it."""

from __future__ import annotations

import copy
import hashlib
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from edgepress.compress.pipeline.store import RunFolder
from tests.compress.tiny import tiny_image_data, tiny_text_data, tiny_text_teacher
from tests.conftest import ROOT

BENCHMARK = {"batches": [1], "sequences": [8], "threads": [1], "samples": 11, "warmup": 1, "roofline": False}
TRAINING = {"epochs": 2, "batch_size": 16, "learning_rate": 1e-3}
# Random models on a busy machine: what these recipes test is not whether a stage pays.
ANY_DROP = {"max_drop": 1.0}

TEXT: dict[str, Any] = {
    "name": "text",
    "task": "text-classification",
    "data": {"train": "data/train.jsonl", "test": "data/test.jsonl", "labels": ["LABEL_0", "LABEL_1"],
             "max_length": 32, "calibration": 8, "validation_fraction": 0.2},
    "teacher": {"model": "teacher"},
    "student": {"layers": [1], "heads": 2, "ffn": 16, "embedding_rank": 4},
    "stages": [
        {"distill": {"control": True, "hidden": 1.0, "training": TRAINING}},
        {"prune": {"heads": 0.5, "ffn": 0.5, **ANY_DROP}},
        {"factorize": {"auto": True, "rank": 2, **ANY_DROP}},
        {"quantize": {"min_int8_share": 0.05, "candidates": ["int8-dynamic", "int8-static"], **ANY_DROP}},
    ],
    "targets": ["onnxruntime-cpu"],
    "benchmark": BENCHMARK,
}  # fmt: skip

IMAGE: dict[str, Any] = {
    "name": "image",
    "task": "image-classification",
    "data": {"train": "data/images.npz", "image_size": 16, "calibration": 8, "validation_fraction": 0.2},
    "teacher": {
        "config": {"model_type": "resnet", "num_channels": 1, "embedding_size": 16, "hidden_sizes": [16, 32],
                   "depths": [1, 1], "layer_type": "basic"},
        "training": {"epochs": 1, "batch_size": 16, "learning_rate": 1e-2},
    },
    "stages": [
        {"distill": {"training": TRAINING}},
        {"prune": {"channels": 0.5, **ANY_DROP}},
        {"quantize": {"min_int8_share": 0.05, "candidates": ["int8-static"], **ANY_DROP}},
    ],
    "targets": ["onnxruntime-cpu"],
    "benchmark": BENCHMARK,
}  # fmt: skip

# The smallest whole run: nothing is trained.
PLAIN: dict[str, Any] = TEXT | {"name": "plain", "stages": []}


def changed(recipe: dict[str, Any], **sections: Any) -> dict[str, Any]:
    """A copy with sections replaced; mappings are merged into those that are there."""
    found = copy.deepcopy(recipe)
    for name, value in sections.items():
        found[name] = {**found[name], **value} if isinstance(value, dict) and name in found else value
    return found


def write_recipe(folder: Path, recipe: dict[str, Any], name: str = "recipe.yaml") -> Path:
    path = folder / name
    path.write_text(yaml.safe_dump(recipe, sort_keys=False))
    return path


def write_text_inputs(folder: Path) -> Path:
    """A random BERT and rows for it in `folder`."""
    tiny_text_teacher(folder / "teacher")
    tiny_text_data(folder / "data", 96)
    tiny_text_data(folder / "data", 32, "test.jsonl")
    return folder


def write_image_inputs(folder: Path) -> Path:
    tiny_image_data(folder / "data", 96)
    return folder


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200", "NO_COLOR": "1", **more}


def edgepress(folder: Path, *arguments: str, code: str = "", timeout: float = 250) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, with `folder` as the current one; `code` runs in it before."""
    return subprocess.run(
        command(*arguments, code=code), cwd=folder, env=environment(), capture_output=True, text=True, timeout=timeout
    )


def command(*arguments: str, code: str = "") -> Sequence[str]:
    begin = "from edgepress.compress.cli.app import main\nmain()\n"
    start = f"import sys\nsys.argv = {['edgepress', *arguments]!r}\n{code}\n{begin}"
    return [sys.executable, "-c", start]


def hashes(folder: Path) -> dict[str, str]:
    """Path -> sha256 of every file in a folder."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def stage_folders(run: Path) -> dict[str, Path]:
    """`03-prune` -> its folder, of every finished stage of the recipe that the run is at."""
    records = RunFolder(run.name, run.parent).stages()
    return {f"{number:02d}-{one.key.name}": run / one.key.folder for number, one in enumerate(records, 1)}


def stage_folder(run: Path, label: str) -> Path:
    return stage_folders(run)[label]


def stage_hashes(run: Path) -> dict[str, dict[str, str]]:
    """Of every finished stage of the recipe that the run is at."""
    return {label: hashes(path) for label, path in stage_folders(run).items()}


def leftovers(run: Path) -> list[str]:
    """Whatever a killed process may have left: temporary, scratch and half-written things."""
    found = [path.relative_to(run).as_posix() for path in run.rglob("*") if _temporary(path.name)]
    return sorted(found)


def _temporary(name: str) -> bool:
    return (name.startswith(".") and name != ".lock") or ".tmp" in name or name.endswith(".part")


GENERATE_ALONE = """
import json, sys
sys.modules["torch"] = sys.modules["transformers"] = None
from edgepress.targets import open_bundle
with open_bundle(sys.argv[1]) as bundle:
    print(json.dumps(list(bundle.generate(sys.argv[2]))))
"""
"""A script that generates from a release (argv: its folder, a prompt) where neither torch nor transformers is."""
