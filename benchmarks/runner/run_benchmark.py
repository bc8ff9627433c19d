"""Measures a released model on this device: accuracy on the shipped sample, then latency, written as one JSON record.

`edgepress package` puts this file into a release folder, where it stays: it reads what lies beside it. It needs
Python 3.9 or newer, NumPy and the target's runtime, nothing else:

    python run_benchmark.py [--target NAME] [--samples 100] [--threads 1] [--batch 1] [--sequence N ...] [--out FILE]

`edgepress report add RUN record.json ...` merges the records of many devices into one hardware report. Whatever is
wrong is told in one line, with exit code 2.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import hashlib
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Callable, NamedTuple

import numpy as np

SCHEMA_VERSION = "1.0"
MANIFEST, SAMPLE, ARTIFACT = "manifest.json", "sample.npz", "artifact.json"
RELEASE = Path(__file__).resolve().parent
# Warm-up ends when the medians of two windows of calls, one after the other, differ by at most this share.
WINDOW, STEADY, LONGEST_S, MOST_CALLS = 10, 0.02, 10.0, 2000
LENGTHS = (32, 128)
# As Linux spells them: what decides how fast int8, bf16 and fp32 kernels run.
ISA_FLAGS = (
    *("sse4_1", "sse4_2", "avx", "f16c", "fma", "avx2", "avx_vnni", "avx512f", "avx512bw", "avx512_vnni"),
    *("avx512_bf16", "avx512_fp16", "avx10_2", "amx_tile", "amx_int8", "amx_bf16"),
    *("neon", "asimd", "asimddp", "asimdhp", "i8mm", "bf16", "sve", "sve2", "sme"),
)
TFLITE_RUNTIMES = ("ai_edge_litert", "tflite_runtime")

Feeds = dict[str, np.ndarray]
Infer = Callable[[Feeds], np.ndarray]
"""Inputs by name -> logits `[batch, classes]`, returned when they are there."""
Artifact = dict[str, Any]


class Refused(Exception):
    """What the user is told in one line."""


class Runtime(NamedTuple):
    """An imported runtime. `runs_on` is "CPU", "GPU" or "TPU"; `threaded`: whether it obeys --threads."""

    name: str
    version: str
    runs_on: str
    threaded: bool
    open: Callable[[Path, Artifact, int], Infer]


# --- the release ---------------------------------------------------------------------------------------------------


def sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for piece in iter(lambda: file.read(1 << 20), b""):
            digest.update(piece)
    return digest.hexdigest()


def read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Refused(f"{path} is missing. Keep run_benchmark.py in its release folder, with all files.") from None
    except ValueError as fault:
        raise Refused(f"{path} is damaged ({fault}). Copy the release again.") from None


def choose(manifest: dict[str, Any], wanted: str | None) -> str:
    """The target to measure: the one that was asked for, or the only one there is."""
    there = sorted(manifest["artifacts"])
    if wanted is None and len(there) == 1:
        return str(there[0])
    if wanted is None:
        raise Refused(f"this release has {len(there)} targets: {', '.join(there)}. Choose one with --target.")
    if wanted not in there:
        raise Refused(f"unknown target {wanted!r}; this release has {', '.join(there)}.")
    if wanted not in RUNTIMES:
        raise Refused(f"target {wanted!r} is not made for devices; this runner opens {', '.join(RUNTIMES)}.")
    return wanted


def checked(manifest: dict[str, Any], target: str) -> tuple[Artifact, dict[str, str]]:
    """The artifact's record, and the sha256 of each file that takes part, all compared with the manifest's."""
    known = {entry["path"]: entry["sha256"] for entry in manifest["files"]}
    if SAMPLE not in known:
        raise Refused(f"this release has no {SAMPLE}. Make it with `edgepress package`, and copy the folder again.")
    found = {path: verified(path, known) for path in (Path(__file__).name, SAMPLE, f"{target}/{ARTIFACT}")}
    artifact = read_json(RELEASE / target / ARTIFACT)
    shipped = [f"{target}/{entry['path']}" for entry in artifact["files"] if entry["shipped"]]
    found.update({path: verified(path, known) for path in shipped})
    return artifact, found


def verified(path: str, known: dict[str, str]) -> str:
    if not (RELEASE / path).is_file():
        raise Refused(f"{RELEASE / path} is missing. Copy the release again.")
    got, want = sha256_of(RELEASE / path), known.get(path)
    if got != want:
        raise Refused(f"{RELEASE / path} is not the released file: its sha256 is {got[:16]}…, not {str(want)[:16]}….")
    return got


# --- runtimes ------------------------------------------------------------------------------------------------------


def needed(package: str, install: str) -> Any:
    """A package of the target's runtime."""
    try:
        return import_module(package)
    except ImportError as fault:
        raise Refused(f"this target needs the package {package} ({fault}). Run: pip install {install}") from None


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


