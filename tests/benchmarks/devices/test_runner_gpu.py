"""A session on a GPU, where there is none: it uses names of the real packages, and its buffers are right.

No test here has run an engine. What it holds to is the API of the installed tensorrt_rtx, and a context that multiplies
on the CPU through the very addresses it is told.
"""

from __future__ import annotations

import ast
import ctypes
from collections.abc import Iterator
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch

from edgepress.targets.errors import TargetError
from edgepress.targets.tensorrt_gpu.session import TensorRtSession, rtx_config
from tests.conftest import ROOT

trt = pytest.importorskip("tensorrt_rtx")

OWNERS = {
    "trt": trt,
    "runtime": trt.Runtime,
    "engine": trt.ICudaEngine,
    "context": trt.IExecutionContext,
    "config": trt.IRuntimeConfig,
    "torch": torch,  # but for Stream.cuda_stream, which a torch without CUDA lacks
}
SESSION = ROOT / "targets/tensorrt_gpu/session.py"


def chains(tree: ast.AST) -> Iterator[tuple[str, ...]]:
    """Each `a.b.c` and `self._a.b`, as (a, b, c) and (a, b)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            text = ast.unparse(node).removeprefix("self._")
            if text.replace(".", "").replace("_", "").isalnum():
                yield tuple(text.split("."))


def test_every_name_of_tensorrt_and_torch_that_is_used_exists() -> None:
    tree = ast.parse(SESSION.read_text(encoding="utf-8"))
    used = sorted({chain for chain in chains(tree) if chain[0] in OWNERS and len(chain) > 1})
    assert {"set_input_shape", "execute_async_v3", "deserialize_cuda_engine", "WHOLE_GRAPH_CAPTURE"} <= {
        c[-1] for c in used
    }
    assert [".".join(chain) for chain in used if not exists(chain)] == []


def exists(chain: tuple[str, ...]) -> bool:
    owner: Any = OWNERS[chain[0]]
    for name in chain[1:]:
        if not hasattr(owner, name):
            return False
        owner = getattr(owner, name)
    return True


def test_names_that_do_not_exist_are_found() -> None:
    assert exists(("context", "execute_async_v3")) and not exists(("context", "execute_async_v2"))
    assert not exists(("trt", "CudaGraphStrategy", "WHOLE"))


def test_rtx_is_told_to_capture_graphs_and_full_tensorrt_is_not() -> None:
    engine = Mock(spec=trt.ICudaEngine)
    config = engine.create_runtime_config.return_value
    assert rtx_config(trt, engine, None) is config
    assert config.cuda_graph_strategy == trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
    assert rtx_config(SimpleNamespace(), Mock(spec=trt.ICudaEngine), None) is None


class Doubling:
    """An execution context: logits = 2 x pixels, read and written at the addresses it is told."""

    def __init__(self) -> None:
        self.shape: tuple[int, ...] = ()
        self.addresses: dict[str, int] = {}
        self.seen: list[dict[str, int]] = []
        self.works = True
        self.mock = Mock(spec=trt.IExecutionContext)
        self.mock.set_input_shape.side_effect = self.set_input_shape
        self.mock.get_tensor_shape.side_effect = lambda name: self.shape
        self.mock.set_tensor_address.side_effect = self.addresses.__setitem__
        self.mock.execute_async_v3.side_effect = self.execute

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shape = shape
        return shape[0] <= 8

    def execute(self, stream: int) -> bool:
        count = int(np.prod(self.shape))
        pixels, logits = ((ctypes.c_float * count).from_address(self.addresses[name]) for name in ("pixels", "logits"))
        for place in range(count):
            logits[place] = 2 * pixels[place]
        self.seen.append(dict(self.addresses))
        return self.works


@pytest.fixture
def contexts() -> list[Doubling]:
    """Those that the engine made, in order."""
    return []


@pytest.fixture
def session(contexts: list[Doubling], monkeypatch: pytest.MonkeyPatch) -> TensorRtSession:
    """A session whose engine multiplies here, with torch's tensors on the CPU."""
    empty = torch.empty

    def on_cpu(*size: Any, device: str = "", pin_memory: bool = False, **kinds: Any) -> torch.Tensor:
        assert device == "cuda" or pin_memory
        return empty(*size, **kinds)

    event = SimpleNamespace(record=lambda stream: None, synchronize=lambda: None)
    monkeypatch.setattr("torch.empty", on_cpu)
    monkeypatch.setattr("torch.cuda.stream", lambda stream: nullcontext())
    monkeypatch.setattr("torch.cuda.Event", lambda: event)

    def create_execution_context(config: object) -> Mock:
        contexts.append(Doubling())
        return contexts[-1].mock

    made = object.__new__(TensorRtSession)
    made._inputs = [{"name": "pixels", "dtype": "float32", "shape": ["batch", 3]}]
    made._outputs = [{"name": "logits", "dtype": "float32", "shape": ["batch", 3]}]
    made._engine, made._config = SimpleNamespace(create_execution_context=create_execution_context), object()
    made._stream, made._shaped = SimpleNamespace(cuda_stream=7), {}
    return made


def test_inputs_reach_the_engine_and_its_answer_comes_back(session: TensorRtSession) -> None:
    pixels = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert session.run({"pixels": pixels})["logits"].tolist() == (2 * pixels).tolist()
    turned = np.arange(9, dtype=np.float32).reshape(3, 3).T  # not contiguous
    assert session.run({"pixels": turned})["logits"].tolist() == (2 * turned).tolist()


def test_each_shape_keeps_a_context_and_its_addresses(session: TensorRtSession, contexts: list[Doubling]) -> None:
    for rows in (1, 2, 1, 2):
        session.run({"pixels": np.ones((rows, 3), np.float32)})
    one, two = contexts
    assert [len(context.seen) for context in (one, two)] == [2, 2]
    assert one.seen[0] == one.seen[1] and two.seen[0] == two.seen[1] and one.seen[0] != two.seen[0]


def test_shapes_and_runs_that_tensorrt_refuses_are_told(session: TensorRtSession, contexts: list[Doubling]) -> None:
    with pytest.raises(TargetError, match=r"TensorRT refused shape \[9, 3\] of input 'pixels'"):
        session.run({"pixels": np.ones((9, 3), np.float32)})
    session.run({"pixels": np.ones((1, 3), np.float32)})
    contexts[-1].works = False
    with pytest.raises(TargetError, match="TensorRT could not run the engine on these inputs"):
        session.run({"pixels": np.ones((1, 3), np.float32)})
