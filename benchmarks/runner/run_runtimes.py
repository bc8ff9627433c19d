"""The runtimes that `run_benchmark.py` can open, one function each; it travels beside that file in a release.

Python 3.9, NumPy and the target's own runtime are enough; torch is needed for the buffers of tensorrt-gpu alone.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

TFLITE_RUNTIMES = ("ai_edge_litert", "tflite_runtime")

Feeds = dict[str, np.ndarray]
Infer = Callable[[Feeds], np.ndarray]
"""Inputs by name -> logits `[batch, classes]`, returned when they are there."""
Artifact = dict[str, Any]


class Refused(Exception):
    """What the user is told in one line."""


class Runtime(NamedTuple):
    """An imported runtime. `runs_on`: "CPU", "GPU" or "TPU"; `compiles`: whether each new combination of sizes costs a
    compilation. `open`: (folder, artifact, threads) -> Infer."""

    name: str
    version: str
    runs_on: str
    compiles: bool
    open: Callable[[Path, Artifact, int], Infer]


def needed(package: str, install: str) -> Any:
    """A package of the target's runtime."""
    try:
        return import_module(package)
    except ImportError as fault:
        raise Refused(f"this target needs the package {package} ({fault}). Run: pip install {install}") from None


def first_line(fault: Exception) -> str:
    """What a library raised, as a part of one line."""
    lines = str(fault).strip().splitlines()
    return f"{type(fault).__name__}: {lines[0][:300]}" if lines else type(fault).__name__


def refuse_settings(artifact: Artifact, known: tuple[str, ...] = ()) -> None:
    """Settings that would not be obeyed must not be passed over."""
    if unknown := sorted(set(artifact["settings"]) - set(known)):
        raise Refused(f"the artifact asks for the setting {unknown[0]!r}, which this runner does not know.")


