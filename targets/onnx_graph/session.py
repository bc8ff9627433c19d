"""ONNX Runtime on a CPU, as the toolchain measures it and as a device runs it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..device.needs import (
    ENCODE,
    MAIN,
    STEP,
    ArtifactFacts,
    Feeds,
    Runtime,
    handed_on,
    needed,
    output_specs,
    refuse_settings,
)
from ..errors import ArtifactError, told
from . import sums

if TYPE_CHECKING:
    import onnxruntime

MODEL_FILE = "model.onnx"
ENCODER_FILE, DECODER_FILE = "encoder_model.onnx", "decoder_model.onnx"
"""Those of an encoder-decoder, in place of `MODEL_FILE`."""
# u8 x u8 kernels in place of u8 x s8 ones on x86; with VNNI they are slower and nothing else.
KEEP_SUMS = "session.x64quantprecision"
SETTINGS = ("disabled_optimizers", "spinning", "saturate")


class OrtSession:
    """One `onnxruntime.InferenceSession`.

    A decoder's file is its program "step"; "main" is that step with caches of no positions.

    Args:
        path: of the ONNX file.
        outputs: names of the outputs that are asked for, by the program.
        settings: of the session; see `settings.Settings`.
        threads: of its pool.
        state: specs of the caches that a step takes; none of other models.

    Raises:
        ArtifactError: ONNX Runtime cannot read the file.
    """

    def __init__(
        self,
        path: Path,
        outputs: dict[str, list[str]],
        settings: dict[str, Any],
        threads: int,
        state: Sequence[dict[str, Any]] = (),
    ) -> None:
        self._outputs = outputs
        self._state = state
        self._session = _open(path, settings, threads)

    def run(self, feeds: Feeds, program: str = MAIN) -> dict[str, np.ndarray]:
        """Arrays by the outputs' names."""
        names = self._outputs[program]
        given = dict(feeds)
        if self._state and program == MAIN:
            given.update(empty_state(self._state, len(next(iter(given.values())))))
        return dict(zip(names, self._session.run(names, given)))  # noqa: B905 (Python 3.9 has no strict)

    def close(self) -> None:
        """Nothing outlives the object."""


class PairSession:
    """The two files of an encoder-decoder: "encode" is the first, "step" the second, and "main" the one behind the
    other, the step with caches of no positions.

    Args:
        folder: where they lie.
        outputs: names of the outputs that are asked for, by the program.
        settings: of both sessions; see `settings.Settings`.
        threads: of each one's pool.
        state: specs of the caches that a step takes.

    Raises:
        ArtifactError: ONNX Runtime cannot read a file.
    """

    def __init__(
        self,
        folder: Path,
        outputs: dict[str, list[str]],
        settings: dict[str, Any],
        threads: int,
        state: Sequence[dict[str, Any]],
    ) -> None:
        self._encoder = OrtSession(folder / ENCODER_FILE, outputs, settings, threads)
        self._decoder = OrtSession(folder / DECODER_FILE, outputs, settings, threads)
        self._state = state

    def run(self, feeds: Feeds, program: str = MAIN) -> dict[str, np.ndarray]:
        """Arrays by the outputs' names."""
        if program != MAIN:
            return (self._encoder if program == ENCODE else self._decoder).run(feeds, program)
        source = {name: feeds[name] for name in ("input_ids", "attention_mask")}
        caches = {**handed_on(self._encoder.run(source, ENCODE)), **empty_state(self._state, len(feeds["input_ids"]))}
        tokens = {"input_ids": feeds["decoder_input_ids"], "encoder_attention_mask": feeds["attention_mask"]}
        return self._decoder.run({**tokens, **caches}, MAIN)

    def close(self) -> None:
        """Nothing outlives the object."""


def load_runtime(facts: ArtifactFacts) -> Runtime:
    """Raises TargetUnavailable where onnxruntime is not installed."""
    return Runtime("onnxruntime", needed("onnxruntime", "onnxruntime").__version__, "CPU", compiles=False)


def open_session(folder: Path, facts: ArtifactFacts, threads: int) -> OrtSession | PairSession:
    """The artifact in `folder` with its own settings."""
    refuse_settings(facts, SETTINGS)
    outputs = {program: [spec["name"] for spec in output_specs(facts, program)] for program in facts["programs"]}
    if ENCODE in facts["programs"]:
        return PairSession(folder, outputs, facts["settings"], threads, state_specs(facts))
    return OrtSession(folder / MODEL_FILE, outputs, facts["settings"], threads, state_specs(facts))


def state_specs(facts: ArtifactFacts) -> list[dict[str, Any]]:
    """The inputs of a decoder's step that the step before it gives; none of other models."""
    step = facts["programs"].get(STEP)
    if step is None:
        return []
    fed_back = set(step["state"].values())
    return [spec for spec in step["inputs"] if spec["name"] in fed_back]


def empty_state(specs: Sequence[dict[str, Any]], rows: int) -> dict[str, np.ndarray]:
    """Caches of no positions: what a prompt begins with.

    Args:
        specs: name, dtype and shape `[batch, heads, past, width]` of each.
        rows: of the batch.

    >>> spec = {"name": "past_key_values.0.key", "dtype": "float32", "shape": ["batch", 2, "past", 4]}
    >>> empty_state([spec], 3)["past_key_values.0.key"].shape
    (3, 2, 0, 4)
    """
    sizes = {"batch": rows, "past": 0}
    return {
        spec["name"]: np.zeros(
            [sizes[size] if isinstance(size, str) else size for size in spec["shape"]], spec["dtype"]
        )
        for spec in specs
    }


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
