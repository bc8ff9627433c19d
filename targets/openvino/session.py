"""An OpenVINO model, compiled for a device in the precision that it is called; here and on devices."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ..device.needs import (
    MAIN,
    ArtifactFacts,
    Feeds,
    Runtime,
    input_specs,
    needed,
    output_specs,
    refuse_settings,
)
from ..errors import ArtifactError, TargetUnavailable, told
from ..lengths.padding import axes_of, longest, padded, without_padding

MODEL_FILE, WEIGHTS_FILE = "model.xml", "model.bin"
SETTINGS = ("device", "precision", "lengths")


class OpenVinoSession:
    """One model; compiled for sizes that vary when such rows come first, and for each of `lengths` when it is opened.

    Args:
        folder: with `model.xml` and `model.bin`.
        facts: name inputs, outputs and settings: the device, the precision, and the lengths of rows that come alone.
        threads: of the CPU.
        device: CPU, GPU or NPU.

    Raises:
        ArtifactError: this OpenVINO cannot read the files, or the device computes in another precision.
    """

    def __init__(self, folder: Path, facts: ArtifactFacts, threads: int, device: str) -> None:
        import openvino

        self._outputs = output_specs(facts)
        self._axes = axes_of((spec["name"], spec["shape"]) for spec in input_specs(facts))
        self._path, self._device = folder / MODEL_FILE, device
        self._config = _config(facts["settings"].get("precision", "f32"), threads, device)
        self._core = openvino.Core()
        with _faults_named(self._path):
            self._model = self._core.read_model(self._path, folder / WEIGHTS_FILE)
        self._any: Any = None
        self._fixed = {length: self._request(length) for length in facts["settings"].get("lengths", ())}
        if not self._fixed:
            self._any = self._request(None)

    def run(self, feeds: Feeds, program: str = MAIN) -> dict[str, np.ndarray]:
        """Arrays by the outputs' names. A row alone is padded to the shortest of `lengths` that holds it."""
        length = longest(feeds, self._axes)
        fixed = min((one for one in self._fixed if one >= length), default=None)
        if fixed is None or len(next(iter(feeds.values()))) > 1:
            self._any = self._any or self._request(None)
            return self._named(self._any.infer(dict(feeds)))
        found = self._fixed[fixed].infer(padded(feeds, self._axes, fixed))
        return without_padding(self._named(found), self._outputs, length)

    def _named(self, found: Any) -> dict[str, np.ndarray]:
        """Copies: the request writes its next answer into the same memory."""
        return {spec["name"]: np.array(found[spec["name"]]) for spec in self._outputs}

    def _request(self, length: int | None) -> Any:
        with _faults_named(self._path):
            model = self._model.clone()
            if length is not None:
                model.reshape(
                    {one: _fixed(one.partial_shape, self._axes[one.any_name], length) for one in model.inputs}
                )
            compiled = self._core.compile_model(model, self._device, self._config)
        _check_precision(compiled, self._config, self._device)
        return compiled.create_infer_request()

    def close(self) -> None:
        """Nothing outlives the object."""


def load_runtime(facts: ArtifactFacts) -> Runtime:
    """Raises TargetUnavailable where openvino is not installed."""
    openvino = needed("openvino", "openvino")
    return Runtime("openvino", openvino.__version__.partition("-")[0], _device(facts), compiles=False)


def open_session(folder: Path, facts: ArtifactFacts, threads: int) -> OpenVinoSession:
    """The artifact in `folder` on its own device. Raises TargetUnavailable where that is not here."""
    refuse_settings(facts, SETTINGS)
    device = _device(facts)
    if device not in (seen := devices()):
        raise TargetUnavailable(
            f"the artifact is for OpenVINO's device {device}, and this machine has {', '.join(seen)}. "
            f"Install the driver of that device, or take an artifact for another one."
        )
    return OpenVinoSession(folder, facts, threads, device)


def devices() -> list[str]:
    """What OpenVINO can compile for here: CPU, GPU, NPU; of several GPUs the first stands for all."""
    import openvino

    return list(dict.fromkeys(name.partition(".")[0] for name in openvino.Core().available_devices))


@contextmanager
def _faults_named(path: Path) -> Iterator[None]:
    """Raises ArtifactError for whatever OpenVINO says: its errors share no base class."""
    import openvino

    try:
        yield
    except Exception as fault:
        raise ArtifactError(f"{path} cannot be opened by openvino {openvino.__version__}: {told(fault)}") from fault


def _device(facts: ArtifactFacts) -> str:
    return str(facts["settings"].get("device", "CPU"))


def _config(precision: str, threads: int, device: str) -> dict[str, Any]:
    """The precision is always said: left out, a CPU with bf16 units computes fp32 graphs in bf16."""
    config: dict[str, Any] = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
    return {**config, "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1} if device == "CPU" else config


def _check_precision(compiled: Any, config: dict[str, Any], device: str) -> None:
    wanted = config["INFERENCE_PRECISION_HINT"]
    known = {"f32": "float", "bf16": "bfloat16", "f16": "float16"}
    got = str(compiled.get_property("INFERENCE_PRECISION_HINT"))
    if known[wanted] not in got and wanted not in got:
        raise ArtifactError(f"the artifact computes in {wanted}, and this {device} does so in {got}. Take another one.")


def _fixed(shape: Any, axis: int | None, length: int) -> list[int]:
    """One row of `length` tokens; sizes that do not vary stay."""
    sizes = [size.get_length() if size.is_static else 1 for size in shape]
    if axis is not None:
        sizes[axis] = length
    return sizes
