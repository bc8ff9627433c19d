"""A .tflite: picks the signature that fits, pads, and runs row after row; here and on devices."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from ..device.needs import (
    ArtifactFacts,
    Feeds,
    Runtime,
    input_specs,
    is_installed,
    needed,
    output_names,
    refuse_settings,
)
from ..device.quiet import quiet_native
from ..errors import ArtifactError, told
from .padding import axes_of, fitted, fitting, longest

MODEL_FILE = "model.tflite"
# The second is the old name, with wheels for boards that the first has none for.
RUNTIMES = ("ai_edge_litert", "tflite_runtime")
INSTALL = "ai-edge-litert (or tflite-runtime, where that has no wheel)"


class TfliteSession:
    """One interpreter of the file `path`; `buckets` are {signature: tokens}, or {name: 0} without a sequence.

    Raises:
        ArtifactError: the file cannot be opened.
    """

    def __init__(self, path: Path, facts: ArtifactFacts, buckets: Mapping[str, int], threads: int) -> None:
        self._axes = axes_of((spec["name"], spec["shape"]) for spec in input_specs(facts))
        self._names = output_names(facts)
        self._buckets = buckets
        with quiet_native():  # the runtime tells of its delegate on the standard error
            interpreter = _interpreter(path, threads)
            self._runners = {name: interpreter.get_signature_runner(name) for name in buckets}
        self._inputs = {name: runner.get_input_details() for name, runner in self._runners.items()}
        self._outputs = {name: runner.get_output_details() for name, runner in self._runners.items()}

    def infer(self, feeds: Feeds) -> dict[str, np.ndarray]:
        """Arrays by the outputs' names."""
        name = fitting(longest(feeds, self._axes), self._buckets)
        details = self._inputs[name]
        padded = fitted(feeds, self._axes, self._buckets[name])
        ready = {key: _quantized(value, details[key]) for key, value in padded.items()}
        rows = len(next(iter(ready.values())))
        answers = [
            self._runners[name](**{key: value[row : row + 1] for key, value in ready.items()}) for row in range(rows)
        ]
        return {
            output: _dequantized(np.concatenate([answer[output] for answer in answers]), self._outputs[name][output])
            for output in self._names
        }

    def close(self) -> None:
        """Nothing outlives the object."""


def load_runtime(facts: ArtifactFacts) -> Runtime:
    """Raises TargetUnavailable where neither of the two packages is installed."""
    package, _ = runtime()
    return Runtime(package, version(package.replace("_", "-")), "CPU", compiles=False)


def open_session(folder: Path, facts: ArtifactFacts, threads: int) -> TfliteSession:
    """The artifact in `folder`; it takes no settings."""
    refuse_settings(facts)
    return TfliteSession(folder / MODEL_FILE, facts, buckets_of(facts), threads)


def buckets_of(facts: ArtifactFacts) -> dict[str, int]:
    """{signature: tokens} of an artifact; the one signature of a model without a sequence has 0 tokens."""
    return {f"seq{length}" if length else "image": length for length in facts["candidate"]["options"]["sequences"]}


def runtime() -> tuple[str, Any]:
    """The package that is here, and its interpreter's module. Raises TargetUnavailable without any."""
    package = next((name for name in RUNTIMES if is_installed(name)), RUNTIMES[0])
    return package, needed(f"{package}.interpreter", INSTALL)


def _interpreter(path: Path, threads: int) -> Any:
    package, module = runtime()
    try:
        interpreter = module.Interpreter(str(path), num_threads=threads)
        interpreter.allocate_tensors()
    except Exception as fault:  # its errors share no base class
        named = f"{package} {version(package.replace('_', '-'))}"
        raise ArtifactError(f"{path} cannot be opened by {named}: {told(fault)}") from fault
    return interpreter


def _quantized(value: np.ndarray, details: Mapping[str, Any]) -> np.ndarray:
    """Float input of a full-integer model by its own scale and zero point."""
    if details["dtype"] != np.int8:
        return value
    scale, zero = details["quantization"]
    whole: np.ndarray = np.clip(np.round(value / scale) + zero, -128, 127).astype(np.int8)
    return whole


def _dequantized(value: np.ndarray, details: Mapping[str, Any]) -> np.ndarray:
    if details["dtype"] != np.int8:
        return value.astype(np.float32)
    scale, zero = details["quantization"]
    real: np.ndarray = ((value.astype(np.float32) - zero) * scale).astype(np.float32)
    return real
