"""A TensorRT engine on a GPU, here and on devices; torch tensors are its buffers."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..device.needs import MAIN, ArtifactFacts, Feeds, Runtime, input_specs, needed, output_specs, refuse_settings
from ..errors import ArtifactError, TargetError, TargetUnavailable
from ..files import write_whole

if TYPE_CHECKING:
    import torch

ENGINE_FILE = "model.engine"
Shapes = tuple[tuple[int, ...], ...]


class TensorRtSession:
    """An engine on the current CUDA device, with a context for each combination of shapes.

    TensorRT for RTX compiles its kernels at the first inference: `cache` is a file that keeps them from one process to
    the next. It is read where it is there and fits, and written by `close`.
    """

    def __init__(self, path: Path, facts: ArtifactFacts, package: str, cache: Path | None = None) -> None:
        torch = needed("torch", "torch")
        self._trt = _tensorrt(package)
        self._inputs, self._outputs = input_specs(facts), output_specs(facts)
        self._logger = self._trt.Logger(self._trt.Logger.ERROR)
        self._runtime = self._trt.Runtime(self._logger)
        self._engine: Any = self._runtime.deserialize_cuda_engine(path.read_bytes())
        if self._engine is None:
            raise ArtifactError(
                f"{path} cannot be opened by {package} {self._trt.__version__}: it is damaged, or was built for "
                f"another version or GPU"
            )
        self._cache = cache
        self._config = rtx_config(self._trt, self._engine, cache)
        self._stream = torch.cuda.Stream()
        self._shaped: dict[Shapes, Shaped] = {}

    def run(self, feeds: Feeds, program: str = MAIN) -> dict[str, np.ndarray]:
        """Arrays by the outputs' names, synchronised."""
        key = tuple(tuple(feeds[spec["name"]].shape) for spec in self._inputs)
        if key not in self._shaped:
            own = (self._config,) if self._config is not None else ()
            context = self._engine.create_execution_context(*own)
            self._shaped[key] = Shaped(context, self._inputs, self._outputs, key, self._stream, captures=not own)
        return self._shaped[key].infer(feeds)

    def close(self) -> None:
        """Write the kernels that this session compiled to the file it was opened with. Where that cannot be written,
        the next session compiles them again: no answer depends on it."""
        if self._cache is not None and self._config is not None:
            with suppress(OSError):
                self._cache.parent.mkdir(parents=True, exist_ok=True)
                write_whole(self._cache, bytes(self._config.get_runtime_cache().serialize()))


