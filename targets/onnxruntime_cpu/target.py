"""ONNX Runtime on this machine's CPU: fp32, int8 by several methods, and decoders' weights of 8 and 4 bits."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from edgepress.targets.backend import Backend
from edgepress.targets.errors import TargetError, told
from edgepress.targets.exportable import Exportable, stepping_of
from edgepress.targets.hooks import Made, Opening, Scratch, Source
from edgepress.targets.onnx_graph.session import MODEL_FILE, open_session
from edgepress.targets.onnx_graph.settings import Settings
from edgepress.targets.protocols import Runner
from edgepress.targets.records import (
    INTEGERS,
    STEP,
    Artifact,
    Candidate,
    Feeds,
    MacCount,
    Precision,
    Signature,
    WeightCount,
)


class OnnxRuntimeCpu(Backend[Path]):
    """Target "onnxruntime-cpu"."""

    name: ClassVar[str] = "onnxruntime-cpu"
    precisions: ClassVar[tuple[Precision, ...]] = ("fp32", "int8", "int4")
    settings_type = Settings
    runs_with = ("onnxruntime",)
    exports_with = ("onnx", "onnxruntime", "onnxscript", "onnxslim")
    remedy = "pip install 'edgepress[onnxruntime]'"

    def candidates(self, model: Exportable, precision: Precision) -> tuple[Candidate, ...]:
        if precision == "fp32":
            return (Candidate(name="fp32", precision="fp32"),)
        if precision in INTEGERS:
            from edgepress.targets.onnxruntime_cpu.int8 import int8_candidates
            from edgepress.targets.onnxruntime_cpu.weights import weight_candidates

            # Where many tokens are read at once, products bound the time and not the weights' bytes: decoders alone.
            weights = weight_candidates(precision) if stepping_of(model) is not None else ()
            return (*weights, *(int8_candidates(model.module) if precision == "int8" else ()))
        return ()  # the CPU kernels compute 16-bit floats in fp32: smaller files, never faster

    def session_settings(self) -> tuple[dict[str, Any], ...]:
        """The fused SkipLayerNormalization kernel is slower than its parts on some machines and versions."""
        choices = (Settings(), Settings(disabled_optimizers=("SkipLayerNormFusion",)))
        return tuple(choice.model_dump(mode="json") for choice in choices)

    def macs(self, artifact: Artifact, folder: Path, feeds: Feeds) -> MacCount | None:
        from edgepress.targets.onnx_graph.macs import count_macs

        self._require(self.exports_with)
        return count_macs(folder / MODEL_FILE, with_state(feeds, artifact.programs))

    def zeros(self, artifact: Artifact, folder: Path) -> WeightCount:
        from edgepress.targets.onnx_graph.zeros import count_zeros

        self._require(self.exports_with)
        return count_zeros(folder / MODEL_FILE)

    def saturating(self, artifact: Artifact, folder: Path) -> float | None:
        from edgepress.targets.onnxruntime_cpu.saturation import saturating_share

        self._require(self.exports_with)
        return saturating_share(folder / MODEL_FILE) if artifact.precision == "int8" else None

    def _prepare(
        self, model: Exportable, calibration: Sequence[Feeds], candidates: Sequence[Candidate], scratch: Scratch
    ) -> Callable[[], Path]:
        """The fp32 file that every candidate starts from: of a decoder its step, with empty caches the whole of it."""
        from edgepress.targets.onnx_graph.export import export_onnx

        if (step := stepping_of(model)) is not None:
            return lambda: export_onnx(step, step.example, scratch.folder / MODEL_FILE)
        return lambda: export_onnx(model, calibration[0], scratch.folder / MODEL_FILE)

    def _export(self, source: Source[Path], candidate: Candidate, folder: Path) -> Made:
        from edgepress.targets.acceptance.seal import versions_of
        from edgepress.targets.onnx_graph.macs import count_macs

        notes: tuple[str, ...] = ()
        macs = None
        step = stepping_of(source.model)
        programs = {STEP: step.signature} if step is not None else {}
        if candidate.precision in INTEGERS:
            calibration = [with_state(feeds, programs) for feeds in source.calibration]
            notes = _quantize(source.prepared, candidate, calibration, folder / MODEL_FILE)
            # The longest rows: attention's float products weigh most there.
            macs = count_macs(folder / MODEL_FILE, calibration[-1])
        else:
            shutil.copytree(source.prepared.parent, folder, dirs_exist_ok=True)
        return Made(
            precision=candidate.precision,
            macs=macs,
            programs=programs,
            settings=Settings().model_dump(mode="json"),
            versions=versions_of(*self.exports_with, "torch"),
            notes=notes,
        )

    @contextmanager
    def _session(self, opening: Opening) -> Iterator[Runner]:
        yield open_session(opening.folder, opening.facts, opening.threads)

    def _opens(self, stands_in: bool) -> tuple[str, ...]:
        return (MODEL_FILE,)


def with_state(feeds: Feeds, programs: Mapping[str, Signature]) -> Feeds:
    """Feeds of "main" as the graph of a decoder takes them, with caches of no positions.

    Args:
        feeds: of one call, {input: `[batch, ...]`}.
        programs: the artifact's; without a step there is nothing to add.
    """
    step = programs.get(STEP)
    if step is None:
        return feeds
    rows, length = feeds["input_ids"].shape
    return {**step.zeros(batch=rows, sequence=length, past=0, total=length), **feeds}


def _quantize(fp32: Path, candidate: Candidate, calibration: Sequence[Feeds], path: Path) -> tuple[str, ...]:
    """Write the graph in lower precision; returns what was done, a line each."""
    from edgepress.targets.onnxruntime_cpu.int8 import write_int8
    from edgepress.targets.onnxruntime_cpu.weights import WEIGHTS, write_weights

    try:
        if candidate.name in WEIGHTS:
            return write_weights(fp32, candidate, calibration, path)
        return write_int8(fp32, candidate, calibration, path)
    except TargetError:
        raise
    except Exception as fault:  # the quantizer's and the checker's own errors share no base class
        raise TargetError(f"{candidate.name} could not be made: {told(fault)}") from fault
