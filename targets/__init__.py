"""Where a model runs: one file a backend, looked up here by name and loaded only when it is asked for."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast

from targets.errors import TargetError

if TYPE_CHECKING:
    from targets.base import Availability, Target

TARGETS: dict[str, str] = {
    "pytorch": "targets.pytorch:PyTorch",
    "onnxruntime-cpu": "targets.onnxruntime_cpu:OnnxRuntimeCpu",
}


def load(name: str) -> Target:
    """The target of that name.

    Raises:
        TargetError: no target has that name.
    """
    if name not in TARGETS:
        raise TargetError(f"unknown target {name!r}; there are {', '.join(TARGETS)}")
    module, attribute = TARGETS[name].split(":")
    return cast("Target", getattr(import_module(module), attribute)())


def probe_all() -> dict[str, Availability]:
    """What each target can do on this machine."""
    return {name: load(name).probe() for name in TARGETS}
