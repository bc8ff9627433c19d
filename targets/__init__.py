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
    from edgepress.targets.inference.bundle import Bundle
    from edgepress.targets.protocols import Session, Target
    from edgepress.targets.records import Artifact, Availability

# Every process of ours, children included, imports this before a backend.
silence()

TARGETS: dict[str, str] = {
    "pytorch": "edgepress.targets.pytorch:PyTorch",
    "onnxruntime-cpu": "edgepress.targets.onnxruntime_cpu.target:OnnxRuntimeCpu",
    "tensorrt-gpu": "edgepress.targets.tensorrt_gpu.target:TensorRtGpu",
    "openvino": "edgepress.targets.openvino.target:OpenVino",
    "tflite-mobile": "edgepress.targets.tflite_mobile.target:TfliteMobile",
    "xla-tpu": "edgepress.targets.xla_tpu.target:XlaTpu",
}


def load(name: str, options: Mapping[str, Any] | None = None) -> Target:
    """The target of that name.

    Args:
        name: one of `TARGETS`.
        options: those that a recipe gives it; of an artifact that is there, `of` knows them.

    Raises:
        TargetError: no target has that name, or it does not know an option.
    """
    if name not in TARGETS:
        raise TargetError(f"unknown target {name!r}; there are {', '.join(TARGETS)}")
    module, attribute = TARGETS[name].split(":")
    return cast("Target", getattr(import_module(module), attribute)(options))


def of(artifact: Artifact) -> Target:
    """The target that an artifact was made by, with the options that it was made with: the only way back to it.

    Raises:
        TargetError: no target of this version has that name, or it does not know an option.
    """
    return load(artifact.target, artifact.options)


def open_bundle(place: str | Path, target: str | None = None, threads: int = 1, stand_in: bool = False) -> Bundle:
    """Open a release, or the folder of one artifact, to answer rows; see `Bundle`.

    Args:
        place: the folder.
        target: which of the release's artifacts; left out, the first whose hardware is here: TensorRT, TPU, ONNX
            Runtime, TFLite.
        threads: of the runtime.
        stand_in: open an artifact whose hardware is not here by the runtime that gives the same numbers on this CPU.

    Raises:
        ArtifactError: there is no such artifact, or it is damaged.
        TargetUnavailable: the runtime or its hardware is not here.
    """
    from edgepress.targets.inference.bundle import opened_bundle

    return opened_bundle(Path(place), target, threads, stand_in)


def open_numbers(artifact: Artifact, folder: Path, threads: int = 1) -> AbstractContextManager[Session]:
    """The artifact itself where its hardware is here, its target's stand-in otherwise: right numbers either way.

    Args:
        artifact: the record of `folder`.
        folder: with the artifact's files.
        threads: how many the runtime may use.

    Raises:
        ArtifactError: a file is missing, damaged or of another version.
    """
    target = of(artifact)
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
