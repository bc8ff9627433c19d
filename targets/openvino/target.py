"""OpenVINO: fp32, 16-bit floats where the device has units for them, int8 by nncf; sizes that vary, or are fixed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, Literal

from edgepress.targets.backend import Backend, absent
from edgepress.targets.errors import TargetError, TargetUnavailable
from edgepress.targets.exportable import Exportable
from edgepress.targets.hooks import Made, Opening, Scratch, Source
from edgepress.targets.lengths.choice import has_mask, lengths_within
from edgepress.targets.openvino.session import MODEL_FILE, WEIGHTS_FILE, OpenVinoSession, devices, open_session
from edgepress.targets.options import Options
from edgepress.targets.protocols import Runner
from edgepress.targets.records import (
    Artifact,
    Availability,
    Candidate,
    Feeds,
    MacCount,
    Precision,
    Record,
    Signature,
    WeightCount,
)

ONNX_FILE = "model.onnx"
PACKAGES = ("onnx", "onnxruntime", "onnxscript", "onnxslim", "openvino", "nncf")
HINTS: dict[Precision, str] = {"fp32": "f32", "int8": "f32", "bf16": "bf16", "fp16": "f16"}
CAPABILITY: dict[Precision, str] = {"bf16": "BF16", "fp16": "FP16"}


class OpenVinoOptions(Options):
    """`device`: what is compiled for. `lengths`: those that rows which come alone are padded to; left out: 32, 64, …
    up to the longest."""

    device: Literal["CPU", "GPU", "NPU"] = "CPU"
    lengths: tuple[int, ...] = ()


class Settings(Record):
    """How a session is opened. `precision` is that of all that is not int8; `lengths` are empty where sizes vary."""

    device: Literal["CPU", "GPU", "NPU"] = "CPU"
    precision: Literal["f32", "bf16", "f16"] = "f32"
    lengths: tuple[int, ...] = ()


class OpenVino(Backend[Path]):
    """Target "openvino"."""

    name: ClassVar[str] = "openvino"
    stand_in: ClassVar[str] = "the very same model compiled by OpenVINO for this CPU"
    precisions: ClassVar[tuple[Precision, ...]] = ("fp32", "fp16", "bf16", "int8")
    options_type = OpenVinoOptions
    settings_type = Settings
    runs_with = stands_in_with = ("openvino",)
    exports_with = PACKAGES
    remedy = "pip install 'edgepress[openvino]'"

    def probe(self) -> Availability:
        if lacking := absent(self.exports_with):
            return Availability(state="missing", reason=f"needs {lacking}", remedy=self.remedy)
        version = f"openvino {self._load('openvino').__version__.partition('-')[0]}"
        if self.options.device in (seen := devices()):
            return Availability(state="available", reason=f"{version} on {self.options.device}")
        reason = f"{version} has no {self.options.device} here, but {', '.join(seen)}"
        return Availability(state="built-only", reason=reason, remedy=f"measure where there is a {self.options.device}")

    def candidates(self, model: Exportable, precision: Precision) -> tuple[Candidate, ...]:
        """Each with sizes that vary and, where rows can be padded, with fixed lengths; in half precision only where the
        device computes in it."""
        if precision != "fp32" and (absent(self.exports_with) or not self._computes(precision)):
            return ()
        options = {"preset": "mixed"} if precision == "int8" else {}
        made = [Candidate(name=precision, precision=precision, options=options)]
        if precision == "int8":
            made.append(Candidate(name="int8-symmetric", precision="int8", options={"preset": "performance"}))
        if precision != "fp32" and can_pad(model.signature):
            made += [_fixed(candidate) for candidate in made]
        return tuple(made)

    def _computes(self, precision: Precision) -> bool:
        if precision in ("fp32", "int8"):
            return True
        if precision == "fp16" and self.options.device == "CPU":
            return False  # CPUs are asked for bf16: their fp16 units are of AMX alone
        import openvino

        device = self.options.device if self.options.device in devices() else "CPU"
        return CAPABILITY[precision] in openvino.Core().get_property(device, "OPTIMIZATION_CAPABILITIES")

    def macs(self, artifact: Artifact, folder: Path, feeds: Feeds) -> MacCount | None:
        from edgepress.targets.openvino.macs import count_macs

        self._require(self.runs_with)
        return count_macs(folder, feeds)

    def zeros(self, artifact: Artifact, folder: Path) -> WeightCount:
        from edgepress.targets.openvino.macs import count_zeros

        self._require(self.runs_with)
        return count_zeros(folder)

    def _require_hardware(self) -> None:
        if self.options.device not in (seen := devices()):
            raise TargetUnavailable(f"OpenVINO has no {self.options.device} here, but {', '.join(seen)}.")

    def _prepare(
        self, model: Exportable, calibration: Sequence[Feeds], candidates: Sequence[Candidate], scratch: Scratch
    ) -> Callable[[], Path]:
        """The fp32 ONNX file, which every candidate starts from."""
        from edgepress.targets.onnx_graph.export import export_onnx

        self._check_lengths(model.signature)
        return lambda: export_onnx(model, calibration[0], scratch.folder / ONNX_FILE)

    def _check_lengths(self, signature: Signature) -> None:
        if self.options.lengths and not can_pad(signature):
            raise TargetError(
                "openvino, option 'lengths': the model has no sequence with an attention_mask. Leave it out."
            )
        low, high = signature.bounds.get("sequence", (0, 0))
        if outside := [length for length in self.options.lengths if not low <= length <= high]:
            raise TargetError(f"openvino: a length of {outside[0]} is outside the model's bounds, {low} to {high}")

    def _export(self, source: Source[Path], candidate: Candidate, folder: Path) -> Made:
        import openvino

        from edgepress.targets.acceptance.seal import versions_of
        from edgepress.targets.openvino.macs import count_macs
        from edgepress.targets.openvino.quantize import quantized

        if not self._computes(candidate.precision):
            raise TargetError(f"{candidate.name}: OpenVINO computes nothing in {candidate.precision} on this machine.")
        int8 = candidate.precision == "int8"
        if int8:
            model = quantized(source.prepared, source.model.module, candidate, source.calibration)
        else:
            model = openvino.Core().read_model(source.prepared)
        # save_model makes weights 16-bit unless it is told not to, whatever the file is called.
        openvino.save_model(model, folder / MODEL_FILE, compress_to_fp16=candidate.precision in ("bf16", "fp16"))
        fixed = candidate.options.get("lengths") == "fixed"
        settings = Settings(
            device=self.options.device,
            precision=HINTS[candidate.precision],  # type: ignore[arg-type]
            lengths=lengths_within(*source.model.signature.bounds["sequence"], self.options.lengths) if fixed else (),
        )
        return Made(
            precision=candidate.precision,
            macs=count_macs(folder, source.calibration[-1]) if int8 else None,
            settings=settings.model_dump(mode="json"),
            versions=versions_of(*PACKAGES, "torch"),
        )

    @contextmanager
    def _session(self, opening: Opening) -> Iterator[Runner]:
        if opening.stands_in:
            yield OpenVinoSession(opening.folder, opening.facts, opening.threads, "CPU")
        else:
            yield open_session(opening.folder, opening.facts, opening.threads)

    def _opens(self, stands_in: bool) -> tuple[str, ...]:
        return (MODEL_FILE, WEIGHTS_FILE)


def can_pad(signature: Signature) -> bool:
    """Whether rows may get longer without another answer: there is a sequence that varies, and a mask."""
    low, high = signature.bounds.get("sequence", (0, 0))
    return low < high and has_mask(signature)


def _fixed(candidate: Candidate) -> Candidate:
    options = {**candidate.options, "lengths": "fixed"}
    return Candidate(name=f"{candidate.name}-lengths", precision=candidate.precision, options=options)
