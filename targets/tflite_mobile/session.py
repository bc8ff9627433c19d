"""A .tflite: picks the signature that fits, pads, and runs row after row; here and on devices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from ..device.needs import (
    MAIN,
    ArtifactFacts,
    Feeds,
    Runtime,
    input_specs,
    is_installed,
    needed,
    output_specs,
    refuse_settings,
)
from ..device.quiet import quiet_native
from ..errors import ArtifactError, told
from ..lengths.padding import axes_of, fitted, fitting, lengths_of, longest, without_padding

MODEL_FILE = "model.tflite"
# The second is the old name, with wheels for boards that the first has none for.
RUNTIMES = ("ai_edge_litert", "tflite_runtime")
INSTALL = "ai-edge-litert (or tflite-runtime, where that has no wheel)"


class TfliteSession:
    """One interpreter.

    Args:
        path: of the .tflite.
        facts: name the program "main", which callers feed, and each program of the file: one row of a fixed length.
        threads: of the interpreter.

    Raises:
        ArtifactError: the runtime cannot read the file.
    """

    def __init__(self, path: Path, facts: ArtifactFacts, threads: int) -> None:
        self._axes = axes_of(_shapes(facts, MAIN))
        self._wanted = output_specs(facts)
        self._buckets = lengths_of({name: _shapes(facts, name) for name in facts["programs"]})
        with quiet_native():  # the runtime tells of its delegate on the standard error
            interpreter = _interpreter(path, threads)
            self._runners = {name: interpreter.get_signature_runner(name) for name in self._buckets}
        self._inputs = {name: runner.get_input_details() for name, runner in self._runners.items()}
        self._outputs = {name: runner.get_output_details() for name, runner in self._runners.items()}

    def run(self, feeds: Feeds, program: str = MAIN) -> dict[str, np.ndarray]:
        """Of "main": rows one after the other through the shortest program that holds them all."""
        if program != MAIN:
            return self._run(program, feeds)
        length = longest(feeds, self._axes)
        name = fitting(length, self._buckets)
        ready = fitted(feeds, self._axes, self._buckets[name])
        rows = len(next(iter(ready.values())))
        answers = [self._run(name, {key: value[row : row + 1] for key, value in ready.items()}) for row in range(rows)]
        joined = {spec["name"]: np.concatenate([one[spec["name"]] for one in answers]) for spec in self._wanted}
        return without_padding(joined, self._wanted, length)

    def _run(self, name: str, row: Feeds) -> dict[str, np.ndarray]:
        details = self._inputs[name]
        given = self._runners[name](**{key: _quantized(value, details[key]) for key, value in row.items()})
        return {
            spec["name"]: _dequantized(given[spec["name"]], self._outputs[name][spec["name"]], spec["dtype"])
            for spec in self._wanted
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
    return TfliteSession(folder / MODEL_FILE, facts, threads)


def _shapes(facts: ArtifactFacts, program: str) -> list[tuple[str, Sequence[int | str]]]:
    return [(spec["name"], spec["shape"]) for spec in input_specs(facts, program)]


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


def _dequantized(value: np.ndarray, details: Mapping[str, Any], dtype: str) -> np.ndarray:
    """An output by its own scale and zero point where the file gives int8; in the type that the signature says."""
    if details["dtype"] != np.int8 or dtype == "int8":
        return value.astype(dtype, copy=False)
    scale, zero = details["quantization"]
    real: np.ndarray = ((value.astype(np.float32) - zero) * scale).astype(dtype)
    return real
