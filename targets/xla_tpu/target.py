"""XLA for TPUs: fp32, bf16 and int8 programs of jax.export, weights beside them; compiled here where libtpu is."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

from edgepress.targets.acceptance.checked import Checked
from edgepress.targets.backend import Backend, Job, absent
from edgepress.targets.errors import TargetError, TargetUnavailable
from edgepress.targets.process.feeds import rounded_up, save_feeds
from edgepress.targets.process.scratch import scratch
from edgepress.targets.protocols import Exportable, Session
from edgepress.targets.records import Artifact, Availability, Candidate, Feeds, HardwareBuild, Options, Precision
from edgepress.targets.xla_tpu.session import has_tpu

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
    """A folder with a folder for each precision, what the child said of each, and its peak memory in bytes."""

    folder: Path
    answers: Mapping[str, Any]
    peak: int


class XlaTpu(Backend[Converted]):
    """Target "xla-tpu"."""

    name: ClassVar[str] = "xla-tpu"
    stand_in: ClassVar[str] = "the very same StableHLO program on this CPU through PJRT"
    precisions: ClassVar[tuple[Precision, ...]] = ("fp32", "bf16", "int8")  # its matrix unit multiplies no fp16
    runs_with = ("jax",)
    exports_with = ("jax", "flatbuffers", "safetensors")
    remedy = "pip install 'edgepress[xla]'"

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        from edgepress.targets.xla_tpu.chips import CHIPS

        self.options = XlaOptions.of(self.name, options)
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
        return (Candidate(name=precision, precision=precision),) if precision in self.precisions else ()

    @contextmanager
    def open(self, artifact: Artifact, folder: Path, threads: int = 1) -> Iterator[Session]:
        if not has_tpu():
            raise TargetUnavailable(NO_TPU)
        yield self._session(artifact, folder, cpu=False)

    @contextmanager
    def open_stand_in(self, artifact: Artifact, folder: Path, threads: int = 1) -> Iterator[Session]:
        """PJRT's CPU client has one thread pool for the whole process: `threads` is not obeyed."""
        yield self._session(artifact, folder, cpu=True)

    def _session(self, artifact: Artifact, folder: Path, cpu: bool) -> Session:
        from edgepress.targets.xla_tpu.session import PROGRAM, WEIGHTS, XlaSession

        self._require(self.exports_with)
        artifact.check_files(folder, [PROGRAM, WEIGHTS])
        self._refuse_settings(artifact)
        return Checked(XlaSession(folder, artifact.model_dump(mode="json"), cpu), artifact.signature)

    @contextmanager
    def _prepared(
        self, model: Exportable, calibration: Sequence[Feeds], candidates: Sequence[Candidate]
    ) -> Iterator[Callable[[], Converted]]:
        """All precisions in one child: to load torch and jax takes longer than to convert."""
        from edgepress.targets.graph.export import refuse_custom, save_program
        from edgepress.targets.graph.narrowing import inference_program
        from edgepress.targets.process.isolation import converting
        from edgepress.targets.xla_tpu.compile import sizes_to_compile

        precisions = [one.precision for one in candidates if one.precision in self.precisions]
        compiles = find_spec("libtpu") is not None
        with scratch() as folder:
            program = inference_program(model, calibration[0])
            refuse_custom(program, self.name)
            save_program(program, folder / "program.pt2")
            request = {
                "program": str(folder / "program.pt2"),
                "calibration": save_feeds(calibration, folder / "calibration"),
                "signature": model.signature.model_dump(mode="json"),
                "folders": {precision: str(folder / precision) for precision in precisions},
                "topologies": list(self.options.topologies) if compiles else [],
                "sizes": sizes_to_compile(model.signature, self.options.batches, self.options.sequences),
            }
            with converting("edgepress.targets.xla_tpu.convert:convert", request, TIMEOUT_S, ENVIRONMENT) as finish:
                yield lambda: Converted(folder, *finish())

    def _export(self, job: Job[Converted], candidate: Candidate, folder: Path) -> Artifact:
        from edgepress.targets.acceptance.accept import accept
        from edgepress.targets.acceptance.seal import seal, versions_of
        from edgepress.targets.xla_tpu.convert import PLAIN
        from edgepress.targets.xla_tpu.session import XlaSession

        answer = job.prepared.answers[candidate.precision]
        if "refused" in answer:
            raise TargetError(answer["refused"])
        shutil.copytree(job.prepared.folder / candidate.precision, folder, dirs_exist_ok=True)
        signature = job.model.signature
        largest = max(len(next(iter(feeds.values()))) for feeds in job.reference.batches)
        comparison = accept(
            Checked(XlaSession(folder, {"signature": signature.model_dump(mode="json")}, cpu=True), signature),
            job.reference,
            signature,
            candidate.precision,
            lambda feeds: rounded_up(feeds, signature, largest),
        )
        builds = tuple(HardwareBuild.model_validate(build) for build in answer["builds"])
        own: dict[str, Any] = {
            "companions": (PLAIN,),
            "int8_mac_share": answer["share"],
            "versions": versions_of(*DISTRIBUTIONS, *(["libtpu"] if find_spec("libtpu") else [])),
            "conversion_peak_bytes": job.prepared.peak,
            "builds": builds,
            "notes": ("compiler static estimates, not measured",) if builds else (NO_COMPILER,),
        }
        return seal(self.name, job.model, candidate, folder, comparison, job.reference, **own)
