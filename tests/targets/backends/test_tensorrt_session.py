"""The TensorRT session beside its GPU: what it asks of the runtime, with stand-ins for what needs a driver."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from edgepress.targets.errors import TargetError
from edgepress.targets.tensorrt_gpu.session import Shaped, TensorRtSession, cache_file, rtx_config

OUTPUTS = [{"name": "logits", "dtype": "float32", "shape": ["batch", 3]}]


class RuntimeConfig:
    """Stand-in for what needs a driver: keeps what it is given."""

    cuda_graph_strategy: object = None
    cache: SimpleNamespace | None = None
    read: bytes | None = None

    def create_runtime_cache(self) -> SimpleNamespace:
        def deserialize(blob: bytes) -> bool:
            self.read = blob
            return True

        return SimpleNamespace(deserialize=deserialize, serialize=lambda: bytearray(b"kernels"))

    def set_runtime_cache(self, cache: SimpleNamespace) -> None:
        self.cache = cache

    def get_runtime_cache(self) -> SimpleNamespace | None:
        return self.cache


def test_full_tensorrt_has_no_runtime_configuration() -> None:
    assert rtx_config(SimpleNamespace(), SimpleNamespace(), None) is None


def test_for_rtx_graphs_are_captured_and_compiled_kernels_kept_from_one_session_to_the_next(tmp_path: Path) -> None:
    trt = SimpleNamespace(CudaGraphStrategy=SimpleNamespace(WHOLE_GRAPH_CAPTURE="whole graph"))
    cache, session = tmp_path / "tensorrt" / "engine.cache", object.__new__(TensorRtSession)
    first = rtx_config(trt, SimpleNamespace(create_runtime_config=RuntimeConfig), cache)
    assert first.cuda_graph_strategy == "whole graph" and first.read is None
    session._config, session._cache = first, cache
    session.close()
    assert cache.read_bytes() == b"kernels"
    second = rtx_config(trt, SimpleNamespace(create_runtime_config=RuntimeConfig), cache)
    assert second.read == b"kernels" and second.cache is not None
    session._cache = cache / "below a file"
    session.close()
    assert cache.read_bytes() == b"kernels"


def test_kernels_are_kept_in_the_user_s_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_file("ab12") == tmp_path / "edgepress" / "tensorrt" / "ab12.cache"


class Context:
    """Stand-in for an execution context: doubles what it finds at the input's address, by way of `buffers`."""

    def __init__(self, buffers: dict[str, torch.Tensor]) -> None:
        self.buffers, self.runs = buffers, 0

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        return shape[0] <= 8

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return (2, 3)

    def set_tensor_address(self, name: str, address: int) -> None:
        (self.buffers[name],) = (one for one in self.buffers.values() if one.data_ptr() == address)

    def execute_async_v3(self, stream: int) -> bool:
        self.runs += 1
        self.buffers["logits"].copy_(self.buffers["pixel_values"] * 2)
        return True


class Graph:
    """Stand-in for torch.cuda.CUDAGraph: what was run while it was captured is run again."""

    def __init__(self) -> None:
        self.replays = 0

    def replay(self) -> None:
        self.replays += 1


@pytest.fixture
def no_gpu_needed(monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    """torch.cuda's streams, events and graphs as stand-ins, tensors on the CPU; all that were made, by address."""
    made: dict[str, torch.Tensor] = {}
    empty = torch.empty

    def on_cpu(*size: Any, device: str = "cpu", pin_memory: bool = False, **kinds: Any) -> torch.Tensor:
        tensor = empty(*size, **kinds)
        made[str(tensor.data_ptr())] = tensor
        return tensor

    monkeypatch.setattr("torch.empty", on_cpu)
    monkeypatch.setattr("torch.cuda.stream", lambda stream: nullcontext())
    monkeypatch.setattr("torch.cuda.graph", lambda graph, stream: nullcontext())
    monkeypatch.setattr("torch.cuda.CUDAGraph", Graph)
    event = SimpleNamespace(record=lambda stream: None, synchronize=lambda: None)
    monkeypatch.setattr("torch.cuda.Event", lambda: event)
    return made


@pytest.mark.parametrize(("captures", "runs", "replays"), [(False, 4, 0), (True, 2, 3)])
def test_a_graph_is_captured_at_the_second_inference_and_replayed_from_then_on(
    captures: bool, runs: int, replays: int, no_gpu_needed: dict[str, torch.Tensor]
) -> None:
    """Of four inferences, the first runs, the second captures a run and replays it: 2 runs and 3 replays."""
    inputs = [{"name": "pixel_values", "dtype": "float32", "shape": ["batch", 3]}]
    context, stream = Context(no_gpu_needed), SimpleNamespace(cuda_stream=7)
    shaped = Shaped(context, inputs, OUTPUTS, ((2, 3),), stream, captures)  # type: ignore[arg-type]
    for number in range(4):
        answer = shaped.infer({"pixel_values": np.full((2, 3), number, np.float32)})["logits"]
        if not captures:
            assert (answer == 2 * number).all()
    assert context.runs == runs
    assert (shaped._graph.replays if shaped._graph is not None else 0) == replays  # type: ignore[attr-defined]
    with pytest.raises(TargetError, match=r"TensorRT refused shape \[9, 3\] of input 'pixel_values'"):
        Shaped(context, inputs, OUTPUTS, ((9, 3),), stream, captures)  # type: ignore[arg-type]
