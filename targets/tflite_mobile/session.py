"""A .tflite opened by its interpreter: picks the program that fits, pads, and runs row after row."""

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
from edgepress.targets.tflite_mobile.buckets import fitted, fitting, lengths_of, sequence_of

# The second is the old name, with wheels for boards that the first has none for.
RUNTIMES = ("ai_edge_litert", "tflite_runtime")


class TfliteSession:
    """One interpreter.

    Args:
        path: of the .tflite.
        programs: "main", which callers feed, and each program of the file: one row of a fixed length.
        threads: of the interpreter.

    Raises:
        ArtifactError: the runtime cannot read the file.
    """

    def __init__(self, path: Path, programs: Mapping[str, Signature], threads: int) -> None:
        self._main = programs["main"]
        self._buckets = lengths_of(programs)
        with quiet_native():  # the runtime tells of its delegate on the standard error
            interpreter = _interpreter(path, threads)
            self._runners = {name: interpreter.get_signature_runner(name) for name in self._buckets}
        self._inputs = {name: runner.get_input_details() for name, runner in self._runners.items()}
        self._outputs = {name: runner.get_output_details() for name, runner in self._runners.items()}

    def run(self, feeds: Feeds, program: str) -> dict[str, np.ndarray]:
        """Of "main": rows one after the other through the shortest program that holds them all."""
        if program != "main":
            return self._run(program, feeds)
        name = fitting(feeds, self._main, self._buckets)
        ready = fitted(feeds, self._main, self._buckets[name])
        rows = len(next(iter(ready.values())))
        answers = [self._run(name, {key: value[row : row + 1] for key, value in ready.items()}) for row in range(rows)]
        joined = {spec.name: np.concatenate([one[spec.name] for one in answers]) for spec in self._main.outputs}
        return self._without_padding(joined, sequence_of(feeds, self._main))

    def _run(self, name: str, row: Feeds) -> dict[str, np.ndarray]:
        details = self._inputs[name]
        given = self._runners[name](**{key: _quantized(value, details[key]) for key, value in row.items()})
        return {
            spec.name: _dequantized(given[spec.name], self._outputs[name][spec.name], spec.dtype)
            for spec in self._main.outputs
        }

    def _without_padding(self, outputs: dict[str, np.ndarray], length: int) -> dict[str, np.ndarray]:
        """Outputs that have a sequence too, cut to that of the feeds."""
        for spec in self._main.outputs:
            if "sequence" in spec.shape:
                outputs[spec.name] = outputs[spec.name].take(range(length), spec.shape.index("sequence"))
        return outputs


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


def _dequantized(value: np.ndarray, details: Mapping[str, Any], dtype: str) -> np.ndarray:
    """An output by its own scale and zero point where the file gives int8; in the type that the signature says."""
    if details["dtype"] != np.int8 or dtype == "int8":
        return value.astype(dtype, copy=False)
    scale, zero = details["quantization"]
    real: np.ndarray = ((value.astype(np.float32) - zero) * scale).astype(np.float32)
    return real
