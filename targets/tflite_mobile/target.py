"""TensorFlow Lite (LiteRT) for phones and small boards: fp32, fp16 and int8, one signature for each sequence length."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from edgepress.targets.backend import Backend, absent
from edgepress.targets.exportable import Exportable, trained_inputs_of
from edgepress.targets.graph.fixed import fixed_digests
from edgepress.targets.graph.trained import QAT, save_trained
from edgepress.targets.hooks import Made, Opening, Scratch, Source
from edgepress.targets.lengths.choice import has_mask
from edgepress.targets.options import Options
from edgepress.targets.process.feeds import save_feeds
from edgepress.targets.process.scratch import scratch
from edgepress.targets.protocols import Runner
from edgepress.targets.records import (
    Artifact,
    Availability,
    Candidate,
    Feeds,
    MacCount,
    Precision,
    Signature,
    WeightCount,
)
from edgepress.targets.tflite_mobile.buckets import (
    calibration_rows,
    fitting,
    lengths_of,
    programs_of,
    sequence_lengths,
)
from edgepress.targets.tflite_mobile.session import MODEL_FILE, RUNTIMES, open_session, runtime

DISTRIBUTIONS = ("ai-edge-litert", "ai-edge-quantizer", "litert-torch", "torch")
TIMEOUT_S = 900.0


class TfliteOptions(Options):
    """`sequences`: the lengths that get a program of their own; shorter rows are padded to the next one.
    `compatibility`: legacy files run on tflite-runtime 2.14 too (old phones, Raspberry Pi, armv7l)."""

    sequences: tuple[Annotated[int, Field(ge=1)], ...] = ()
    compatibility: Literal["current", "legacy"] = "current"


@dataclass(frozen=True)
class Converted:
    """The fp32 file that every candidate starts from, its programs, and the converter's peak memory in bytes."""

    path: Path
    programs: Mapping[str, Signature]
    peak: int


