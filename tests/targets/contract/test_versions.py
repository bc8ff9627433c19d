"""Artifacts of another version: each target's own file, declared newer than its runtime, is refused in one line."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from edgepress import targets
from edgepress.targets.errors import ArtifactError
from edgepress.targets.records import Artifact, FileEntry
from tests.targets.tiny import Exported, make_model

pytestmark = pytest.mark.slow
Export = Callable[..., Exported]
EXPORTING = [name for name, state in targets.probe_all().items() if state.state != "missing"]


def newer_onnx(folder: Path) -> Path:
    import onnx

    path = folder / "model.onnx"
    model = onnx.load(path)
    model.ir_version = 99
    onnx.save(model, path)
    return path


def newer_tflite(folder: Path) -> Path:
    from ai_edge_litert.tools import flatbuffer_utils

    path = folder / "model.tflite"
    model = flatbuffer_utils.read_model(path)
    model.version = 99
    flatbuffer_utils.write_model(model, path)
    return path


def newer_jax(folder: Path) -> Path:
    import jax.export

    path = folder / "program.jax"
    exported = jax.export.deserialize(bytearray(path.read_bytes()))
    path.write_bytes(dataclasses.replace(exported, calling_convention_version=99).serialize())
    return path


def newer_torch(folder: Path) -> Path:
    path = folder / "graph.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 99}))
    return path


def newer_openvino(folder: Path) -> Path:
    path = folder / "model.xml"
    path.write_text(path.read_text().replace('version="11"', 'version="99"', 1))
    return path


NEWER = {
    "pytorch": newer_torch,
    "onnxruntime-cpu": newer_onnx,
    "tensorrt-gpu": newer_onnx,  # its stand-in; an engine of another version can only be refused by a GPU's driver
    "openvino": newer_openvino,
    "tflite-mobile": newer_tflite,
    "xla-tpu": newer_jax,
}


@pytest.fixture(params=EXPORTING)
def copied(request: pytest.FixtureRequest, exported: Export, tmp_path: Path) -> tuple[Artifact, Path]:
    """A target's fp32 artifact, and a copy of its folder."""
    target = targets.load(request.param)
    case = exported(request.param, "resnet", target.candidates(make_model("resnet"), "fp32")[0])
    shutil.copytree(case.folder, tmp_path / "copy")
    return case.artifact, tmp_path / "copy"


def test_a_newer_file_than_the_runtime_knows_is_named(copied: tuple[Artifact, Path]) -> None:
    artifact, folder = copied
    changed = NEWER[artifact.target](folder)
    entries = tuple(
        FileEntry.of(folder, entry.path, entry.shipped) if folder / entry.path == changed else entry
        for entry in artifact.files
    )
    with (
        pytest.raises(ArtifactError) as caught,
        targets.open_numbers(artifact.model_copy(update={"files": entries}), folder),
    ):
        pass
    assert str(caught.value).startswith(f"{changed} cannot be opened by ") and "\n" not in str(caught.value)


def test_a_newer_record_is_named_with_its_unknown_field(copied: tuple[Artifact, Path]) -> None:
    _, folder = copied
    path = folder / Artifact.FILE_NAME
    path.write_text(json.dumps(json.loads(path.read_text()) | {"epoch": 9}))
    with pytest.raises(ArtifactError) as caught:
        Artifact.read(path)
    assert str(caught.value) == f"{path} is damaged or of another version: epoch: Extra inputs are not permitted"
