"""ONNX Runtime on this machine's CPU: fp32, int8 by several methods, and decoders' weights of 8 and 4 bits."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from edgepress.targets.backend import Backend
from edgepress.targets.errors import TargetError, told
from edgepress.targets.exportable import Exportable, TrainedInput, stepping_of, trained_inputs_of
from edgepress.targets.hooks import Made, Opening, Scratch, Source
from edgepress.targets.onnx_graph.session import open_session
from edgepress.targets.onnx_graph.settings import Settings
from edgepress.targets.onnxruntime_cpu.graphs import (
    all_macs,
    all_weights,
    encoder_of,
    export_graphs,
    files_of,
    graph_feeds,
    programs_of,
)
from edgepress.targets.protocols import Runner
from edgepress.targets.records import INTEGERS, Artifact, Candidate, Feeds, MacCount, Precision, WeightCount


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

            step = stepping_of(model)
            # Where many tokens are read at once, products bound the time and not the weights' bytes: decoders alone.
            weights = weight_candidates(precision) if step is not None and step.encoder is None else ()
            trained = bool(trained_inputs_of(model))
            return (*weights, *(int8_candidates(model.module, trained) if precision == "int8" else ()))
        return ()  # the CPU kernels compute 16-bit floats in fp32: smaller files, never faster

    def session_settings(self) -> tuple[dict[str, Any], ...]:
        """The fused SkipLayerNormalization kernel is slower than its parts on some machines and versions."""
        choices = (Settings(), Settings(disabled_optimizers=("SkipLayerNormFusion",)))
        return tuple(choice.model_dump(mode="json") for choice in choices)

    def macs(self, artifact: Artifact, folder: Path, feeds: Feeds) -> MacCount | None:
        from edgepress.targets.onnx_graph.macs import count_macs

        self._require(self.exports_with)
        fed = graph_feeds(feeds, artifact.programs)
        return all_macs(count_macs(folder / name, given) for name, given in fed.items())

    def zeros(self, artifact: Artifact, folder: Path) -> WeightCount:
        from edgepress.targets.onnx_graph.zeros import count_zeros

        self._require(self.exports_with)
        return all_weights(count_zeros(folder / name) for name in files_of(artifact.programs))

    def saturating(self, artifact: Artifact, folder: Path) -> float | None:
        from edgepress.targets.onnxruntime_cpu.saturation import saturating_share

        self._require(self.exports_with)
        paths = [folder / name for name in files_of(artifact.programs)]
        return saturating_share(*paths) if artifact.precision == "int8" else None

    def _prepare(
        self, model: Exportable, calibration: Sequence[Feeds], candidates: Sequence[Candidate], scratch: Scratch
    ) -> Callable[[], Path]:
        """The folder of the fp32 graphs that every candidate starts from."""
        return lambda: export_graphs(model, calibration[0], scratch.folder)

    def _export(self, source: Source[Path], candidate: Candidate, folder: Path) -> Made:
        from edgepress.targets.acceptance.seal import versions_of
        from edgepress.targets.onnx_graph.macs import count_macs

        notes: tuple[str, ...] = ()
        macs = None
        programs = programs_of(source.model)
        if candidate.precision in INTEGERS:
            encode, trained = encoder_of(source.prepared, programs), trained_inputs_of(source.model)
            calibration = [graph_feeds(feeds, programs, encode) for feeds in source.calibration]
            for name in calibration[-1]:
                fed = [feeds[name] for feeds in calibration]
                notes += _quantize(source.prepared / name, candidate, fed, folder / name, trained)
            # The longest rows: attention's float products weigh most there.
            macs = all_macs(count_macs(folder / name, fed) for name, fed in calibration[-1].items())
        else:
            shutil.copytree(source.prepared, folder, dirs_exist_ok=True)
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

    def _opens_of(self, artifact: Artifact, stands_in: bool) -> tuple[str, ...]:
        return files_of(artifact.programs)


def _quantize(
    fp32: Path, candidate: Candidate, calibration: Sequence[Feeds], path: Path, trained: Sequence[TrainedInput]
) -> tuple[str, ...]:
    """Write the graph in lower precision; returns what was done, a line each."""
    from edgepress.targets.onnxruntime_cpu.int8 import write_int8
    from edgepress.targets.onnxruntime_cpu.weights import WEIGHTS, write_weights

    try:
        if candidate.name in WEIGHTS:
            return write_weights(fp32, candidate, calibration, path)
        return write_int8(fp32, candidate, calibration, path, trained)
    except TargetError:
        raise
    except Exception as fault:  # the quantizer's and the checker's own errors share no base class
        raise TargetError(f"{candidate.name} could not be made: {told(fault)}") from fault
