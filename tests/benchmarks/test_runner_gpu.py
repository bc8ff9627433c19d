"""The runner on a GPU, where there is none: it uses names of the real packages, and its buffers are right.

No test here has run an engine. What it holds to is the API of the installed tensorrt_rtx, and a context that multiplies
on the CPU through the very addresses it is told.
"""

from __future__ import annotations

import ast
import ctypes
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch

from edgepress.benchmarks.runner.run_runtimes import Infer, gpu_context, gpu_infer
from tests.benchmarks.devices import RUNNER
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
GPU_FUNCTIONS = ("tensorrt_gpu", "gpu_context", "gpu_infer")
SIGNATURE = {"outputs": [{"name": "logits"}]}


def chains(tree: ast.AST) -> Iterator[tuple[str, ...]]:
    """Each `a.b.c` and `self._a.b`, as (a, b, c) and (a, b)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            text = ast.unparse(node).removeprefix("self._")
            if text.replace(".", "").replace("_", "").isalnum():
                yield tuple(text.split("."))


@pytest.mark.parametrize(
    "path", [RUNNER / "run_runtimes.py", ROOT / "targets/tensorrt_gpu/session.py"], ids=lambda p: p.name
)
def test_every_name_of_tensorrt_and_torch_that_is_used_exists(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    parts = [
        node for node in tree.body if path.parent.name == "tensorrt_gpu" or getattr(node, "name", "") in GPU_FUNCTIONS
    ]
    used = sorted({chain for part in parts for chain in chains(part) if chain[0] in OWNERS and len(chain) > 1})
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
    assert gpu_context(trt, engine) is engine.create_execution_context.return_value
    config = engine.create_runtime_config.return_value
    assert config.cuda_graph_strategy == trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
    engine.create_execution_context.assert_called_once_with(config)
    full = Mock(spec=trt.ICudaEngine)
    gpu_context(SimpleNamespace(), full)
    full.create_execution_context.assert_called_once_with()


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
def context() -> Doubling:
    return Doubling()


@pytest.fixture
def infer(context: Doubling) -> Infer:
    """torch as it is, with its tensors on the CPU."""
    cuda = SimpleNamespace(Stream=lambda: SimpleNamespace(cuda_stream=7), stream=lambda stream: nullcontext())

    def empty(shape: tuple[int, ...], dtype: torch.dtype, device: str) -> torch.Tensor:
        assert device == "cuda"
        return torch.empty(shape, dtype=dtype)

    here = SimpleNamespace(cuda=cuda, empty=empty, from_numpy=torch.from_numpy, float32=torch.float32)
    return gpu_infer(here, object(), object(), context.mock, {"programs": {"main": SIGNATURE}})


def test_inputs_reach_the_engine_and_its_answer_comes_back(infer: Infer, context: Doubling) -> None:
    pixels = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert infer({"pixels": pixels}).tolist() == (2 * pixels).tolist()
    turned = pixels.T  # not contiguous
    assert infer({"pixels": turned}).tolist() == (2 * turned).tolist()


def test_each_shape_keeps_its_addresses(infer: Infer, context: Doubling) -> None:
    for rows in (1, 2, 1, 2):
        infer({"pixels": np.ones((rows, 3), np.float32)})
    first, second, third, fourth = context.seen
    assert first == third and second == fourth and first != second


def test_shapes_and_runs_that_tensorrt_refuses_are_told(infer: Infer, context: Doubling) -> None:
    with pytest.raises(RuntimeError, match=r"TensorRT refused the shapes \(\('pixels', \(9, 3\)\),\)"):
        infer({"pixels": np.ones((9, 3), np.float32)})
    context.works = False
    with pytest.raises(RuntimeError, match="TensorRT could not run the engine on these inputs"):
        infer({"pixels": np.ones((1, 3), np.float32)})
