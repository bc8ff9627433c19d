"""A backend that is installed and broken is told as that, never as missing; and one backend never loads another."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from edgepress import targets
from tests.end_to_end.recipes import command, environment

# What each target loads when it is asked whether it can run.
LOADED = {
    "onnxruntime-cpu": "onnxruntime",
    "tensorrt-gpu": "tensorrt_rtx",
    "openvino": "openvino",
    "tflite-mobile": "ai_edge_litert",
    "xla-tpu": "jax",
}
FAULT = "libmissing.so.1: cannot open shared object file: No such file or directory"
# Packages of the backends, each with the only targets that may load it. litert-torch itself is made with jax, and
# TensorRT's graph is written and checked with ONNX Runtime's tools.
OWNERS = {
    "onnxruntime": ("onnxruntime-cpu", "openvino", "tensorrt-gpu"),
    "onnx": ("onnxruntime-cpu", "openvino", "tensorrt-gpu"),
    "openvino": ("openvino",),
    "nncf": ("openvino",),
    "tensorrt_rtx": ("tensorrt-gpu",),
    "litert_torch": ("tflite-mobile",),
    "ai_edge_litert": ("tflite-mobile",),
    "ai_edge_quantizer": ("tflite-mobile",),
    "jax": ("xla-tpu", "tflite-mobile"),
    "libtpu": ("xla-tpu",),
}
EXPORT = """
import sys
from pathlib import Path
from edgepress import targets
from edgepress.targets.records import Artifact
from tests.targets.tiny import make_calibration, make_feeds, make_model

model, target = make_model("resnet"), targets.load(sys.argv[1])
candidates = [target.candidates(model, precision)[0] for precision in ("fp32", "int8")]
rows = make_calibration(model.signature)
for artifact in target.export_all(model, rows, candidates, Path(sys.argv[2])):
    assert isinstance(artifact, Artifact), artifact
    with targets.open_numbers(artifact, Path(sys.argv[2]) / artifact.name) as session:
        assert session.infer(rows[0])["logits"].shape == (4, 3)
"""


def write_broken(folder: Path, package: str, line: str) -> Path:
    """A package of that name whose import ends with `line`; `folder` comes first on the path."""
    (folder / package).mkdir(parents=True)
    (folder / package / "__init__.py").write_text(line + "\n")
    return folder


def missing(name: str) -> bool:
    return targets.load(name).probe().state == "missing"


@pytest.mark.slow
@pytest.mark.parametrize("name", LOADED)
def test_a_broken_backend_is_told_beside_the_others_and_the_exit_code_is_1(
    name: str, tmp_path: Path, root: Path
) -> None:
    package = LOADED[name]
    broken = write_broken(tmp_path / "path", package, f"raise ImportError({FAULT!r})")
    variables = environment(PYTHONPATH=f"{broken}:{root}")
    done = subprocess.run(
        command("targets", "--json"), cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=120
    )
    events = [json.loads(line) for line in (done.stdout + done.stderr).splitlines()]
    rows = {row[0]: row[1:] for event in events if event["event"] == "table" for row in event["rows"]}
    assert set(rows) == set(targets.TARGETS) and done.returncode == 1
    assert [other for other, row in rows.items() if row[0] == "broken"] == [name]
    state, reason, remedy = rows[name]
    assert state == "broken" and "is installed and cannot be loaded: ImportError: " + FAULT in reason
    assert remedy.startswith(f"remove {package} and install it again: pip install")
    (told,) = [event for event in events if event["event"] == "error"]
    assert f"{name}: {package}" in json.dumps(told) and FAULT in json.dumps(told)


@pytest.mark.slow
@pytest.mark.skipif(missing("tflite-mobile"), reason="the extra tflite is not installed")
def test_a_converter_that_cannot_be_loaded_is_told_by_the_export(tmp_path: Path, root: Path) -> None:
    broken = write_broken(tmp_path / "path", "litert_torch", f"raise ImportError({FAULT!r})")
    told = run_export("tflite-mobile", tmp_path, f"{broken}:{root}")
    assert told.returncode == 1
    assert f"TargetError: the conversion failed: ImportError: {FAULT}" in told.stderr


def run_export(name: str, folder: Path, path: str) -> subprocess.CompletedProcess[str]:
    call = [sys.executable, "-c", EXPORT, name, str(folder / "out")]
    return subprocess.run(call, env=environment(PYTHONPATH=path), capture_output=True, text=True, timeout=280)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in LOADED if not missing(name)])
def test_a_backend_exports_and_runs_where_no_other_can_be_loaded(name: str, tmp_path: Path, root: Path) -> None:
    """Child processes take over the path, so they are held to it too."""
    for package, owners in OWNERS.items():
        if name not in owners:
            write_broken(tmp_path / "path", package, "raise AssertionError(f'{__name__} was loaded')")
    done = run_export(name, tmp_path, f"{tmp_path / 'path'}:{root}")
    assert done.returncode == 0, done.stderr[-3000:]
