"""A released artifact, opened by its target's runtime alone: NumPy and that runtime are enough.

The sessions are the very ones that accuracy and latency are measured with in the toolchain.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import ArtifactError, EdgepressError, told

if TYPE_CHECKING:
    from .device.needs import ArtifactFacts, Runtime

SESSIONS = {
    "onnxruntime-cpu": "onnx_graph",
    "openvino": "openvino",
    "tflite-mobile": "tflite_mobile",
    "xla-tpu": "xla_tpu",
    "tensorrt-gpu": "tensorrt_gpu",
}
"""Target -> the folder whose `session.py` opens its artifacts."""
THREADED = ("onnxruntime-cpu", "openvino", "tflite-mobile")
"""Targets whose sessions obey a number of threads; the others decide on their threads themselves."""


def load_runtime(target: str, facts: ArtifactFacts) -> Runtime:
    """Import what the target's sessions run on; `facts` tell which of several packages an artifact is for.

    Raises:
        TargetUnavailable: the package or the hardware is not here.
    """
    runtime: Runtime = _module(target).load_runtime(facts)
    return runtime


@contextmanager
def opened(target: str, folder: Path, facts: ArtifactFacts, threads: int = 1) -> Iterator[Any]:
    """A session of the artifact in `folder`: `session.run(feeds) -> {output: array}`.

    Args:
        target: its name.
        facts: what the artifact says of itself.
        threads: of the session.

    Raises:
        TargetUnavailable: the package or the hardware is not here.
        ArtifactError: the files are damaged or of another version, or a setting is not known.
    """
    runtime = load_runtime(target, facts)
    try:
        session = _module(target).open_session(folder, facts, threads)
    except EdgepressError:
        raise
    except Exception as fault:  # the runtimes' errors share no base class
        raise ArtifactError(f"{target} cannot be opened by {runtime.name} {runtime.version}: {told(fault)}") from fault
    yield session
    session.close()


def _module(target: str) -> Any:
    return import_module(f".{SESSIONS[target]}.session", __package__)
