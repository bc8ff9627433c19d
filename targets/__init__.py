"""Where a model runs: one file a backend, looked up here by name and loaded only when it is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from edgepress.targets.errors import TargetBroken, TargetError
from edgepress.targets.telemetry import silence

if TYPE_CHECKING:
    from edgepress.targets.protocols import Session, Target
    from edgepress.targets.records import Artifact, Availability

# Every process of ours, children included, imports this before a backend.
silence()

TARGETS: dict[str, str] = {
    "pytorch": "edgepress.targets.pytorch:PyTorch",
    "onnxruntime-cpu": "edgepress.targets.onnxruntime_cpu.target:OnnxRuntimeCpu",
    "tensorrt-gpu": "edgepress.targets.tensorrt_gpu.target:TensorRtGpu",
    "tflite-mobile": "edgepress.targets.tflite_mobile.target:TfliteMobile",
    "xla-tpu": "edgepress.targets.xla_tpu.target:XlaTpu",
}


def load(name: str, options: Mapping[str, Any] | None = None) -> Target:
    """The target of that name, with the options that a recipe gives it.

    Raises:
        TargetError: no target has that name, or it does not know an option.
    """
    if name not in TARGETS:
        raise TargetError(f"unknown target {name!r}; there are {', '.join(TARGETS)}")
    module, attribute = TARGETS[name].split(":")
    return cast("Target", getattr(import_module(module), attribute)(options))


def open_numbers(artifact: Artifact, folder: Path, threads: int = 1) -> AbstractContextManager[Session]:
    """The artifact itself where its hardware is here, its target's stand-in otherwise: right numbers either way."""
    target = load(artifact.target)
    opened = target.open if target.probe().state == "available" else target.open_stand_in
    return opened(artifact, folder, threads)


def probe_all() -> dict[str, Availability]:
    """What each target can do on this machine; a broken one does not hide the others."""
    return {name: _probed(name) for name in TARGETS}


def _probed(name: str) -> Availability:
    from edgepress.targets.records import Availability

    try:
        return load(name).probe()
    except TargetBroken as fault:
        return Availability(state="broken", reason=fault.reason, remedy=fault.remedy)