@contextmanager
def quiet() -> Iterator[None]:
    """Native libraries write to the standard error by themselves."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def cuts_sums(ort: Any) -> bool:
    """Whether int8 sums are cut off at 16 bits here, as on x86 processors without VNNI; told by one product.

    Kernels that keep them whole are asked for there, and only there: elsewhere they are slower for nothing. The twin of
    targets/onnx_sums.py, which does not travel; a test holds both to the same answer.
    """
    # One node: c[int32] = MatMulInteger(a[uint8], b[int8]).
    product = (
        b'\x08\x05:P\n\x18\n\x01a\n\x01b\x12\x01c"\rMatMulInteger\x12\x01g'
        b"Z\x0f\n\x01a\x12\n\n\x08\x08\x02\x12\x04\n\x00\n\x00Z\x0f\n\x01b\x12\n\n\x08\x08\x03\x12\x04\n\x00\n\x00"
        b"b\x0f\n\x01c\x12\n\n\x08\x08\x06\x12\x04\n\x00\n\x00B\x04\n\x00\x10\n"
    )
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = 1, 1
    session = ort.InferenceSession(product, options, providers=["CPUExecutionProvider"])
    a, b = np.full((4, 64), 255, np.uint8), np.full((64, 16), 127, np.int8)
    return bool((session.run(None, {"a": a, "b": b})[0] != 64 * 255 * 127).any())


def onnxruntime_cpu(artifact: Artifact) -> Runtime:
    ort = needed("onnxruntime", "onnxruntime")

    def opened(folder: Path, artifact: Artifact, threads: int) -> Infer:
        refuse_settings(artifact, ("disabled_optimizers", "spinning", "saturate"))
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = threads, 1, 3
        spinning = artifact["settings"].get("spinning", True)
        options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spinning else "0")
        whole = not artifact["settings"].get("saturate", False) and cuts_sums(ort)
        options.add_session_config_entry("session.x64quantprecision", "1" if whole else "0")
        session = ort.InferenceSession(
            str(folder / "model.onnx"),
            options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=list(artifact["settings"].get("disabled_optimizers", ())),
        )
        output = [artifact["programs"]["main"]["outputs"][0]["name"]]
        return lambda feeds: session.run(output, feeds)[0]

    return Runtime("onnxruntime", ort.__version__, "CPU", False, opened)


def tflite_mobile(artifact: Artifact) -> Runtime:
    package = next((name for name in TFLITE_RUNTIMES if find_spec_safely(name)), TFLITE_RUNTIMES[0])
    runtime = needed(f"{package}.interpreter", "ai-edge-litert (or tflite-runtime, where that has no wheel)")

    def opened(folder: Path, artifact: Artifact, threads: int) -> Infer:
        refuse_settings(artifact)
        interpreter = runtime.Interpreter(str(folder / "model.tflite"), num_threads=threads)
        interpreter.allocate_tensors()
        # Beside "main" stands each signature of the file: seq32, seq128, …, or "image" for a model without a sequence.
        lengths = {
            int(name[3:]) if name.startswith("seq") else 0: name for name in artifact["programs"] if name != "main"
        }
        runners = {length: interpreter.get_signature_runner(name) for length, name in sorted(lengths.items())}
        return tflite_infer(runners, artifact["programs"]["main"]["inputs"])

    return Runtime(package, version(package.replace("_", "-")), "CPU", False, opened)


def tflite_infer(runners: dict[int, Any], specs: list[dict[str, Any]]) -> Infer:
    """Picks the shortest signature that holds the inputs, pads them to it and runs row after row."""
    takes = {length: runner.get_input_details() for length, runner in runners.items()}
    gives = {length: next(iter(runner.get_output_details().values())) for length, runner in runners.items()}

    def infer(feeds: Feeds) -> np.ndarray:
        sized = [spec for spec in specs if "sequence" in spec["shape"]]
        longest = max((feeds[spec["name"]].shape[spec["shape"].index("sequence")] for spec in sized), default=0)
        length = next(length for length in runners if length >= longest)
        ready = {spec["name"]: fitted(feeds[spec["name"]], spec, length, takes[length][spec["name"]]) for spec in specs}
        rows = len(next(iter(ready.values())))
        each = [{name: value[row : row + 1] for name, value in ready.items()} for row in range(rows)]
        return real(np.concatenate([next(iter(runners[length](**one).values())) for one in each]), gives[length])

    return infer


def find_spec_safely(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ValueError:  # the name is blocked in sys.modules
        return False


def fitted(value: np.ndarray, spec: dict[str, Any], length: int, details: dict[str, Any]) -> np.ndarray:
    """An input as a .tflite of `length` takes it: int32 for int64, padded with zeros that the mask hides, quantized."""
    value = value.astype(np.int32) if value.dtype == np.int64 else value
    if "sequence" in spec["shape"]:
        axis = spec["shape"].index("sequence")
        value = np.pad(value, [(0, (length - size) * (at == axis)) for at, size in enumerate(value.shape)])
    if details["dtype"] != np.int8:
        return value
    scale, zero = details["quantization"]
    whole: np.ndarray = np.clip(np.round(value / scale) + zero, -128, 127).astype(np.int8)
    return whole


def real(value: np.ndarray, details: dict[str, Any]) -> np.ndarray:
    if details["dtype"] != np.int8:
        return value
    scale, zero = details["quantization"]
    plain: np.ndarray = ((value.astype(np.float32) - zero) * scale).astype(np.float32)
    return plain


def xla_tpu(artifact: Artifact) -> Runtime:
    jax = needed("jax", "jax safetensors")
    if not has_tpu():
        # Before the first backend: with libtpu installed jax would look for a TPU, and hang where there is none.
        jax.config.update("jax_platforms", "cpu")
    export, weights_of = needed("jax.export", "jax"), needed("safetensors.flax", "safetensors")

    def opened(folder: Path, artifact: Artifact, threads: int) -> Infer:
        refuse_settings(artifact)
        call = jax.jit(export.deserialize(bytearray((folder / "program.jax").read_bytes())).call)
        weights = weights_of.load_file(folder / "weights.safetensors")
        names = [spec["name"] for spec in artifact["programs"]["main"]["inputs"]]

        def infer(feeds: Feeds) -> np.ndarray:
            values = [feeds[name] for name in names]
            return np.asarray(call(weights, *(v.astype(np.int32) if v.dtype == np.int64 else v for v in values)))

        return infer

    return Runtime("jax", jax.__version__, "TPU" if has_tpu() else "CPU", True, opened)


def has_tpu() -> bool:
    """A device node, libtpu, and a card with Google's own vendor id."""
    vendors = [path.read_text(encoding="ascii").strip() for path in Path("/sys/bus/pci/devices").glob("*/vendor")]
    nodes = [*Path("/dev").glob("accel*"), *Path("/dev").glob("vfio/[0-9]*")]
    return bool(nodes) and find_spec_safely("libtpu") and "0x1ae0" in vendors


