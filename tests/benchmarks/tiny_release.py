"""A tiny packaged release made by hand, its runner in a process of its own, and records as it writes them."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgepress.compress.release.package import add_runner
from edgepress.targets.device.record import record_sha256

TARGET = "onnxruntime-cpu"
# What a device does not have: the runner must not miss it.
BLOCKED = ("torch", "transformers", "pydantic", "edgepress")
# Python imports this by itself, also in the processes that the runner starts.
BARE = f"""
import sys
for name in {BLOCKED!r}:
    sys.modules[name] = None
"""


def run_bare(
    release: Path,
    *arguments: str,
    python: str | Path = sys.executable,
    before: Sequence[str] = (),
    fakes: Path | None = None,
    runner: str = "run_benchmark.py",
) -> subprocess.CompletedProcess[str]:
    """The runner of a release as a device runs it: in its folder, without torch, transformers or this project.

    `fakes`: a folder whose modules take the place of installed ones. `runner`: how it is named.
    """
    return bare(release, runner, *arguments, python=python, before=before, fakes=fakes)


def bare(
    folder: Path,
    *arguments: str,
    python: str | Path = sys.executable,
    before: Sequence[str] = (),
    fakes: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """Python in an environment that has neither torch nor this project."""
    with tempfile.TemporaryDirectory() as blocking:
        (Path(blocking) / "sitecustomize.py").write_text(BARE)
        path = os.pathsep.join([blocking, *([] if fakes is None else [str(fakes)])])
        variables = {**os.environ, "PYTHONPATH": path, "PYTHONWARNINGS": "error::SyntaxWarning"}
        command = [*before, str(python), *arguments]
        return subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=120)


def tiny_release(folder: Path, scale: float = 1.0, sample: bool = True) -> Path:
    """Logits = 4 pixels x a matrix; of the sample's 4 rows 3 are right, and all agree with the teacher."""
    from onnx import TensorProto, helper, numpy_helper, save

    place = folder / TARGET
    place.mkdir(parents=True)
    weight = numpy_helper.from_array((scale * np.eye(4, 2)).astype(np.float32), "w")
    pixels = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["batch", 4])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["pixels", "w"], ["logits"])], "g", [pixels], [logits], [weight]
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), place / "model.onnx")
    artifact = {
        "name": "fp32", "target": TARGET, "candidate": {"name": "fp32", "precision": "fp32"}, "precision": "fp32",
        "files": [entry(place, "model.onnx")], "parameters": 8, "int8_mac_share": 0.0,
        "programs": {"main": {
            "inputs": [{"name": "pixels", "dtype": "float32", "shape": ["batch", 4]}],
            "outputs": [{"name": "logits", "dtype": "float32", "shape": ["batch", 2]}], "bounds": {"batch": [1, 8]},
        }},
        "comparison": {"samples": 1, "max_abs_diff": 0.0, "agreement": 1.0, "sqnr_db": None},
        "settings": {"disabled_optimizers": [], "spinning": True}, "options": {}, "versions": {},
    }  # fmt: skip
    (place / "artifact.json").write_text(json.dumps(artifact))
    if sample:
        pixels_of_rows = np.eye(4, dtype=np.float32)[[0, 1, 0, 1]]
        teacher = pixels_of_rows[:, :2]
        values = {"input:pixels": pixels_of_rows, "widths": np.zeros(4, np.int64), "labels": np.array([0, 1, 0, 0])}
        np.savez(folder / "sample.npz", **values, teacher=teacher)
    add_runner(folder)
    seal(folder)
    return folder


def entry(folder: Path, path: str) -> dict[str, Any]:
    content = (folder / path).read_bytes()
    return {"path": path, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest(), "shipped": True}


def seal(folder: Path) -> None:
    """`manifest.json` and SHA256SUMS of what lies there."""
    paths = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    own = ("manifest.json", "SHA256SUMS")
    files = [entry(folder, path) for path in paths if path not in own and "__pycache__" not in path]
    manifest = {"format": 1, "name": "tiny", "recipe_digest": "a" * 64, "stage_digest": "b" * 64}
    artifacts = {path.parent.name: "fp32" for path in sorted(folder.glob("*/artifact.json"))}
    (folder / "manifest.json").write_text(json.dumps({**manifest, "artifacts": artifacts, "files": files}))
    seal_sums(folder, files)


def seal_sums(folder: Path, files: Sequence[dict[str, Any]]) -> None:
    """SHA256SUMS of the files and of `manifest.json` as it is."""
    lines = [f"{file['sha256']}  {file['path']}\n" for file in (*files, entry(folder, "manifest.json"))]
    (folder / "SHA256SUMS").write_text("".join(lines))


def write_sealed(path: Path, record: dict[str, Any]) -> Path:
    """`record` with its sha256 computed anew, as a forger would."""
    path.write_text(json.dumps({**record, "record_sha256": record_sha256(record)}))
    return path


def tiny_record(release: Path, **changes: Any) -> dict[str, Any]:
    """A sound record of `tiny_release`, made without running anything."""
    known = {file["path"]: file["sha256"] for file in json.loads((release / "manifest.json").read_text())["files"]}
    samples = [1.0 + 0.001 * number for number in range(11)]
    latency = {
        "batch": 1, "sequence": None, "threads": 1, "pinned": [0], "unit": "ms", "samples": samples, "sittings": [11],
        "p50": 1.005, "p90": None, "p95": None, "p99": None, "p99_9": None, "warmup_rounds": 20, "stable": True,
        "energy_uj": 22000,
    }  # fmt: skip
    accuracy = {
        "rows": 4, "right": 3, "value": 0.75, "agreement": 1.0, "predicted": [0, 1, 0, 1], "labels": [0, 1, 0, 0],
        "teacher": [0, 1, 0, 1],
    }  # fmt: skip
    record = {
        "schema_version": "1.1", "kind": "edgepress-device-record", "name": "tiny", "recipe_digest": "a" * 64,
        "target": TARGET, "artifact": "fp32", "precision": "fp32",
        "files": {path: known[path] for path in (f"{TARGET}/artifact.json", f"{TARGET}/model.onnx")},
        "sample_sha256": known.get("sample.npz"), "runner_sha256": known["run_benchmark.py"], "device": "board",
        "runtime": {"name": "onnxruntime", "version": "1.2", "runs_on": "CPU"},
        "environment": {"cpu": "some CPU", "usable_cores": 1, "logical_cores": 4, "cpu_quota": 1.5, "governor": None,
                        "temperature_before_c": 41.5, "temperature_after_c": 50.0},
        "accuracy": accuracy, "remarks": [], "open_ms": 2.0, "first_inference_ms": 1.5,
        "cold_start_ms": 120.0, "energy_note": "by a meter", "latency": [latency],
        "peak_memory_bytes": 1000, "created": "2026-01-02T03:04:05+00:00",
    }  # fmt: skip
    return {**record, **changes}
