"""A jax.export program behind the Session protocol, run through PJRT."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from edgepress.targets.errors import ArtifactError
from edgepress.targets.records import Feeds, Signature

PROGRAM, WEIGHTS = "program.jax", "weights.safetensors"
CALLS = ("shape_assertion",)


class XlaSession:
    """One program with its weights; each new combination of sizes is compiled once, when it is first seen."""

    def __init__(self, folder: Path, signature: Signature, cpu: bool) -> None:
        self._signature = signature
        self._call, self._weights = _open(folder, cpu)

    def infer(self, feeds: Feeds) -> dict[str, np.ndarray]:
        """{"logits": `[batch, classes]`}. Raises SignatureError for feeds that do not fit."""
        self._signature.check(feeds)
        values = [feeds[spec.name] for spec in self._signature.inputs]
        inputs = [value.astype(np.int32) if value.dtype == np.int64 else value for value in values]
        return {self._signature.outputs[0].name: np.asarray(self._call(self._weights, *inputs))}


def _open(folder: Path, cpu: bool) -> tuple[Any, Any]:
    import jax

    if cpu:
        # Before the first backend: with libtpu installed jax would look for a TPU, and hang where there is none.
        jax.config.update("jax_platforms", "cpu")  # type: ignore[no-untyped-call]
    import jax.export
    from safetensors.flax import load_file

    try:
        program = jax.export.deserialize(bytearray((folder / PROGRAM).read_bytes()))
        _check_version(program)
        _check_calls(program)
        return jax.jit(program.call), load_file(folder / WEIGHTS)
    except Exception as fault:  # flatbuffers', jax's and safetensors' errors share no base class
        reason = " ".join(str(fault).split())[:200] or type(fault).__name__
        raise ArtifactError(
            f"{folder / PROGRAM} cannot be opened by jax {jax.__version__}: {reason}. Export it again."
        ) from fault


def _check_version(program: Any) -> None:
    """jax itself looks at the version when the program is called first."""
    from jax import export

    low = export.minimum_supported_calling_convention_version
    high = export.maximum_supported_calling_convention_version
    if not low <= program.calling_convention_version <= high:
        raise ValueError(
            f"its calling convention is version {program.calling_convention_version}, known {low} to {high}"
        )


def _check_calls(program: Any) -> None:
    """XLA knows calls that enter Python by a number in the program; jax.export refuses to write them, and reads them.
    Our programs call nothing but the checks of sizes that jax writes itself."""
    for name in re.findall(r"custom_call\s*@(\"[^\"]*\"|[^\s(]+)", program.mlir_module()):
        if name not in CALLS:
            raise ValueError(f"it calls {name[:60]}, which is no operation of a model")
