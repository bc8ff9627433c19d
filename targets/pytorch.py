"""The framework itself: the teacher's target, and the reference of all others.

An artifact is data alone, see `torch_graph`. It is no torch.export archive: to load one is to run whatever its maker
wanted, by pickles, by shared objects, by expressions that sympy evaluates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from edgepress.targets.backend import Backend, Job, absent
from edgepress.targets.process.quiet import quiet
from edgepress.targets.protocols import Exportable, Session
from edgepress.targets.records import Artifact, Availability, Candidate, Feeds, Options, Precision, Signature

if TYPE_CHECKING:
    import torch
    from torch.export import ExportedProgram

FILES = ("graph.json", "weights.safetensors")


class PyTorch(Backend["ExportedProgram"]):
    """Target "pytorch"."""

    name: ClassVar[str] = "pytorch"
    precisions: ClassVar[tuple[Precision, ...]] = ("fp32",)
    runs_with = exports_with = ("torch",)
    remedy = "pip install torch"

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        Options.of(self.name, options)

    def probe(self) -> Availability:
        if lacking := absent(self.exports_with):
            return Availability(state="missing", reason=f"needs {lacking}", remedy=self.remedy)
        return Availability(state="available", reason=f"torch {self._load('torch').__version__}")

    def candidates(self, model: Exportable, precision: Precision) -> tuple[Candidate, ...]:
        return (Candidate(name="fp32", precision="fp32"),) if precision == "fp32" else ()

    @contextmanager
    def open(self, artifact: Artifact, folder: Path, threads: int = 1) -> Iterator[Session]:
        self._require(self.exports_with)
        import torch

        artifact.check_files(folder, FILES)
        self._refuse_settings(artifact)
        before = torch.get_num_threads()
        try:
            yield TorchSession(load_program(folder), artifact.signature, threads)
        finally:
            torch.set_num_threads(before)

    @contextmanager
    def _prepared(
        self, model: Exportable, calibration: Sequence[Feeds], candidates: Sequence[Candidate]
    ) -> Iterator[Callable[[], ExportedProgram]]:
        from edgepress.targets.graph.export import export_program

        yield lambda: export_program(model, calibration[0])

    def _export(self, job: Job[ExportedProgram], candidate: Candidate, folder: Path) -> Artifact:
        import torch

        from edgepress.targets.acceptance.accept import accept
        from edgepress.targets.acceptance.seal import seal, versions_of
        from edgepress.targets.graph.torch_graph import save_graph

        with quiet():
            save_graph(job.prepared, folder)
        session = TorchSession(load_program(folder), job.model.signature, torch.get_num_threads())
        comparison = accept(session, job.reference, job.model.signature, "fp32")
        versions = versions_of("torch")
        return seal(self.name, job.model, candidate, folder, comparison, job.reference, versions=versions)


class TorchSession:
    """A module of positional tensors behind the Session protocol."""

    def __init__(self, module: torch.nn.Module, signature: Signature, threads: int) -> None:
        self._module = module
        self._signature = signature
        self._threads = threads

    def infer(self, feeds: Feeds) -> dict[str, np.ndarray]:
        """{"logits": `[batch, classes]`}. Raises SignatureError for feeds that do not fit."""
        import torch

        self._signature.check(feeds)
        if torch.get_num_threads() != self._threads:  # another open session may have its own number
            torch.set_num_threads(self._threads)
        with torch.inference_mode():
            logits = self._module(*(torch.from_numpy(feeds[spec.name]) for spec in self._signature.inputs))
        return {self._signature.outputs[0].name: logits.numpy()}


def load_program(folder: Path) -> torch.nn.Module:
    """The module of an artifact. Raises ArtifactError: it is damaged, of another version, or names what is no data."""
    from edgepress.targets.graph.torch_graph import load_graph

    with quiet():
        return load_graph(folder)


def count_macs(model: Exportable, feeds: Feeds) -> int:
    """Multiply-accumulates of one inference on `feeds`: matrix products and convolutions, activations' included."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    model.signature.check(feeds)
    inputs = [torch.from_numpy(np.ascontiguousarray(feeds[spec.name])) for spec in model.signature.inputs]
    counter = FlopCounterMode(display=False)
    with counter, torch.inference_mode():
        model.module(*inputs)
    return int(counter.get_total_flops()) // 2