def onnxruntime_cpu() -> Runtime:
    ort = needed("onnxruntime", "onnxruntime")

    def opened(folder: Path, artifact: Artifact, threads: int) -> Infer:
        refuse_settings(artifact, ("disabled_optimizers", "spinning"))
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = threads, 1, 3
        spinning = artifact["settings"].get("spinning", True)
        options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spinning else "0")
        session = ort.InferenceSession(
            str(folder / "model.onnx"),
            options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=list(artifact["settings"].get("disabled_optimizers", ())),
        )
        output = [artifact["signature"]["outputs"][0]["name"]]
        return lambda feeds: session.run(output, feeds)[0]  # type: ignore[no-any-return]

    return Runtime("onnxruntime", ort.__version__, "CPU", True, opened)


def tflite_mobile() -> Runtime:
    package = next((name for name in TFLITE_RUNTIMES if find_spec_safely(name)), TFLITE_RUNTIMES[0])
    runtime = needed(f"{package}.interpreter", "ai-edge-litert (or tflite-runtime, where that has no wheel)")

    def opened(folder: Path, artifact: Artifact, threads: int) -> Infer:
        refuse_settings(artifact)
        lengths = sorted(artifact["candidate"]["options"]["sequences"])
        interpreter = runtime.Interpreter(str(folder / "model.tflite"), num_threads=threads)
        interpreter.allocate_tensors()
        # A model without a sequence has one signature, of length 0.
        runners = {n: interpreter.get_signature_runner(f"seq{n}" if n else "image") for n in lengths}
        specs = artifact["signature"]["inputs"]
        details = {n: (runner.get_input_details(), runner.get_output_details()) for n, runner in runners.items()}

        def infer(feeds: Feeds) -> np.ndarray:
            longest = max((feeds[s["name"]].shape[s["shape"].index("sequence")] for s in specs if "sequence" in s["shape"]), default=0)  # noqa: E501
            length = next(n for n in lengths if n >= longest)
            takes, (gives,) = details[length][0], details[length][1].values()
            ready = {spec["name"]: fitted(feeds[spec["name"]], spec, length, takes[spec["name"]]) for spec in specs}
            rows = len(next(iter(ready.values())))
            each = [runners[length](**{k: v[row : row + 1] for k, v in ready.items()})["logits"] for row in range(rows)]
            return real(np.concatenate(each), gives)

        return infer

    return Runtime(package, version(package.replace("_", "-")), "CPU", True, opened)


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
    return np.clip(np.round(value / scale) + zero, -128, 127).astype(np.int8)


def real(value: np.ndarray, details: dict[str, Any]) -> np.ndarray:
    if details["dtype"] != np.int8:
        return value
    scale, zero = details["quantization"]
    return ((value.astype(np.float32) - zero) * scale).astype(np.float32)


def xla_tpu() -> Runtime:
    jax = needed("jax", "jax safetensors")
    if not has_tpu():
        # Before the first backend: with libtpu installed jax would look for a TPU, and hang where there is none.
        jax.config.update("jax_platforms", "cpu")
    export, weights_of = needed("jax.export", "jax"), needed("safetensors.flax", "safetensors")

    def opened(folder: Path, artifact: Artifact, threads: int) -> Infer:
        refuse_settings(artifact)
        call = jax.jit(export.deserialize(bytearray((folder / "program.jax").read_bytes())).call)
        weights, names = weights_of.load_file(folder / "weights.safetensors"), input_names(artifact)

        def infer(feeds: Feeds) -> np.ndarray:
            values = [feeds[name] for name in names]
            return np.asarray(call(weights, *(v.astype(np.int32) if v.dtype == np.int64 else v for v in values)))

        return infer

    return Runtime("jax", jax.__version__, "TPU" if has_tpu() else "CPU", False, opened)


def has_tpu() -> bool:
    """A device node, libtpu, and a card with Google's own vendor id."""
    vendors = [line(path) for path in Path("/sys/bus/pci/devices").glob("*/vendor")]
    nodes = [*Path("/dev").glob("accel*"), *Path("/dev").glob("vfio/[0-9]*")]
    return bool(nodes) and find_spec_safely("libtpu") and "0x1ae0" in vendors


def tensorrt_gpu() -> Runtime:
    count = ctypes.c_int(0)
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
        lost = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    except OSError:
        lost = True
    if lost or not count.value:
        raise Refused("tensorrt-gpu: there is no NVIDIA GPU with a driver here. Run it on a machine that has one.")
    versions = read_json(RELEASE / "tensorrt-gpu" / ARTIFACT)["versions"]
    rtx = any(name.startswith("tensorrt-rtx") for name in versions)
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
    stream, output = torch.cuda.Stream(), artifact["signature"]["outputs"][0]["name"]
    buffers: dict[Any, Any] = {}

    def infer(feeds: Feeds) -> np.ndarray:
        with torch.cuda.stream(stream):
            key = tuple((name, value.shape) for name, value in feeds.items())
            if not all(context.set_input_shape(name, shape) for name, shape in key):
                raise RuntimeError(f"TensorRT refused the shapes {key}")
            if key not in buffers:
                made = {n: torch.empty(v.shape, dtype=getattr(torch, str(v.dtype)), device="cuda") for n, v in feeds.items()}  # noqa: E501
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


RUNTIMES: dict[str, Callable[[], Runtime]] = {
    "onnxruntime-cpu": onnxruntime_cpu,
    "tflite-mobile": tflite_mobile,
    "xla-tpu": xla_tpu,
    "tensorrt-gpu": tensorrt_gpu,
}
