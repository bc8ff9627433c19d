"""The framework itself: the teacher's target, and the reference of all others.

An artifact is data alone, see `torch_graph`. It is no torch.export archive: to load one is to run whatever its maker
wanted, by pickles, by shared objects, by expressions that sympy evaluates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from edgepress.targets.backend import Backend
from edgepress.targets.exportable import Exportable
from edgepress.targets.hooks import Made, Opening, Scratch, Source
from edgepress.targets.process.quiet import quiet
from edgepress.targets.protocols import Runner
from edgepress.targets.records import Artifact, Candidate, Feeds, Precision, Signature, WeightCount

if TYPE_CHECKING:
    import torch
    from torch.export import ExportedProgram

FILES = ("graph.json", "weights.safetensors")


class PyTorch(Backend["ExportedProgram"]):
    """Target "pytorch"."""

    name: ClassVar[str] = "pytorch"
    precisions: ClassVar[tuple[Precision, ...]] = ("fp32",)
    runs_with = exports_with = ("torch",)
    compares_on_all_cores = True
    remedy = "pip install torch"

    def zeros(self, artifact: Artifact, folder: Path) -> WeightCount:
        from edgepress.targets.graph.zeros import count_zeros

        return count_zeros(folder / FILES[1])

    def _prepare(
        self, model: Exportable, calibration: Sequence[Feeds], candidates: Sequence[Candidate], scratch: Scratch
    ) -> Callable[[], ExportedProgram]:
        from edgepress.targets.graph.export import export_program

        return lambda: export_program(model, calibration[0])

    def _export(self, source: Source[ExportedProgram], candidate: Candidate, folder: Path) -> Made:
        from edgepress.targets.acceptance.seal import versions_of
        from edgepress.targets.graph.torch_graph import save_graph

        with quiet():
            save_graph(source.prepared, folder, [spec.name for spec in source.model.signature.outputs])
        return Made(precision="fp32", versions=versions_of("torch"))

    @contextmanager
    def _session(self, opening: Opening) -> Iterator[Runner]:
        import torch

        before = torch.get_num_threads()
        try:
            yield TorchSession(load_program(opening.folder), opening.signature, opening.threads)
        finally:
            torch.set_num_threads(before)

    def _opens(self, stands_in: bool) -> tuple[str, ...]:
        return FILES


class TorchSession:
    """A module of positional tensors behind names.

    Args:
        module: takes tensors in the signature's order.
        signature: names its inputs and outputs.
        threads: of torch's pool while it runs.
    """

    def __init__(self, module: torch.nn.Module, signature: Signature, threads: int) -> None:
        self._module = module
        self._signature = signature
        self._threads = threads

    def run(self, feeds: Feeds, program: str) -> dict[str, np.ndarray]:
        import torch

        from edgepress.targets.graph.outputs import by_name

        if torch.get_num_threads() != self._threads:  # another open session may have its own number
            torch.set_num_threads(self._threads)
        with torch.inference_mode():
            given = self._module(*(torch.from_numpy(feeds[spec.name]) for spec in self._signature.inputs))
        names = [spec.name for spec in self._signature.outputs]
        return {name: value.numpy() for name, value in by_name(given, names).items()}


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
