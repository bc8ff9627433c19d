"""A jax.export program and its weights, run through PJRT."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgepress.targets.errors import ArtifactError, told
from edgepress.targets.records import Feeds, Signature

PROGRAM, WEIGHTS = "program.jax", "weights.safetensors"


class XlaSession:
    """One program with its weights; each new combination of sizes is compiled once, when it is first seen.

    Args:
        folder: with the program and its weights.
        signature: names the inputs and outputs, in the program's order.
        cpu: whether it runs on this CPU, where there is no TPU.

    Raises:
        ArtifactError: jax cannot read the program or its weights.
    """

    def __init__(self, folder: Path, signature: Signature, cpu: bool) -> None:
        self._signature = signature
        self._call, self._weights = _open(folder, cpu)

    def run(self, feeds: Feeds, program: str) -> dict[str, np.ndarray]:
        values = [feeds[spec.name] for spec in self._signature.inputs]
        inputs = [value.astype(np.int32) if value.dtype == np.int64 else value for value in values]
        given = self._call(self._weights, *inputs)
        outputs = given if isinstance(given, tuple | list) else [given]
        pairs = zip(self._signature.outputs, outputs, strict=True)
        return {spec.name: np.asarray(value).astype(spec.dtype, copy=False) for spec, value in pairs}


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
        return jax.jit(program.call), load_file(folder / WEIGHTS)
    except Exception as fault:  # flatbuffers', jax's and safetensors' errors share no base class
        raise ArtifactError(
            f"{folder / PROGRAM} cannot be opened by jax {jax.__version__}: {told(fault)}. Export it again."
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
