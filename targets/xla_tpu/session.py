"""A jax.export program, run through PJRT: here, on a TPU, or on a device's CPU."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from ..device.needs import (
    ArtifactFacts,
    Feeds,
    Runtime,
    as_int32,
    input_specs,
    is_installed,
    needed,
    output_names,
    refuse_settings,
)
from ..errors import ArtifactError, told

PROGRAM, WEIGHTS = "program.jax", "weights.safetensors"
GOOGLE = "0x1ae0"
CALLS = ("shape_assertion",)


class XlaSession:
    """One program with its weights; each new combination of sizes is compiled once, when it is first seen.

    `cpu`: run it on this CPU whatever else is here.

    Raises:
        ArtifactError: the files cannot be opened by this jax.
    """

    def __init__(self, folder: Path, facts: ArtifactFacts, cpu: bool) -> None:
        self._inputs = [spec["name"] for spec in input_specs(facts)]
        self._outputs = output_names(facts)
        self._call, self._weights = _open(folder, cpu)

    def infer(self, feeds: Feeds) -> dict[str, np.ndarray]:
        """Arrays by the outputs' names."""
        values = self._call(self._weights, *(as_int32(feeds[name]) for name in self._inputs))
        several = values if isinstance(values, (tuple, list)) else (values,)
        return {name: np.asarray(value) for name, value in zip(self._outputs, several)}  # noqa: B905 (Python 3.9)

    def close(self) -> None:
        """Nothing outlives the object."""


def load_runtime(facts: ArtifactFacts) -> Runtime:
    """Raises TargetUnavailable where jax or safetensors is not installed."""
    jax = needed("jax", "jax safetensors")
    needed("safetensors", "safetensors")
    return Runtime("jax", jax.__version__, "TPU" if has_tpu() else "CPU", compiles=True)


def open_session(folder: Path, facts: ArtifactFacts, threads: int) -> XlaSession:
    """The artifact in `folder`, on a TPU where there is one; its client has one thread pool for the whole process."""
    refuse_settings(facts)
    return XlaSession(folder, facts, cpu=not has_tpu())


def has_tpu() -> bool:
    """A device node, libtpu, and a card with Google's own vendor id: a VFIO node alone may be any device."""
    vendors = [path.read_text(encoding="ascii").strip() for path in Path("/sys/bus/pci/devices").glob("*/vendor")]
    nodes = [*Path("/dev").glob("accel*"), *Path("/dev").glob("vfio/[0-9]*")]
    return bool(nodes) and is_installed("libtpu") and GOOGLE in vendors


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


def _check_calls(program: Any) -> None:
    """XLA knows calls that enter Python by a number in the program; jax.export refuses to write them, and reads them.
    Our programs call nothing but the checks of sizes that jax writes itself."""
    for name in re.findall(r"custom_call\s*@(\"[^\"]*\"|[^\s(]+)", program.mlir_module()):
        if name not in CALLS:
            raise ValueError(f"it calls {name[:60]}, which is no operation of a model")
