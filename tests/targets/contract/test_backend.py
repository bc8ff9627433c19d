"""What `Backend` does for every target, whatever its hooks do or forget."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from torch import nn

from edgepress import targets
from edgepress.targets.backend import Backend
from edgepress.targets.errors import ArtifactError, SignatureError, TargetError
from edgepress.targets.hooks import Made, Source
from edgepress.targets.pytorch import PyTorch
from edgepress.targets.records import Artifact, Candidate, Description, MacCount, Refusal, Signature, TensorSpec

FP32 = Candidate(name="fp32", precision="fp32")
INT8 = Candidate(name="int8", precision="int8")


class Rows:
    """A module of `[batch, 3]` rows as targets see a model, with outputs of the names and sizes given."""

    description = Description()

    def __init__(self, module: nn.Module, **outputs: int) -> None:
        self.module = module.eval()
        given = outputs or {"logits": 2}
        specs = tuple(TensorSpec(name=name, dtype="float32", shape=("batch", size)) for name, size in given.items())
        x = TensorSpec(name="x", dtype="float32", shape=("batch", 3))
        self.signature = Signature(inputs=(x,), outputs=specs, bounds={"batch": (1, 4)})


BATCHES = [{"x": np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)}]


def target_that_makes(made: Made) -> Backend[Any]:
    """PyTorch, but for what it says of its files."""

    class Claims(PyTorch):
        precisions = ("fp32", "fp16", "int8")

        def _export(self, source: Source[Any], candidate: Candidate, folder: Path) -> Made:
            super()._export(source, candidate, folder)
            return made

    return Claims()


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (Made("int8"), "'int8' is called int8, yet no product in it is"),
        (Made("int8", macs=MacCount(total=9, int8=0)), "'int8' is called int8, yet no product in it is"),
        (Made("fp32"), "'int8' is called int8, and what was made is fp32. It was refused"),
    ],
)
def test_no_target_can_call_a_float_graph_int8(made: Made, message: str, tmp_path: Path) -> None:
    with pytest.raises(TargetError, match=message):
        target_that_makes(made).export(Rows(nn.Linear(3, 2)), BATCHES, INT8, tmp_path / "new")
    assert not (tmp_path / "new" / Artifact.FILE_NAME).exists()


def test_what_a_target_says_of_its_files_is_in_the_record(tmp_path: Path) -> None:
    made = Made("int8", macs=MacCount(total=8, int8=6), notes=("six of eight",), peak_bytes=7, versions={"torch": "x"})
    artifact = target_that_makes(made).export(Rows(nn.Linear(3, 2)), BATCHES, INT8, tmp_path / "new")
    assert (artifact.int8_mac_share, artifact.notes, artifact.conversion_peak_bytes) == (0.75, ("six of eight",), 7)
    assert (artifact.precision, artifact.parameters, artifact.versions) == ("int8", 8, {"torch": "x"})
    assert Artifact.read(tmp_path / "new" / Artifact.FILE_NAME) == artifact


def test_no_target_can_leave_out_the_comparison_with_torch(tmp_path: Path) -> None:
    class Wrong(PyTorch):
        def _prepare(self, model: Any, *rest: Any) -> Any:
            return super()._prepare(Rows(nn.Linear(3, 2)), *rest)

    results = list(Wrong().export_all(Rows(nn.Linear(3, 2)), BATCHES, [FP32], tmp_path))
    assert [type(one) for one in results] == [Refusal]
    assert "differs from the torch model on calibration data" in results[0].reason  # type: ignore[union-attr]


def test_feeds_are_checked_before_a_runner_sees_them(tmp_path: Path) -> None:
    target = PyTorch()
    artifact = target.export(Rows(nn.Linear(3, 2)), BATCHES, FP32, tmp_path / "new")
    with target.open(artifact, tmp_path / "new") as session:
        with pytest.raises(SignatureError, match=r"input 'x' must be float32\[batch, 3\], got float64\[1, 3\]"):
            session.infer({"x": np.ones((1, 3))})
        with pytest.raises(SignatureError, match="unknown program 'decode'; the artifact has main"):
            session.infer(BATCHES[0], "decode")


def tensorrt_of_a_gpu_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU, full TensorRT, and no TensorRT for RTX."""
    place = "edgepress.targets.tensorrt_gpu.target"
    monkeypatch.setattr(f"{place}.gpus", lambda: 1)
    monkeypatch.setattr(f"{place}.absent", lambda packages: "tensorrt_rtx" if "tensorrt_rtx" in packages else "")
    monkeypatch.setattr(f"{place}.TensorRtGpu._load", lambda self, package: SimpleNamespace(__version__="10.1"))


