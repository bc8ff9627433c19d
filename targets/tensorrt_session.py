"""A TensorRT engine on a GPU behind the Session protocol; torch tensors are its buffers."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from targets.base import Feeds, Signature
from targets.errors import ArtifactError, TargetError

if TYPE_CHECKING:
    import torch

Shapes = tuple[tuple[int, ...], ...]


class TensorRtSession:
    """One execution context on the current CUDA device.

    Buffers are made once for each combination of shapes and keep their addresses, so that TensorRT for RTX replays a
    captured CUDA graph from the second call on.
    """

    def __init__(self, path: Path, signature: Signature, package: str) -> None:
        import torch

        trt = import_module(package)
        self._signature = signature
        self._logger = trt.Logger(trt.Logger.ERROR)
        self._runtime = trt.Runtime(self._logger)
        self._engine: Any = self._runtime.deserialize_cuda_engine(path.read_bytes())
        if self._engine is None:
            raise ArtifactError(
                f"{path} cannot be opened by {package} {trt.__version__}: it is damaged, or was built for another "
                f"version or GPU"
            )
        self._context = _context(trt, self._engine)
        self._stream = torch.cuda.Stream()
        self._buffers: dict[Shapes, tuple[dict[str, torch.Tensor], torch.Tensor]] = {}

    def infer(self, feeds: Feeds) -> dict[str, np.ndarray]:
        """{"logits": `[batch, classes]`}, synchronised. Raises SignatureError for feeds that do not fit."""
        import torch

        self._signature.check(feeds)
        with torch.cuda.stream(self._stream):
            inputs, output = self._bound(feeds)
            for name, buffer in inputs.items():
                buffer.copy_(torch.from_numpy(np.ascontiguousarray(feeds[name])), non_blocking=True)
            if not self._context.execute_async_v3(self._stream.cuda_stream):
                raise TargetError("TensorRT could not run the engine on these inputs")
            logits: np.ndarray = output.cpu().numpy()  # waits for the stream
        return {self._signature.outputs[0].name: logits}

    def _bound(self, feeds: Feeds) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """Buffers for the shapes of `feeds`, with their addresses told to the context."""
        shapes = {spec.name: tuple(feeds[spec.name].shape) for spec in self._signature.inputs}
        for name, shape in shapes.items():
            if not self._context.set_input_shape(name, shape):
                raise TargetError(f"TensorRT refused shape {list(shape)} of input {name!r}")
        key = tuple(shapes.values())
        if key not in self._buffers:
            self._buffers[key] = self._new_buffers(shapes)
        inputs, output = self._buffers[key]
        for name, buffer in (*inputs.items(), (self._signature.outputs[0].name, output)):
            self._context.set_tensor_address(name, buffer.data_ptr())
        return inputs, output

    def _new_buffers(self, shapes: dict[str, tuple[int, ...]]) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        import torch

        kinds = {spec.name: getattr(torch, spec.dtype) for spec in self._signature.inputs}
        inputs = {name: torch.empty(shape, dtype=kinds[name], device="cuda") for name, shape in shapes.items()}
        shape = tuple(self._context.get_tensor_shape(self._signature.outputs[0].name))
        return inputs, torch.empty(shape, dtype=torch.float32, device="cuda")


def _context(trt: Any, engine: Any) -> Any:
    """TensorRT for RTX captures and replays CUDA graphs by itself where it is told to."""
    if not hasattr(trt, "CudaGraphStrategy"):
        return engine.create_execution_context()
    config = engine.create_runtime_config()
    config.cuda_graph_strategy = trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
    return engine.create_execution_context(config)