class TfliteMobile(Backend[Converted]):
    """Target "tflite-mobile"."""

    name: ClassVar[str] = "tflite-mobile"
    precisions: ClassVar[tuple[Precision, ...]] = ("fp32", "fp16", "int8")
    options_type = TfliteOptions
    exports_with = ("ai_edge_litert", "ai_edge_quantizer", "litert_torch")
    compares_on_all_cores = True
    remedy = "pip install 'edgepress[tflite]'"

    def probe(self) -> Availability:
        if lacking := absent(self.exports_with):
            return Availability(state="missing", reason=f"needs {lacking}", remedy=self.remedy)
        from importlib.metadata import version

        self._load("ai_edge_litert.interpreter")
        return Availability(state="available", reason=f"ai-edge-litert {version('ai-edge-litert')} on this CPU")

    def candidates(self, model: Exportable, precision: Precision) -> tuple[Candidate, ...]:
        from edgepress.targets.graph.export import is_transformer

        if precision == "fp32":
            return (Candidate(name="fp32", precision="fp32"),)
        if precision == "fp16":
            return (Candidate(name="fp16", precision="fp16", options={"scales": "half"}),)
        if precision == "bf16":
            return ()
        one = {"granularity": "tensor"} if self.options.compatibility == "legacy" else {}
        dynamic = Candidate(name="int8-dynamic", precision="int8", options={"scales": "run-time", **one})
        if is_transformer(model.module):
            fixed = {"scales": "fixed", "layers": "linear", **one}
            static = Candidate(name="int8-static", precision="int8", options=fixed)
            return (*_trained(model, static), static, dynamic)
        # Taking scales at run time is slower than float for convolutions, and with one scale a tensor it is wrong.
        slow = () if one else (dynamic,)
        full = Candidate(name="int8-full", precision="int8", options={"scales": "fixed", "ends": "int8"})
        static = Candidate(name="int8-static", precision="int8", options={"scales": "fixed"})
        # What goes into products that stay float must not be rounded to int8 before them.
        rest = (static, *slow) if fixed_digests(model.module) else (full, static, *slow)
        return (*_trained(model, static), *rest)

    def load_runtime(self) -> None:
        self._require_runtime(stands_in=False)
        runtime()

    def macs(self, artifact: Artifact, folder: Path, feeds: Feeds) -> MacCount | None:
        from edgepress.targets.tflite_mobile.macs import count_macs

        self._require(self.exports_with)
        name = fitting(feeds, artifact.signature, lengths_of(artifact.programs))
        return count_macs(folder / MODEL_FILE, name, len(next(iter(feeds.values()))))

    def zeros(self, artifact: Artifact, folder: Path) -> WeightCount:
        from edgepress.targets.tflite_mobile.zeros import count_zeros

        self._require(self.exports_with)
        return count_zeros(folder / MODEL_FILE)

    def _prepare(
        self, model: Exportable, calibration: Sequence[Feeds], candidates: Sequence[Candidate], scratch: Scratch
    ) -> Callable[[], Converted]:
        from edgepress.targets.graph.export import refuse_custom, save_program
        from edgepress.targets.graph.narrowing import inference_program

        programs = programs_of(model.signature, sequence_lengths(model.signature, self.options.sequences))
        traced = inference_program(self._seen(model), calibration[0])
        refuse_custom(traced, self.name)
        save_program(traced, scratch.folder / "program.pt2")
        path = scratch.folder / MODEL_FILE
        request = {
            "program": str(scratch.folder / "program.pt2"),
            "inputs": [spec.name for spec in model.signature.inputs],
            "outputs": [spec.name for spec in model.signature.outputs],
            "signatures": {
                name: [[list(spec.shape), spec.dtype] for spec in program.inputs] for name, program in programs.items()
            },
            "out": str(path),
        }
        finish = scratch.start("edgepress.targets.tflite_mobile.convert:convert", request, TIMEOUT_S)
        return lambda: Converted(path, programs, finish()[1])

    def _seen(self, model: Exportable) -> Exportable:
        """The model as the runtime can take it."""
        from edgepress.targets.tflite_mobile.legacy import WithAdditiveMask

        legacy = self.options.compatibility == "legacy"
        return WithAdditiveMask(model) if legacy and has_mask(model.signature) else model

    def _export(self, source: Source[Converted], candidate: Candidate, folder: Path) -> Made:
        from edgepress.targets.acceptance.seal import versions_of
        from edgepress.targets.tflite_mobile.legacy import refuse_newer
        from edgepress.targets.tflite_mobile.macs import count_macs
        from edgepress.targets.tflite_mobile.metadata import attach

        path, prepared, signature = folder / MODEL_FILE, source.prepared, source.model.signature
        buckets = lengths_of({"main": signature, **prepared.programs})
        peak, notes = prepared.peak, ()
        if candidate.precision == "fp32":
            path.write_bytes(prepared.path.read_bytes())
        else:
            fixed = fixed_digests(source.model.module)
            request = {"model": str(prepared.path), "out": str(path), "method": candidate.options, "fixed": fixed}
            answer, used = _quantize(request, source, buckets)
            peak, notes = max(peak, used), tuple(answer["notes"])
        if self.options.compatibility == "legacy":
            refuse_newer(path)
        attach(path, source.model.description, signature, buckets)
        return Made(
            precision=candidate.precision,
            # Of the longest program: attention's float products weigh most there.
            macs=count_macs(path, list(buckets)[-1]) if candidate.precision == "int8" else None,
            programs=prepared.programs,
            versions=versions_of(*DISTRIBUTIONS),
            notes=notes,
            peak_bytes=peak,
        )

    @contextmanager
    def _session(self, opening: Opening) -> Iterator[Runner]:
        yield open_session(opening.folder, opening.facts, opening.threads)

    def _opens(self, stands_in: bool) -> tuple[str, ...]:
        return (MODEL_FILE,)

    def _require_runtime(self, stands_in: bool) -> None:
        """Either of the runtimes opens a file; the first is asked for where there is none."""
        if all(absent([name]) for name in RUNTIMES):
            self._require(RUNTIMES[:1])


def _trained(model: Exportable, static: Candidate) -> tuple[Candidate, ...]:
    """`static` with the ranges that the model was trained with, where it has some."""
    options = {**static.options, "trained": True}
    return (Candidate(name=QAT, precision="int8", options=options),) if trained_inputs_of(model) else ()


def _quantize(
    request: dict[str, Any], source: Source[Converted], buckets: Mapping[str, int]
) -> tuple[dict[str, Any], int]:
    """Write the candidate's file as `request` says; returns the quantizer's answer and its peak memory in bytes."""
    from edgepress.targets.process.isolation import convert_apart

    signature, batches = source.model.signature, source.calibration
    with scratch() as temporary:
        shorter = (-1, *buckets.values())
        places = {
            name: save_feeds(calibration_rows(signature, batches, length, shorter[number]), temporary / name)
            for number, (name, length) in enumerate(buckets.items())
        }
        save_trained(trained_inputs_of(source.model), temporary / "trained.npz")
        asked = {**request, "calibration": places, "trained": str(temporary / "trained.npz")}
        return convert_apart("edgepress.targets.tflite_mobile.quantize:quantize", asked, TIMEOUT_S)
