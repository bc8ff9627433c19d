"""XLA for TPUs: fp32, bf16 and int8 programs of jax.export, weights beside them; compiled here where libtpu is."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

from edgepress.targets.backend import Backend, absent
from edgepress.targets.errors import TargetError, TargetUnavailable
from edgepress.targets.exportable import Exportable, trained_inputs_of
from edgepress.targets.graph.trained import QAT, save_trained
from edgepress.targets.hooks import Made, Opening, Scratch, Source
from edgepress.targets.options import Options
from edgepress.targets.process.feeds import rounded_up, save_feeds
from edgepress.targets.protocols import Runner
from edgepress.targets.records import (
    Artifact,
    Availability,
    Candidate,
    Feeds,
    HardwareBuild,
    MacCount,
    Precision,
    WeightCount,
)
from edgepress.targets.xla_tpu.session import PROGRAM, WEIGHTS, XlaSession, has_tpu

DISTRIBUTIONS = ("jax", "jaxlib", "torch")
NO_COMPILER = "no compiler estimate: pip install 'edgepress[tpu]'"
NO_TPU = "built, not run: no TPU here"
TIMEOUT_S = 1800.0
# Without these libtpu asks the cloud's metadata server, which hangs for minutes where there is no network.
ENVIRONMENT = {
    "JAX_PLATFORMS": "cpu",
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "TPU_LOG_DIR": "disabled",
}


class XlaOptions(Options):
    """`topologies` to compile for where libtpu is; `batches` and `sequences`: the sizes of those compilations."""

    topologies: tuple[str, ...] = ("v5e", "v6e")
    batches: tuple[int, ...] = (1,)
    sequences: tuple[int, ...] = (32, 128)


@dataclass(frozen=True)
class Converted:
    """A folder with a folder for each candidate, what the child said of each, and its peak memory in bytes."""

    folder: Path
    answers: Mapping[str, Any]
    peak: int


class XlaTpu(Backend[Converted]):
    """Target "xla-tpu"."""

    name: ClassVar[str] = "xla-tpu"
    stand_in: ClassVar[str] = "the very same StableHLO program on this CPU through PJRT"
    precisions: ClassVar[tuple[Precision, ...]] = ("fp32", "bf16", "int8")  # its matrix unit multiplies no fp16
    options_type = XlaOptions
    exports_with = runs_with = stands_in_with = ("jax", "flatbuffers", "safetensors")
    remedy = "pip install 'edgepress[xla]'"

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        from edgepress.targets.xla_tpu.chips import CHIPS

        super().__init__(options)
        if unknown := [name for name in self.options.topologies if name not in CHIPS]:
            raise TargetError(f"xla-tpu: unknown topology {unknown[0]!r}; there are {', '.join(CHIPS)}")

    def probe(self) -> Availability:
        if lacking := absent(self.exports_with):
            return Availability(state="missing", reason=f"needs {lacking}", remedy=self.remedy)
        from importlib.metadata import version

        jax = f"jax {self._load('jax').__version__}"
        if not find_spec("libtpu"):
            return Availability(state="built-only", reason=f"{jax}; no TPU here", remedy="pip install 'edgepress[tpu]'")
        jax += f" with libtpu {version('libtpu')}"
        if has_tpu():
            return Availability(state="available", reason=jax)
        chips = ", ".join(self.options.topologies)
        reason = f"{jax}: compiles for TPU {chips}; no TPU here"
        return Availability(state="built-only", reason=reason, remedy="run the artifact on a machine with a TPU")

    def candidates(self, model: Exportable, precision: Precision) -> tuple[Candidate, ...]:
        found = super().candidates(model, precision)
        if precision == "int8" and trained_inputs_of(model):
            return (Candidate(name=QAT, precision="int8"), *found)
        return found

    def _require_hardware(self) -> None:
        if not has_tpu():
            raise TargetUnavailable(NO_TPU)

    def zeros(self, artifact: Artifact, folder: Path) -> WeightCount:
        from edgepress.targets.graph.zeros import count_zeros

        return count_zeros(folder / WEIGHTS)

    def _prepare(
        self, model: Exportable, calibration: Sequence[Feeds], candidates: Sequence[Candidate], scratch: Scratch
    ) -> Callable[[], Converted]:
        """All candidates in one child: to load torch and jax takes longer than to convert."""
        from edgepress.targets.graph.export import refuse_custom, save_program
        from edgepress.targets.graph.narrowing import inference_program
        from edgepress.targets.xla_tpu.compile import sizes_to_compile

        folder = scratch.folder
        wanted = [one for one in candidates if one.precision in self.precisions]
        save_trained(trained_inputs_of(model), folder / "trained.npz")
        program = inference_program(model, calibration[0])
        refuse_custom(program, self.name)
        save_program(program, folder / "program.pt2")
        request = {
            "program": str(folder / "program.pt2"),
            "calibration": save_feeds(calibration, folder / "calibration"),
            "signature": model.signature.model_dump(mode="json"),
            "trained": str(folder / "trained.npz"),
            "candidates": [[one.name, one.precision, str(folder / one.name)] for one in wanted],
            "topologies": list(self.options.topologies) if find_spec("libtpu") else [],
            "sizes": sizes_to_compile(model.signature, self.options.batches, self.options.sequences),
        }
        finish = scratch.start("edgepress.targets.xla_tpu.convert:convert", request, TIMEOUT_S, ENVIRONMENT)
        return lambda: Converted(folder, *finish())

    def _export(self, source: Source[Converted], candidate: Candidate, folder: Path) -> Made:
        from edgepress.targets.acceptance.seal import versions_of
        from edgepress.targets.xla_tpu.convert import PLAIN

        answer = source.prepared.answers[candidate.name]
        if "refused" in answer:
            raise TargetError(answer["refused"])
        shutil.copytree(source.prepared.folder / candidate.name, folder, dirs_exist_ok=True)
        builds = tuple(HardwareBuild.model_validate(build) for build in answer["builds"])
        return Made(
            precision=candidate.precision,
            macs=MacCount(**answer["macs"]),
            companions=(PLAIN,),
            versions=versions_of(*DISTRIBUTIONS, *(["libtpu"] if find_spec("libtpu") else [])),
            notes=(*answer["notes"], "compiler static estimates, not measured" if builds else NO_COMPILER),
            builds=builds,
            peak_bytes=source.prepared.peak,
        )

    @contextmanager
    def _session(self, opening: Opening) -> Iterator[Runner]:
        """PJRT's CPU client has one thread pool for the whole process: threads are not obeyed there."""
        yield XlaSession(opening.folder, opening.facts, cpu=opening.stands_in)

    def _opens(self, stands_in: bool) -> tuple[str, ...]:
        return PROGRAM, WEIGHTS

    def _comparable(self, feeds: Feeds, source: Source[Converted]) -> Feeds:
        """The stand-in compiles a program for each shape: all batches get one."""
        largest = max(len(next(iter(batch.values()))) for batch in source.calibration)
        return rounded_up(feeds, source.model.signature, largest)
