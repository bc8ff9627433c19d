"""A .tflite behind the Session protocol: picks the signature that fits, pads, and runs row after row."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from edgepress.targets.errors import ArtifactError, told
from edgepress.targets.process.quiet import quiet_native
from edgepress.targets.records import Feeds, Signature
from edgepress.targets.tflite_mobile.buckets import fitted, fitting

# The second is the old name, with wheels for boards that the first has none for.
RUNTIMES = ("ai_edge_litert", "tflite_runtime")


class TfliteSession:
    """One interpreter; `buckets` are {signature name: sequence length}, or {name: 0} without a sequence."""

    def __init__(self, path: Path, signature: Signature, buckets: Mapping[str, int], threads: int) -> None:
        self._signature = signature
        self._buckets = buckets
        with quiet_native():  # the runtime tells of its delegate on the standard error
            interpreter = _interpreter(path, threads)
            self._runners = {name: interpreter.get_signature_runner(name) for name in buckets}
        self._inputs = {name: runner.get_input_details() for name, runner in self._runners.items()}
        self._outputs = {name: runner.get_output_details() for name, runner in self._runners.items()}

    def infer(self, feeds: Feeds) -> dict[str, np.ndarray]:
        """{"logits": `[batch, classes]`}. Raises SignatureError for feeds that do not fit."""
        self._signature.check(feeds)
        name = fitting(feeds, self._signature, self._buckets)
        details = self._inputs[name]
        padded = fitted(feeds, self._signature, self._buckets[name])
        ready = {key: _quantized(value, details[key]) for key, value in padded.items()}
        output = self._outputs[name]["logits"]
        rows = len(next(iter(ready.values())))
        answers = [self._run(name, {key: value[row : row + 1] for key, value in ready.items()}) for row in range(rows)]
        return {self._signature.outputs[0].name: _dequantized(np.concatenate(answers), output)}

    def _run(self, name: str, row: dict[str, np.ndarray]) -> np.ndarray:
        logits: np.ndarray = self._runners[name](**row)["logits"]
        return logits


def runtime() -> tuple[str, Any]:
    """The package that is here, and its interpreter's module."""
    package = next(name for name in RUNTIMES if find_spec(name))
    return package, import_module(f"{package}.interpreter")


def _interpreter(path: Path, threads: int) -> Any:
    package, module = runtime()
    try:
        interpreter = module.Interpreter(str(path), num_threads=threads)
        interpreter.allocate_tensors()
    except Exception as fault:  # its errors share no base class
        raise ArtifactError(
            f"{path} cannot be opened by {package} {version(package.replace('_', '-'))}: {told(fault)}"
        ) from fault
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
