from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgepress.targets import backend
from edgepress.targets.errors import TargetError, TargetUnavailable
from edgepress.targets.onnx_graph import export as onnx_export
from edgepress.targets.onnxruntime_cpu.target import OnnxRuntimeCpu
from edgepress.targets.records import Candidate
from tests.targets.tiny import Exported, make_calibration, make_feeds, make_model

TARGET = OnnxRuntimeCpu()
FP32 = Candidate(name="fp32", precision="fp32")


def test_a_missing_package_is_told_with_its_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(backend, "find_spec", lambda name: None if name == "onnxruntime" else object())
    availability = TARGET.probe()
    assert (availability.state, availability.reason) == ("missing", "needs onnxruntime")
    with pytest.raises(TargetUnavailable, match=r"needs onnxruntime. Fix: pip install 'edgepress\[onnxruntime\]'"):
        TARGET.export(make_model("resnet"), [], FP32, tmp_path)


def test_loading_the_target_loads_no_backend() -> None:
    code = (
        "import sys; from edgepress.targets import load; load('onnxruntime-cpu'); "
        "print({'torch', 'onnxruntime'} & set(sys.modules))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"


def test_16_bit_floats_are_not_offered_and_not_exported(tmp_path: Path) -> None:
    model = make_model("resnet")
    assert TARGET.candidates(model, "fp16") == ()
    with pytest.raises(TargetError, match="exports fp32, int8 and int4, got 'fp16'"):
        TARGET.export(model, make_calibration(model.signature), Candidate(name="h", precision="fp16"), tmp_path / "h")


def test_a_series_traces_the_model_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    model, calls, export = make_model("resnet"), [], onnx_export.export_onnx
    monkeypatch.setattr(onnx_export, "export_onnx", lambda *args: calls.append(args) or export(*args))
    candidates = (FP32, *TARGET.candidates(model, "int8")[:2])
    results = list(TARGET.export_all(model, make_calibration(model.signature), candidates, tmp_path))
    assert [result.name for result in results] == [candidate.name for candidate in candidates]  # type: ignore[union-attr]
    assert len(calls) == 1


def test_a_wrong_graph_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    model, export = make_model("resnet"), onnx_export.export_onnx
    other = make_model("resnet", seed=1)
    monkeypatch.setattr(onnx_export, "export_onnx", lambda _, *args: export(other, *args))
    with pytest.raises(TargetError, match=r"differs from the torch model on calibration data: SQNR .* at least 60 dB"):
        TARGET.export(model, make_calibration(model.signature), FP32, tmp_path / "wrong")
    assert not (tmp_path / "wrong" / "artifact.json").exists()


def test_int8_without_int8_products_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    model = make_model("resnet")
    monkeypatch.setattr(
        "edgepress.targets.onnxruntime_cpu.int8.write_int8",
        lambda fp32, _, __, out, ___: (out.write_bytes(fp32.read_bytes()), ())[1],
    )
    candidate = TARGET.candidates(model, "int8")[0]
    with pytest.raises(TargetError, match="is called int8, yet no product in it is"):
        TARGET.export(model, make_calibration(model.signature), candidate, tmp_path / "float")


def test_spinning_threads_can_be_switched_off(exported: Callable[..., Exported]) -> None:
    case = exported("onnxruntime-cpu", "resnet", FP32)
    feeds = make_feeds(case.model.signature, batch=2)
    quiet = case.artifact.model_copy(update={"settings": {"spinning": False}})
    with TARGET.open(case.artifact, case.folder, threads=2) as a, TARGET.open(quiet, case.folder, threads=2) as b:
        np.testing.assert_allclose(a.infer(feeds)["logits"], b.infer(feeds)["logits"], atol=1e-6)