def tensorrt_gpu(artifact: Artifact) -> Runtime:
    count = ctypes.c_int(0)
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
        lost = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    except OSError:
        lost = True
    if lost or not count.value:
        raise Refused("tensorrt-gpu: there is no NVIDIA GPU with a driver here. Run it on a machine that has one.")
    rtx = any(name.startswith("tensorrt-rtx") for name in artifact["versions"])
    trt = needed("tensorrt_rtx", "tensorrt-rtx-cu13") if rtx else needed("tensorrt", "tensorrt")
    torch = needed("torch", "torch")

    def opened(folder: Path, artifact: Artifact, threads: int) -> Infer:
        refuse_settings(artifact)
        runtime = trt.Runtime(trt.Logger(trt.Logger.ERROR))
        engine = runtime.deserialize_cuda_engine((folder / "model.engine").read_bytes())
        if engine is None:
            raise Refused(f"the engine was built for another GPU or version than {trt.__name__} {trt.__version__}.")
        return gpu_infer(torch, runtime, engine, gpu_context(trt, engine), artifact)

    return Runtime(trt.__name__, trt.__version__, "GPU", False, opened)


def gpu_context(trt: Any, engine: Any) -> Any:
    """TensorRT for RTX captures and replays CUDA graphs by itself where it is told to."""
    if not hasattr(trt, "CudaGraphStrategy"):
        return engine.create_execution_context()
    config = engine.create_runtime_config()
    config.cuda_graph_strategy = trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
    return engine.create_execution_context(config)


def gpu_infer(torch: Any, runtime: Any, engine: Any, context: Any, artifact: Artifact) -> Infer:
    """Buffers are made once for each combination of shapes, so that captured graphs find their addresses again."""
    stream, output = torch.cuda.Stream(), artifact["programs"]["main"]["outputs"][0]["name"]
    buffers: dict[Any, Any] = {}

    def infer(feeds: Feeds) -> np.ndarray:
        with torch.cuda.stream(stream):
            key = tuple((name, value.shape) for name, value in feeds.items())
            if not all(context.set_input_shape(name, shape) for name, shape in key):
                raise RuntimeError(f"TensorRT refused the shapes {key}")
            if key not in buffers:
                made = {
                    n: torch.empty(v.shape, dtype=getattr(torch, str(v.dtype)), device="cuda") for n, v in feeds.items()
                }
                made[output] = torch.empty(tuple(context.get_tensor_shape(output)), dtype=torch.float32, device="cuda")
                buffers[key] = made
            for name, buffer in buffers[key].items():
                context.set_tensor_address(name, buffer.data_ptr())
                if name != output:
                    buffer.copy_(torch.from_numpy(np.ascontiguousarray(feeds[name])), non_blocking=True)
            if not context.execute_async_v3(stream.cuda_stream):
                raise RuntimeError("TensorRT could not run the engine on these inputs")
            return buffers[key][output].cpu().numpy()  # type: ignore[no-any-return]

    # A context lives no longer than its engine, an engine no longer than its runtime.
    infer.__dict__["kept"] = (runtime, engine)
    return infer


RUNTIMES: dict[str, Callable[[Artifact], Runtime]] = {
    "onnxruntime-cpu": onnxruntime_cpu,
    "tflite-mobile": tflite_mobile,
    "xla-tpu": xla_tpu,
    "tensorrt-gpu": tensorrt_gpu,
}
# The others decide on their threads themselves.
THREADED = ("onnxruntime-cpu", "tflite-mobile")
