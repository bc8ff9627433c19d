"""ONNX Runtime on this machine's CPU: fp32, and int8 by several methods."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pydantic

from targets.base import (
    Artifact,
    Availability,
    Candidate,
    Exportable,
    Feeds,
    Precision,
    Record,
    Refusal,
    Session,
    Signature,
)
from targets.errors import ArtifactError, TargetError, TargetUnavailable

if TYPE_CHECKING:
    import onnxruntime

    from targets.verification import Reference

MODEL_FILE = "model.onnx"
RUNS_WITH = ("onnxruntime",)
EXPORTS_WITH = ("onnx", "onnxruntime", "onnxscript", "onnxslim")
REMEDY = "pip install 'edgepress[onnxruntime]'"


class Settings(Record):
    """Session settings of an artifact. `spinning`: worker threads wait busily, which is faster while alone."""

    disabled_optimizers: tuple[str, ...] = ()
    spinning: bool = True


class OnnxRuntimeCpu:
    """Target "onnxruntime-cpu"."""

    name: ClassVar[str] = "onnxruntime-cpu"

    def probe(self) -> Availability:
        if absent := _absent(EXPORTS_WITH):
            return Availability(state="missing", reason=f"needs {absent}", remedy=REMEDY)
        import onnxruntime

        return Availability(state="available", reason=f"onnxruntime {onnxruntime.__version__}")

    def candidates(self, model: Exportable, precision: Precision) -> tuple[Candidate, ...]:
        if precision == "fp32":
            return (Candidate(name="fp32", precision="fp32"),)
        if precision == "int8":
            from targets.onnx_int8 import int8_candidates

            return int8_candidates(model.module)
        return ()  # the CPU kernels compute 16-bit floats in fp32: smaller files, never faster

    def session_settings(self) -> tuple[dict[str, Any], ...]:
        """The fused SkipLayerNormalization kernel is slower than its parts on some machines and versions."""
        return ({"disabled_optimizers": []}, {"disabled_optimizers": ["SkipLayerNormFusion"]})

    def export(self, model: Exportable, calibration: Sequence[Feeds], candidate: Candidate, folder: Path) -> Artifact:
        """One candidate into `folder`; see `export_all` for several of one model."""
        with self._prepared(model, calibration) as (fp32, reference):
            return self._export(model, reference, candidate, fp32, folder)

    def export_all(
        self, model: Exportable, calibration: Sequence[Feeds], candidates: Sequence[Candidate], folder: Path
    ) -> Iterator[Artifact | Refusal]:
        """Each candidate into `folder`/its name; the costly trace of the model and the reference are made once.

        Raises:
            TargetError: the model itself cannot be exported, whatever the candidate.
        """
        with self._prepared(model, calibration) as (fp32, reference):
            for candidate in candidates:
                try:
                    yield self._export(model, reference, candidate, fp32, folder / candidate.name)
                except TargetError as fault:
                    yield Refusal(candidate=candidate, reason=str(fault))

    @contextmanager
    def open(self, artifact: Artifact, folder: Path, threads: int = 1) -> Iterator[Session]:
        _require(RUNS_WITH)
        artifact.check_files(folder)
        yield OrtSession(folder / MODEL_FILE, artifact.signature, _settings(artifact), threads)

    @contextmanager
    def _prepared(self, model: Exportable, calibration: Sequence[Feeds]) -> Iterator[tuple[Path, Reference]]:
        """The fp32 file that every candidate starts from, compared with torch, and torch's own logits."""
        _require(EXPORTS_WITH)
        from targets.onnx_graph import export_onnx
        from targets.verification import Reference

        reference = Reference.of(model, calibration)
        with TemporaryDirectory(prefix="edgepress-") as temporary:
            path = Path(temporary) / MODEL_FILE
            export_onnx(model, calibration[0], path)
            yield path, reference

    def _export(
        self, model: Exportable, reference: Reference, candidate: Candidate, fp32: Path, folder: Path
    ) -> Artifact:
        from targets.verification import accept, new_folder, seal, versions_of

        if candidate.precision not in ("fp32", "int8"):
            raise TargetError(f"{self.name} exports fp32 and int8, got {candidate.precision!r}")
        new_folder(folder)
        if candidate.precision == "int8":
            notes, share = _quantize(fp32, candidate, reference.batches, folder / MODEL_FILE)
        else:
            notes, share = (), 0.0
            shutil.copytree(fp32.parent, folder, dirs_exist_ok=True)
        session = OrtSession(folder / MODEL_FILE, model.signature, Settings(), threads=1)
        comparison = accept(session, reference, model.signature, exact=candidate.precision == "fp32")
        sealed = seal(self.name, model, candidate, folder, comparison, reference)
        own = {
            "int8_mac_share": share,
            "settings": Settings().model_dump(mode="json"),
            "versions": versions_of(*EXPORTS_WITH, "torch"),
            "notes": notes,
        }
        artifact = sealed.model_copy(update=own)
        artifact.write(folder / Artifact.FILE_NAME)
        return artifact


class OrtSession:
    """One `onnxruntime.InferenceSession` behind the Session protocol."""

    def __init__(self, path: Path, signature: Signature, settings: Settings, threads: int) -> None:
        self._signature = signature
        self._outputs = [spec.name for spec in signature.outputs]
        self._session = _open(path, settings, threads)

    def infer(self, feeds: Feeds) -> dict[str, np.ndarray]:
        """{"logits": `[batch, classes]`}. Raises SignatureError for feeds that do not fit."""
        self._signature.check(feeds)
        return dict(zip(self._outputs, self._session.run(self._outputs, dict(feeds)), strict=True))


def _absent(packages: Sequence[str]) -> str:
    return " and ".join(package for package in packages if find_spec(package) is None)


def _require(packages: Sequence[str]) -> None:
    if absent := _absent(packages):
        raise TargetUnavailable(f"onnxruntime-cpu needs {absent}. Fix: {REMEDY}")


def _open(path: Path, settings: Settings, threads: int) -> onnxruntime.InferenceSession:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if settings.spinning else "0")
    try:
        return onnxruntime.InferenceSession(
            path,
            options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=list(settings.disabled_optimizers),
        )
    except Exception as fault:  # its exceptions share no base class of their own
        raise ArtifactError(
            f"{path} cannot be opened by onnxruntime {onnxruntime.__version__}: {str(fault).splitlines()[0]}"
        ) from fault


def _quantize(
    fp32: Path, candidate: Candidate, calibration: Sequence[Feeds], path: Path
) -> tuple[tuple[str, ...], float]:
    """Write the int8 graph; returns its notes and the share of MACs that run in int8."""
    from targets.onnx_int8 import quantize
    from targets.onnx_macs import count_macs

    try:
        notes = quantize(fp32, candidate, calibration, path)
    except TargetError:
        raise
    except Exception as fault:  # the quantizer's and the checker's own errors share no base class
        reason = " ".join(str(fault).split())[:300]
        raise TargetError(f"{candidate.name} could not be made: {type(fault).__name__}: {reason}") from fault
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