class Shaped:
    """One context with its buffers, for one combination of shapes: a captured CUDA graph holds a context's state and
    the addresses of its buffers, so neither may serve other shapes.

    `captures`: full TensorRT leaves it to us to capture a graph, after a first run that sets the context up. TensorRT
    for RTX captures and replays by itself.
    """

    def __init__(
        self,
        context: Any,
        inputs: Sequence[dict[str, Any]],
        outputs: Sequence[dict[str, Any]],
        shapes: Shapes,
        stream: torch.cuda.Stream,
        captures: bool,
    ) -> None:
        import torch

        self._context, self._stream, self._captures = context, stream, captures
        self._graph: torch.cuda.CUDAGraph | None = None
        self._ran = False
        self._inputs: dict[str, torch.Tensor] = {}
        for spec, shape in zip(inputs, shapes):  # noqa: B905 (Python 3.9 has no strict)
            if not context.set_input_shape(spec["name"], shape):
                raise TargetError(f"TensorRT refused shape {list(shape)} of input {spec['name']!r}")
            self._inputs[spec["name"]] = torch.empty(shape, dtype=getattr(torch, spec["dtype"]), device="cuda")
        self._outputs: dict[str, torch.Tensor] = {}
        for spec in outputs:
            sizes = tuple(context.get_tensor_shape(spec["name"]))
            self._outputs[spec["name"]] = torch.empty(sizes, dtype=getattr(torch, spec["dtype"]), device="cuda")
        # Pinned, so that the copy back joins the stream and the event marks the end of everything.
        self._host = {
            name: torch.empty(output.shape, dtype=output.dtype, pin_memory=True)
            for name, output in self._outputs.items()
        }
        self._done = torch.cuda.Event()
        for tensor, buffer in (*self._inputs.items(), *self._outputs.items()):
            context.set_tensor_address(tensor, buffer.data_ptr())

    def infer(self, feeds: Feeds) -> dict[str, np.ndarray]:
        """Arrays by the outputs' names, of feeds in this context's shapes."""
        import torch

        if self._captures and self._ran and self._graph is None:
            self._graph = self._captured()
        with torch.cuda.stream(self._stream):
            for name, buffer in self._inputs.items():
                buffer.copy_(torch.from_numpy(np.ascontiguousarray(feeds[name])), non_blocking=True)
            if self._graph is not None:
                self._graph.replay()
            else:
                self._enqueue(self._stream)
            for name, output in self._outputs.items():
                self._host[name].copy_(output, non_blocking=True)
            self._done.record(self._stream)
        self._done.synchronize()
        self._ran = True
        return {name: value.numpy().copy() for name, value in self._host.items()}

    def _enqueue(self, stream: torch.cuda.Stream) -> None:
        if not self._context.execute_async_v3(stream.cuda_stream):
            raise TargetError("TensorRT could not run the engine on these inputs")

    def _captured(self) -> torch.cuda.CUDAGraph:
        import torch

        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self._stream):
            self._enqueue(self._stream)
        return graph


def load_runtime(facts: ArtifactFacts) -> Runtime:
    """Raises TargetUnavailable without a GPU, its driver, torch or the TensorRT that the engine was built by."""
    if not gpus():
        raise TargetUnavailable(
            "tensorrt-gpu: there is no NVIDIA GPU with a driver here. Run it on a machine that has one."
        )
    package = package_of(facts)
    trt = _tensorrt(package)
    needed("torch", "torch")
    return Runtime(package, trt.__version__, "GPU", compiles=False)


def open_session(folder: Path, facts: ArtifactFacts, threads: int) -> TensorRtSession:
    """The engine in `folder`; kernels that it compiles are kept for the next process."""
    refuse_settings(facts)
    (engine,) = (entry for entry in facts["files"] if entry["path"] == ENGINE_FILE)
    return TensorRtSession(folder / ENGINE_FILE, facts, package_of(facts), cache_file(engine["sha256"]))


def package_of(facts: ArtifactFacts) -> str:
    """The package that built the engine, TensorRT for RTX or the full one: neither opens the other's."""
    return str(facts["options"].get("package", "tensorrt_rtx"))


def _tensorrt(package: str) -> Any:
    return needed(package, "tensorrt-rtx-cu13" if package == "tensorrt_rtx" else package)


def gpus() -> int:
    """NVIDIA GPUs that the driver shows; asked of the driver itself, since torch may be a build without CUDA."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return 0
    return count.value


def rtx_config(trt: Any, engine: Any, cache: Path | None) -> Any:
    """How TensorRT for RTX runs the engine: CUDA graphs captured and replayed by itself, kernels kept in `cache`. None
    for full TensorRT, which knows neither."""
    if not hasattr(trt, "CudaGraphStrategy"):
        return None
    config = engine.create_runtime_config()
    config.cuda_graph_strategy = trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
    kept = config.create_runtime_cache()
    if cache is not None and cache.is_file():
        # Refused for another GPU, driver or version: the kernels are compiled again and the file is replaced.
        kept.deserialize(cache.read_bytes())
    config.set_runtime_cache(kept)
    return config


def cache_file(sha256: str) -> Path:
    """Where the compiled kernels of the engine with this sha256 are kept: under $XDG_CACHE_HOME, or ~/.cache."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return root / "edgepress" / "tensorrt" / f"{sha256}.cache"
