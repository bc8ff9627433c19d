"""ONNX Runtime on this machine's CPU: fp32, and int8 by several methods."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import pydantic

from edgepress.targets.acceptance.checked import Checked
from edgepress.targets.backend import Backend, Job, absent
from edgepress.targets.errors import ArtifactError, TargetError, told
from edgepress.targets.onnxruntime_cpu.session import MODEL_FILE, OrtSession, open_session
from edgepress.targets.process.scratch import scratch
from edgepress.targets.protocols import Exportable, Session
from edgepress.targets.records import (
    Artifact,
    Availability,
    Candidate,
    Feeds,
    MacCount,
    Options,
    Precision,
    Record,
    Signature,
)


class Settings(Record):
    """Session settings of an artifact. `spinning`: worker threads wait busily, which is faster while alone.

    `saturate`: on x86 without VNNI neighbouring int8 products are added in 16 bits, where sums can be cut off: the
    outputs of a BERT were worthless. False asks for kernels that keep them whole there; other processors always do.
    """

    disabled_optimizers: tuple[str, ...] = ()
    spinning: bool = True
    saturate: bool = False


class OnnxRuntimeCpu(Backend[Path]):
    """Target "onnxruntime-cpu"."""

    name: ClassVar[str] = "onnxruntime-cpu"
    precisions: ClassVar[tuple[Precision, ...]] = ("fp32", "int8")
    runs_with = ("onnxruntime",)
    exports_with = ("onnx", "onnxruntime", "onnxscript", "onnxslim")
    remedy = "pip install 'edgepress[onnxruntime]'"

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        Options.of(self.name, options)

    def probe(self) -> Availability:
        if lacking := absent(self.exports_with):
            return Availability(state="missing", reason=f"needs {lacking}", remedy=self.remedy)
        return Availability(state="available", reason=f"onnxruntime {self._load('onnxruntime').__version__}")

    def candidates(self, model: Exportable, precision: Precision) -> tuple[Candidate, ...]:
        if precision == "fp32":
            return (Candidate(name="fp32", precision="fp32"),)
        if precision == "int8":
            from edgepress.targets.onnxruntime_cpu.int8 import int8_candidates

            return int8_candidates(model.module)
        return ()  # the CPU kernels compute 16-bit floats in fp32: smaller files, never faster

    def session_settings(self) -> tuple[dict[str, Any], ...]:
        """The fused SkipLayerNormalization kernel is slower than its parts on some machines and versions."""
        choices = (Settings(), Settings(disabled_optimizers=("SkipLayerNormFusion",)))
        return tuple(choice.model_dump(mode="json") for choice in choices)

    @contextmanager
    def open(self, artifact: Artifact, folder: Path, threads: int = 1) -> Iterator[Session]:
        self._require(self.runs_with)
        artifact.check_files(folder, [MODEL_FILE])
        _settings(artifact)  # refused by their names, before the runtime is asked
        session = open_session(folder, artifact.model_dump(mode="json"), threads)
        yield Checked(session, artifact.signature)

    def macs(self, artifact: Artifact, folder: Path, feeds: Feeds) -> MacCount | None:
        from edgepress.targets.onnx_graph.macs import count_macs

        self._require(self.exports_with)
        return count_macs(folder / MODEL_FILE, feeds)

    def saturating(self, artifact: Artifact, folder: Path) -> float | None:
        from edgepress.targets.onnxruntime_cpu.saturation import saturating_share

        self._require(self.exports_with)
        return saturating_share(folder / MODEL_FILE) if artifact.precision == "int8" else None

    @contextmanager
    def _prepared(
        self, model: Exportable, calibration: Sequence[Feeds], candidates: Sequence[Candidate]
    ) -> Iterator[Callable[[], Path]]:
        """The fp32 file that every candidate starts from."""
        from edgepress.targets.onnx_graph.export import export_onnx

        with scratch() as temporary:
            path = temporary / MODEL_FILE
            yield lambda: export_onnx(model, calibration[0], path)

    def _export(self, job: Job[Path], candidate: Candidate, folder: Path) -> Artifact:
        from edgepress.targets.acceptance.accept import accept
        from edgepress.targets.acceptance.seal import seal, versions_of

        if candidate.precision == "int8":
            notes, share = _quantize(job.prepared, candidate, job.reference.batches, folder / MODEL_FILE)
        else:
            notes, share = (), 0.0
            shutil.copytree(job.prepared.parent, folder, dirs_exist_ok=True)
        session = graph_session(folder / MODEL_FILE, job.model.signature, 1)
        comparison = accept(session, job.reference, job.model.signature, candidate.precision)
        own: dict[str, Any] = {
            "int8_mac_share": share,
            "settings": Settings().model_dump(mode="json"),
            "versions": versions_of(*self.exports_with, "torch"),
            "notes": notes,
        }
        return seal(self.name, job.model, candidate, folder, comparison, job.reference, **own)


def graph_session(path: Path, signature: Signature, threads: int) -> Session:
    """An ONNX file with default settings: the numbers of every target that starts from one."""
    outputs = [spec.name for spec in signature.outputs]
    return Checked(OrtSession(path, outputs, Settings().model_dump(mode="json"), threads), signature)


def _quantize(
    fp32: Path, candidate: Candidate, calibration: Sequence[Feeds], path: Path
) -> tuple[tuple[str, ...], float]:
    """Write the int8 graph; returns its notes and the share of MACs that run in int8."""
    from edgepress.targets.onnx_graph.macs import count_macs
    from edgepress.targets.onnxruntime_cpu.int8 import quantize

    try:
        notes = quantize(fp32, candidate, calibration, path)
    except TargetError:
        raise
    except Exception as fault:  # the quantizer's and the checker's own errors share no base class
        raise TargetError(f"{candidate.name} could not be made: {told(fault)}") from fault
    # The longest rows: attention's float products weigh most there.
    macs = count_macs(path, calibration[-1])
    if macs.int8 == 0:
        raise TargetError(f"candidate {candidate.name!r} is called int8, yet no product in it is. It was refused.")
    return notes, macs.int8_share


def _settings(artifact: Artifact) -> Settings:
    try:
        return Settings.model_validate(artifact.settings)
    except pydantic.ValidationError as fault:
        first = fault.errors()[0]
        raise ArtifactError(
            f"artifact {artifact.name!r}: setting {'.'.join(map(str, first['loc']))!r} is wrong: {first['msg']}; "
            f"onnxruntime-cpu takes {', '.join(Settings.model_fields)}"
        ) from None
