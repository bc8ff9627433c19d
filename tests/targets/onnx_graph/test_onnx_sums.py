"""int8 sums: kept whole where the processor would cut them off, and fast kernels where it would not."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from pathlib import Path

import onnx
import onnxruntime
import pytest

from edgepress.targets.onnx_graph import session
from edgepress.targets.onnx_graph import sums as onnx_sums
from edgepress.targets.onnx_graph.sums import PRODUCT, cuts_sums
from edgepress.targets.records import Candidate
from tests.targets.tiny import Exported

CPUINFO = Path("/proc/cpuinfo")


@pytest.fixture
def entries(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """What the sessions that are opened in the test are told."""
    told: dict[str, str] = {}

    class Options(onnxruntime.SessionOptions):  # type: ignore[misc]
        def add_session_config_entry(self, key: str, value: str) -> None:
            told[key] = value
            super().add_session_config_entry(key, value)

    monkeypatch.setattr(onnxruntime, "SessionOptions", Options)
    yield told


def test_the_product_is_one_of_u8_by_s8_and_valid_onnx() -> None:
    model = onnx.load_from_string(PRODUCT)
    onnx.checker.check_model(model)
    assert [node.op_type for node in model.graph.node] == ["MatMulInteger"]
    types = [one.type.tensor_type.elem_type for one in (*model.graph.input, *model.graph.output)]
    assert types == [onnx.TensorProto.UINT8, onnx.TensorProto.INT8, onnx.TensorProto.INT32]


@pytest.mark.skipif(not CPUINFO.is_file() or platform.machine() != "x86_64", reason="flags are read on Linux on x86-64")
def test_the_answer_is_what_the_flags_of_this_processor_say() -> None:
    flags = next(line.split() for line in CPUINFO.read_text().splitlines() if line.startswith("flags"))
    expected = "avx2" in flags and not {"avx512_vnni", "avx_vnni"} & set(flags)
    assert cuts_sums() is expected


# (whether the processor cuts sums off, the artifact's setting) -> the entry of the session.
CASES = [(True, False, "1"), (True, True, "0"), (False, False, "0"), (False, True, "0")]


@pytest.mark.parametrize(("cuts", "saturate", "expected"), CASES)
def test_slower_kernels_are_asked_for_only_where_sums_would_be_cut_off(
    cuts: bool,
    saturate: bool,
    expected: str,
    exported: Callable[..., Exported],
    entries: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The session here, which is the runner's on devices too."""
    case = exported("onnxruntime-cpu", "resnet", Candidate(name="fp32", precision="fp32"))
    monkeypatch.setattr(onnx_sums, "cuts_sums", lambda: cuts)
    facts = {**case.artifact.model_dump(mode="json"), "settings": {"saturate": saturate}}
    session.open_session(case.folder, facts, threads=1)
    assert entries[session.KEEP_SUMS] == expected
