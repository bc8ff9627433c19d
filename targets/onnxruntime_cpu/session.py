"""ONNX Runtime on a CPU, as the toolchain measures it and as a device runs it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..device.needs import ArtifactFacts, Feeds, Runtime, needed, output_names, refuse_settings
from ..errors import ArtifactError, told
from . import sums

if TYPE_CHECKING:
    import onnxruntime

MODEL_FILE = "model.onnx"
# u8 x u8 kernels in place of u8 x s8 ones on x86; with VNNI they are slower and nothing else.
KEEP_SUMS = "session.x64quantprecision"
SETTINGS = ("disabled_optimizers", "spinning", "saturate")


class OrtSession:
    """One `onnxruntime.InferenceSession` of the file `path`, which gives the outputs that are named.

    Raises:
        ArtifactError: the file cannot be opened.
    """

    def __init__(self, path: Path, outputs: list[str], settings: dict[str, Any], threads: int) -> None:
        self._outputs = outputs
        self._session = _open(path, settings, threads)

    def infer(self, feeds: Feeds) -> dict[str, np.ndarray]:
        """Arrays by the outputs' names."""
        values = self._session.run(self._outputs, dict(feeds))
        return dict(zip(self._outputs, values))  # noqa: B905 (Python 3.9 has no strict)

    def close(self) -> None:
        """Nothing outlives the object."""


def load_runtime(facts: ArtifactFacts) -> Runtime:
    """Raises TargetUnavailable where onnxruntime is not installed."""
    return Runtime("onnxruntime", needed("onnxruntime", "onnxruntime").__version__, "CPU", compiles=False)


def open_session(folder: Path, facts: ArtifactFacts, threads: int) -> OrtSession:
    """The artifact in `folder` with its own settings."""
    refuse_settings(facts, SETTINGS)
    return OrtSession(folder / MODEL_FILE, output_names(facts), facts["settings"], threads)


def _open(path: Path, settings: dict[str, Any], threads: int) -> onnxruntime.InferenceSession:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    spinning = settings.get("spinning", True)
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spinning else "0")
    whole = not settings.get("saturate", False) and sums.cuts_sums()
    options.add_session_config_entry(KEEP_SUMS, "1" if whole else "0")
    try:
        return onnxruntime.InferenceSession(
            str(path),
            options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=list(settings.get("disabled_optimizers", ())),
        )
    except Exception as fault:  # its exceptions share no base class of their own
        version = onnxruntime.__version__
        raise ArtifactError(f"{path} cannot be opened by onnxruntime {version}: {told(fault)}") from fault
