"""An ONNX file opened by ONNX Runtime on this CPU: a target of its own, and the stand-in of another."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgepress.targets.errors import ArtifactError, told
from edgepress.targets.records import Feeds, Record

if TYPE_CHECKING:
    import onnxruntime

# u8 x u8 kernels in place of u8 x s8 ones on x86; with VNNI they are slower and nothing else.
KEEP_SUMS = "session.x64quantprecision"


class Settings(Record):
    """Session settings of an artifact. `spinning`: worker threads wait busily, which is faster while alone.

    `saturate`: on x86 without VNNI neighbouring int8 products are added in 16 bits, where sums can be cut off: the
    outputs of a BERT were worthless. False asks for kernels that keep them whole there; other processors always do.
    """

    disabled_optimizers: tuple[str, ...] = ()
    spinning: bool = True
    saturate: bool = False


class OrtSession:
    """One `onnxruntime.InferenceSession`.

    Args:
        path: of the ONNX file.
        outputs: names of the outputs that are asked for.
        settings: of the session.
        threads: of its pool.

    Raises:
        ArtifactError: ONNX Runtime cannot read the file.
    """

    def __init__(self, path: Path, outputs: Sequence[str], settings: Settings, threads: int) -> None:
        self._outputs = list(outputs)
        self._session = _open(path, settings, threads)

    def run(self, feeds: Feeds, program: str) -> dict[str, np.ndarray]:
        return dict(zip(self._outputs, self._session.run(self._outputs, dict(feeds)), strict=True))


def _open(path: Path, settings: Settings, threads: int) -> onnxruntime.InferenceSession:
    import onnxruntime

    from edgepress.targets.onnx_graph.sums import cuts_sums

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if settings.spinning else "0")
    options.add_session_config_entry(KEEP_SUMS, "1" if not settings.saturate and cuts_sums() else "0")
    try:
        return onnxruntime.InferenceSession(
            path,
            options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=list(settings.disabled_optimizers),
        )
    except Exception as fault:  # its exceptions share no base class of their own
        raise ArtifactError(
            f"{path} cannot be opened by onnxruntime {onnxruntime.__version__}: {told(fault)}"
        ) from fault
