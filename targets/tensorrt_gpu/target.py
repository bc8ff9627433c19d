"""TensorRT for NVIDIA GPUs in fp32, fp16 and int8: engines built ahead of time with TensorRT for RTX where no GPU is,
or by full TensorRT on the GPU itself."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from edgepress.targets.backend import Backend, absent
from edgepress.targets.errors import TargetError, TargetUnavailable
from edgepress.targets.exportable import Exportable, TrainedInput, trained_inputs_of
from edgepress.targets.graph.trained import QAT
from edgepress.targets.hooks import Made, Opening, Scratch, Source
from edgepress.targets.options import Options
from edgepress.targets.process.scratch import scratch
from edgepress.targets.protocols import Runner
from edgepress.targets.records import (
    MAIN,
    Artifact,
    Availability,
    Candidate,
    Feeds,
    HardwareBuild,
    Precision,
    Signature,
    WeightCount,
)
from edgepress.targets.tensorrt_gpu.session import ENGINE_FILE, TensorRtSession, cache_file, gpus

if TYPE_CHECKING:
    from edgepress.targets.onnx_graph.zeros import Pattern

ONNX_FILE = "model.onnx"
GRAPH_PACKAGES = ("onnx", "onnxruntime", "onnxscript", "onnxslim", "onnxconverter_common")
DISTRIBUTIONS = ("onnx", "onnxruntime", "onnxconverter-common", "torch")
NO_DRIVER = "built, not run: no NVIDIA driver"
TIMEOUT_S = 1800
# What NVIDIA's sparse kernels take: two of each four weights.
SPARSE = (2, 4)
RANGES: dict[str, Literal["min-max", "percentile"]] = {"int8": "min-max", "int8-percentile": "percentile"}


class TensorRtOptions(Options):
    """`capabilities`: NVIDIA compute capabilities to build for, 86 for 8.6. `package`: `tensorrt_rtx` builds for those
    anywhere; `tensorrt` builds on a GPU, and for that GPU alone."""

    capabilities: tuple[int, ...] = (80, 86, 89, 120)
    package: Literal["tensorrt_rtx", "tensorrt"] = "tensorrt_rtx"


class TensorRtGpu(Backend[Path]):
    """Target "tensorrt-gpu"."""

    name: ClassVar[str] = "tensorrt-gpu"
    stand_in: ClassVar[str] = "the very same ONNX graph (QDQ, fp16) in ONNX Runtime on CPU"
    precisions: ClassVar[tuple[Precision, ...]] = ("fp32", "fp16", "int8")

    options_type = TensorRtOptions
    stands_in_with = ("onnxruntime",)
    zeros_note = "no gain in latency on this target, unless two of each four weights along the inputs are zero"

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        super().__init__(options)
        self._package = self.options.package
        self.exports_with = (*GRAPH_PACKAGES, self._package)
        self.runs_with = (self._package,)
        self.remedy = f"pip install 'edgepress[{self._package.replace('_', '-')}]'"

    def probe(self) -> Availability:
        if lacking := absent(self.exports_with):
            return Availability(state="missing", reason=f"needs {lacking}", remedy=self.remedy)
        package = f"{self._package} {self._load(self._package).__version__}"
        if self._package == "tensorrt":
            if gpus():
                return Availability(state="available", reason=f"{package} builds for the GPU here")
            remedy = "use the package tensorrt_rtx, which builds without a GPU: pip install 'edgepress[tensorrt-rtx]'"
            return Availability(state="missing", reason=f"{package} builds on a GPU only; {NO_DRIVER}", remedy=remedy)
        builds = f"{package} builds engines for {', '.join(f'sm_{one}' for one in self.options.capabilities)}"
        if gpus():
            return Availability(state="available", reason=builds)
        remedy = "run the engine on a machine with an NVIDIA GPU and driver"
        return Availability(state="built-only", reason=f"{builds}; no NVIDIA driver here", remedy=remedy)

    def candidates(self, model: Exportable, precision: Precision) -> tuple[Candidate, ...]:
        if precision == "int8":
            methods: dict[str, dict[str, Any]] = {name: {"ranges": ranges} for name, ranges in RANGES.items()}
            if trained_inputs_of(model):
                methods = {QAT: {"ranges": "min-max", "trained": True}, **methods}
            return tuple(Candidate(name=name, precision="int8", options=options) for name, options in methods.items())
        return (Candidate(name=precision, precision=precision),) if precision in self.precisions else ()

    def zeros(self, artifact: Artifact, folder: Path) -> WeightCount:
        """Those of the graph that the engine was built from; the engine itself tells no weights."""
        from edgepress.targets.onnx_graph.zeros import count_zeros

        self._require(GRAPH_PACKAGES)
        return count_zeros(folder / ONNX_FILE)

    def _require_hardware(self) -> None:
        if not gpus():
            raise TargetUnavailable(f"{NO_DRIVER} here. Open it on a machine with an NVIDIA GPU.")

    def _prepare(
        self, model: Exportable, calibration: Sequence[Feeds], candidates: Sequence[Candidate], scratch: Scratch
    ) -> Callable[[], Path]:
        """The fp32 ONNX file."""
        from edgepress.targets.onnx_graph.export import export_onnx

        return lambda: export_onnx(model, calibration[0], scratch.folder / ONNX_FILE)

    def _export(self, source: Source[Path], candidate: Candidate, folder: Path) -> Made:
        from edgepress.targets.acceptance.seal import versions_of
        from edgepress.targets.onnx_graph.macs import count_macs
        from edgepress.targets.onnx_graph.zeros import pattern_of
        from edgepress.targets.tensorrt_gpu.tools import write_for_other_tools

        path, signature = folder / ONNX_FILE, source.model.signature
        trained = trained_inputs_of(source.model) if candidate.options.get("trained") else ()
        notes = _write_graph(source.prepared, candidate, source.calibration, path, trained)
        profile = shape_profile(signature)
        pattern = pattern_of(path, *SPARSE)
        sparse = pattern.fitting > 0
        builds, peak = self._build(profile, candidate, folder, sparse)
        notes += sparse_note(pattern)
        write_for_other_tools(folder, path, signature, profile, sparse)
        there = (item.relative_to(folder).as_posix() for item in folder.rglob("*") if item.is_file())
        return Made(
            precision=candidate.precision,
            macs=count_macs(path, source.calibration[-1]) if candidate.precision == "int8" else None,
            companions=[name for name in there if name != ENGINE_FILE],
            versions=versions_of(*DISTRIBUTIONS, distribution(self._package)),
            notes=notes,
            builds=builds,
            peak_bytes=peak,
        )

    @contextmanager
    def _session(self, opening: Opening) -> Iterator[Runner]:
        """The engine; in its stead, the ONNX graph that it was built from, whose numbers are the same."""
        if opening.stands_in:
            from edgepress.targets.onnx_graph.session import OrtSession

            names = [spec.name for spec in opening.signature.outputs]
            yield OrtSession(opening.folder / ONNX_FILE, {MAIN: names}, {}, opening.threads)
            return
        cache = cache_file(opening.digests[ENGINE_FILE])
        session = TensorRtSession(opening.folder / ENGINE_FILE, opening.facts, self._package, cache)
        yield session
        session.close()

    def _opens(self, stands_in: bool) -> tuple[str, ...]:
        return (ONNX_FILE if stands_in else ENGINE_FILE,)

    def _build(
        self, profile: Mapping[str, list[list[int]]], candidate: Candidate, folder: Path, sparse: bool
    ) -> tuple[tuple[HardwareBuild, ...], int]:
        from importlib.metadata import version

        from edgepress.targets.process.isolation import convert_apart

        request = {
            "package": self._package,
            "onnx": str(folder / ONNX_FILE),
            "out": str(folder / ENGINE_FILE),
            "capabilities": list(self.options.capabilities),
            "profile": profile,
            "sparse": sparse,
        }
        answer, peak = convert_apart("edgepress.targets.tensorrt_gpu.build:build", request, TIMEOUT_S)
        check_counts(candidate, answer["network"], answer["planned"])
        used = distribution(self._package)
        builds = [
            HardwareBuild(
                hardware=chip,
                **{f"{kind}_products": number for kind, number in answer["network"].items()},
                code_bytes=(folder / ENGINE_FILE).stat().st_size,
                source=f"{used} {version(used)}",
                notes=(planned_note(counts),) if counts else (),
            )
            for chip, counts in answer["planned"].items()
        ]
        return tuple(builds), peak


def distribution(package: str) -> str:
    """The installed distribution that carries `package`: its name tells the CUDA version."""
    from importlib.metadata import packages_distributions

    return packages_distributions()[package][0]


def sparse_note(pattern: Pattern) -> tuple[str, ...]:
    """What a user should know of 2:4 sparsity; nothing where no product has it."""
    if not pattern.fitting:
        return ()
    return (
        f"2:4 sparse along the inputs: {pattern.fitting} of {pattern.products} products with weights; sparse kernels "
        f"allowed, which of them TensorRT takes is not known",
    )


def planned_note(counts: Mapping[str, int]) -> str:
    kinds = ", ".join(f"{number} {kind}" for kind, number in counts.items() if number)
    return f"products counted in the network; left in the engine's plan after fusion: {kinds}"


def check_counts(candidate: Candidate, network: Mapping[str, int], planned: Mapping[str, Mapping[str, int]]) -> None:
    """Whether an engine is what it is called, on each of its GPUs.

    Args:
        candidate: whose precision is asked for.
        network: {"int8", "half", "float": products} of the graph that was parsed.
        planned: the same of the compiled plan, by GPU; empty where the package does not tell.

    Raises:
        TargetError: an int8 or fp16 engine has no product of that type, for one of its GPUs at least.
    """
    kind = {"int8": "int8", "fp16": "half"}.get(candidate.precision)
    if kind is None:
        return
    if not network[kind]:
        raise TargetError(f"candidate {candidate.name!r} is called {candidate.precision}, yet no product in it is.")
    for chip, counts in planned.items():
        if counts and not counts[kind]:
            raise TargetError(
                f"candidate {candidate.name!r} is called {candidate.precision}, yet TensorRT kept no {kind} product "
                f"for {chip}. Leave that capability out, or use another precision."
            )


def shape_profile(signature: Signature) -> dict[str, list[list[int]]]:
    """{input: [lowest, most likely, highest shape]}; most likely are batch 1, or its least, and longest rows."""
    likely = {name: low if name == "batch" else high for name, (low, high) in signature.bounds.items()}
    lows = {name: low for name, (low, _) in signature.bounds.items()}
    highs = {name: high for name, (_, high) in signature.bounds.items()}
    return {
        spec.name: [
            [size if isinstance(size, int) else sizes[size] for size in spec.shape] for sizes in (lows, likely, highs)
        ]
        for spec in signature.inputs
    }


def _write_graph(
    fp32: Path, candidate: Candidate, calibration: Sequence[Feeds], out: Path, trained: Sequence[TrainedInput]
) -> tuple[str, ...]:
    from edgepress.targets.onnx_graph.half import to_half
    from edgepress.targets.onnx_graph.qdq import write_qdq

    if candidate.precision == "fp32":
        shutil.copytree(fp32.parent, out.parent, dirs_exist_ok=True)
        return ()
    if candidate.precision == "fp16":
        to_half(fp32, out)
        return ()
    with scratch() as temporary:
        quantized = temporary / ONNX_FILE
        note = write_qdq(fp32, candidate.options["ranges"], calibration, quantized, trained)
        to_half(quantized, out)
    return (note, "all else is fp16")
