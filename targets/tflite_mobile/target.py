"""TensorFlow Lite (LiteRT) for phones and small boards: fp32, fp16 and int8, one signature for each sequence length."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from edgepress.targets.acceptance.checked import Checked
from edgepress.targets.backend import Backend, Job, absent
from edgepress.targets.errors import TargetError
from edgepress.targets.process.feeds import save_feeds
from edgepress.targets.process.scratch import scratch
from edgepress.targets.protocols import Exportable, Session
from edgepress.targets.records import Artifact, Availability, Candidate, Feeds, MacCount, Options, Precision, Signature
from edgepress.targets.tflite_mobile.buckets import (
    calibration_rows,
    has_mask,
    longest_of,
    names_of,
    sequence_lengths,
    shapes_of,
)
from edgepress.targets.tflite_mobile.padding import fitting
from edgepress.targets.tflite_mobile.session import (
    MODEL_FILE,
    RUNTIMES,
    TfliteSession,
    buckets_of,
    open_session,
    runtime,
)

DISTRIBUTIONS = ("ai-edge-litert", "ai-edge-quantizer", "litert-torch", "torch")
TIMEOUT_S = 900.0


class TfliteOptions(Options):
    """`sequences`: the lengths that get a signature of their own; shorter rows are padded to the next one.
    `compatibility`: legacy files run on tflite-runtime 2.14 too (old phones, Raspberry Pi, armv7l)."""

    sequences: tuple[Annotated[int, Field(ge=1)], ...] = ()
    compatibility: Literal["current", "legacy"] = "current"


@dataclass(frozen=True)
class Converted:
    """The fp32 file that every candidate starts from, its signatures, and the converter's peak memory in bytes."""

    path: Path
    lengths: tuple[int, ...]
    peak: int


class TfliteMobile(Backend[Converted]):
    """Target "tflite-mobile"."""

    name: ClassVar[str] = "tflite-mobile"
    precisions: ClassVar[tuple[Precision, ...]] = ("fp32", "fp16", "int8")
    exports_with = ("ai_edge_litert", "ai_edge_quantizer", "litert_torch")
    remedy = "pip install 'edgepress[tflite]'"

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        self.options = TfliteOptions.of(self.name, options)

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
            return (Candidate(name="int8-static", precision="int8", options=fixed), dynamic)
        # Taking scales at run time is slower than float for convolutions, and with one scale a tensor it is wrong.
        slow = () if one else (dynamic,)
        full = Candidate(name="int8-full", precision="int8", options={"scales": "fixed", "ends": "int8"})
        static = Candidate(name="int8-static", precision="int8", options={"scales": "fixed"})
        return (full, static, *slow)

    def load_runtime(self) -> None:
        if all(absent([name]) for name in RUNTIMES):
            self._require(RUNTIMES[:1])
        runtime()

    @contextmanager
    def open(self, artifact: Artifact, folder: Path, threads: int = 1) -> Iterator[Session]:
        if all(absent([name]) for name in RUNTIMES):
            self._require(RUNTIMES[:1])
        artifact.check_files(folder, [MODEL_FILE])
        self._refuse_settings(artifact)
        yield Checked(open_session(folder, artifact.model_dump(mode="json"), threads), artifact.signature)

    def macs(self, artifact: Artifact, folder: Path, feeds: Feeds) -> MacCount | None:
        from edgepress.targets.tflite_mobile.macs import count_macs

        self._require(self.exports_with)
        name = fitting(longest_of(feeds, artifact.signature), buckets_of(artifact.model_dump(mode="json")))
        return count_macs(folder / MODEL_FILE, name, len(next(iter(feeds.values()))))

    @contextmanager
    def _prepared(
        self, model: Exportable, calibration: Sequence[Feeds], candidates: Sequence[Candidate]
    ) -> Iterator[Callable[[], Converted]]:
        from edgepress.targets.graph.export import refuse_custom, save_program
        from edgepress.targets.graph.narrowing import inference_program
        from edgepress.targets.process.isolation import converting

        lengths = sequence_lengths(model.signature, self.options.sequences)
        with scratch() as temporary:
            program, path = temporary / "program.pt2", temporary / MODEL_FILE
            traced = inference_program(self._seen(model), calibration[0])
            refuse_custom(traced, self.name)
            save_program(traced, program)
            request = {
                "program": str(program),
                "inputs": [spec.name for spec in model.signature.inputs],
                "signatures": {name: shapes_of(model.signature, length) for name, length in names_of(lengths).items()},
                "out": str(path),
            }
            with converting("edgepress.targets.tflite_mobile.convert:convert", request, TIMEOUT_S) as finish:
                yield lambda: Converted(path, lengths, finish()[1])

    def _seen(self, model: Exportable) -> Exportable:
        """The model as the runtime can take it."""
        from edgepress.targets.tflite_mobile.legacy import WithAdditiveMask

        legacy = self.options.compatibility == "legacy"
        return WithAdditiveMask(model) if legacy and has_mask(model.signature) else model

    def _export(self, job: Job[Converted], candidate: Candidate, folder: Path) -> Artifact:
        from edgepress.targets.acceptance.accept import accept
        from edgepress.targets.acceptance.seal import seal, versions_of
        from edgepress.targets.device.pinning import usable_cores
        from edgepress.targets.tflite_mobile.legacy import refuse_newer
        from edgepress.targets.tflite_mobile.macs import count_macs
        from edgepress.targets.tflite_mobile.metadata import attach

        path, signature, peak = folder / MODEL_FILE, job.model.signature, job.prepared.peak
        buckets = names_of(job.prepared.lengths)
        if candidate.precision == "fp32":
            path.write_bytes(job.prepared.path.read_bytes())
        else:
            request = {"model": str(job.prepared.path), "out": str(path), "method": candidate.options}
            peak = max(peak, _quantize(request, signature, job.reference.batches, buckets))
        if self.options.compatibility == "legacy":
            refuse_newer(path)
        attach(path, job.model.description, signature, buckets)
        facts = {"signature": signature.model_dump(mode="json")}
        session = Checked(TfliteSession(path, facts, buckets, usable_cores()), signature)
        comparison = accept(session, job.reference, signature, candidate.precision)
        share = count_macs(path, list(buckets)[-1]).int8_share if candidate.precision == "int8" else 0.0
        if candidate.precision == "int8" and share == 0:
            raise TargetError(f"candidate {candidate.name!r} is called int8, yet no product in it is. It was refused.")
        kept = candidate.model_copy(update={"options": candidate.options | {"sequences": list(job.prepared.lengths)}})
        own: dict[str, Any] = {
            "int8_mac_share": share,
            "versions": versions_of(*DISTRIBUTIONS),
            "conversion_peak_bytes": peak,
        }
        return seal(self.name, job.model, kept, folder, comparison, job.reference, **own)


def _quantize(
    request: dict[str, Any], signature: Signature, batches: Sequence[Feeds], buckets: Mapping[str, int]
) -> int:
    """Write the candidate's file as `request` says; returns the quantizer's peak memory in bytes."""
    from edgepress.targets.process.isolation import convert_apart

    with scratch() as temporary:
        shorter = (-1, *buckets.values())
        places = {
            name: save_feeds(calibration_rows(signature, batches, length, shorter[number]), temporary / name)
            for number, (name, length) in enumerate(buckets.items())
        }
        _, peak = convert_apart(
            "edgepress.targets.tflite_mobile.quantize:quantize", {**request, "calibration": places}, TIMEOUT_S
        )
    return peak