def test_an_artifact_is_opened_again_with_the_options_it_was_made_with(monkeypatch: pytest.MonkeyPatch) -> None:
    tensorrt_of_a_gpu_machine(monkeypatch)
    made_by = targets.load("tensorrt-gpu", {"package": "tensorrt"})
    artifact = old_artifact().model_copy(update={"target": "tensorrt-gpu", "options": {"package": "tensorrt"}})
    assert targets.of(artifact).probe() == made_by.probe()
    assert made_by.probe().state == "available"
    assert targets.load("tensorrt-gpu").probe().state == "missing", "the name alone would lose the option"


def test_options_travel_in_the_record(tmp_path: Path) -> None:
    artifact = PyTorch().export(Rows(nn.Linear(3, 2)), BATCHES, FP32, tmp_path / "new")
    assert (artifact.options, type(targets.of(artifact))) == ({}, PyTorch)
    with pytest.raises(TargetError, match="pytorch, option 'warp': Extra inputs are not permitted; pytorch takes no"):
        targets.of(artifact.model_copy(update={"options": {"warp": 9}}))


OLD = {
    "name": "fp32", "target": "pytorch", "candidate": {"name": "fp32", "precision": "fp32", "options": {"k": 1}},
    "precision": "fp32", "files": [], "parameters": 8, "int8_mac_share": 0.0, "versions": {},
    "comparison": {"samples": 1, "max_abs_diff": 0.0, "agreement": 1.0, "sqnr_db": None},
    "signature": {
        "inputs": [{"name": "ids", "dtype": "int64", "shape": ["batch", "sequence"]}],
        "outputs": [{"name": "logits", "dtype": "float32", "shape": ["batch", 2]}],
        "bounds": {"batch": [1, 8], "sequence": [2, 128]},
    },
}  # fmt: skip


def old_artifact(**fields: Any) -> Artifact:
    """An artifact.json as it was written before there were programs."""
    return Artifact.model_validate(OLD | fields)


def test_a_signature_of_an_older_version_is_the_program_main() -> None:
    artifact = old_artifact()
    assert list(artifact.programs) == ["main"] and artifact.signature.bounds["sequence"] == (2, 128)
    assert Artifact.model_validate_json(artifact.model_dump_json()) == artifact


@pytest.mark.parametrize(
    ("lengths", "shapes"), [([32, 128], {"seq32": (1, 32), "seq128": (1, 128)}), ([0], {"image": (1, 0)})]
)
def test_sequence_lengths_of_an_older_tflite_are_programs(lengths: list[int], shapes: dict[str, Any]) -> None:
    candidate = {"name": "int8", "precision": "int8", "options": {"scales": "fixed", "sequences": lengths}}
    artifact = old_artifact(target="tflite-mobile", candidate=candidate)
    assert artifact.candidate.options == {"scales": "fixed"}
    found = {name: (one.inputs[0].shape, one.inputs[0].dtype) for name, one in artifact.programs.items()}
    assert found == {"main": (("batch", "sequence"), "int64"), **{name: (one, "int32") for name, one in shapes.items()}}


@pytest.mark.parametrize(("builder", "package"), [("tensorrt-rtx-cu13", "tensorrt_rtx"), ("tensorrt-cu13", "tensorrt")])
def test_the_package_of_an_older_engine_is_read_from_its_versions(builder: str, package: str) -> None:
    artifact = old_artifact(target="tensorrt-gpu", versions={"onnx": "1", builder: "1"})
    assert artifact.options == {"package": package}


def test_a_record_without_the_program_main_is_refused(tmp_path: Path) -> None:
    fields = {name: value for name, value in OLD.items() if name != "signature"}
    (tmp_path / "artifact.json").write_text(json.dumps(fields | {"programs": {"step": OLD["signature"]}}))
    with pytest.raises(ArtifactError, match="programs: Value error, there is no program 'main', got step"):
        Artifact.read(tmp_path / "artifact.json")
