"""A target of your own in one file: the pytorch target's weights, compressed. Smaller to ship, slower to open.

`TARGETS["packed-pytorch"] = "my_target:PackedPyTorch"` makes it known, and a recipe may name it like any other. The
three hooks below are all that it needs: `Backend` compares each export with the torch model, refuses what is not what
it is called, writes the record, and checks what a session is fed."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from shutil import copyfile
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

from edgepress.targets.backend import Backend
from edgepress.targets.errors import ArtifactError, told
from edgepress.targets.exportable import Exportable
from edgepress.targets.hooks import Made, Opening, Scratch, Source
from edgepress.targets.protocols import Runner
from edgepress.targets.pytorch import FILES, PyTorch
from edgepress.targets.records import Candidate, Feeds, Precision

GRAPH, WEIGHTS = FILES
PACKED = f"{WEIGHTS}.zz"


class PackedPyTorch(Backend[Any]):
    name: ClassVar[str] = "packed-pytorch"
    precisions: ClassVar[tuple[Precision, ...]] = ("fp32",)
    exports_with = runs_with = ("torch",)
    remedy = "pip install torch"

    def _prepare(
        self, model: Exportable, calibration: Sequence[Feeds], candidates: Sequence[Candidate], scratch: Scratch
    ) -> Callable[[], Any]:
        """What all candidates of a model share: here the program that torch.export traces."""
        return PyTorch()._prepare(model, calibration, candidates, scratch)

    def _export(self, source: Source[Any], candidate: Candidate, folder: Path) -> Made:
        """Write one candidate into `folder`, and say what it is."""
        made = PyTorch()._export(source, candidate, folder)
        (folder / PACKED).write_bytes(zlib.compress((folder / WEIGHTS).read_bytes()))
        (folder / WEIGHTS).unlink()
        return made

    @contextmanager
    def _session(self, opening: Opening) -> Iterator[Runner]:
        """Open what lies in `opening.folder`; `run(feeds, program)` of what is yielded gets feeds that fit."""
        path = opening.folder / PACKED
        with TemporaryDirectory() as name:
            try:
                (Path(name) / WEIGHTS).write_bytes(zlib.decompress(path.read_bytes()))
            except zlib.error as fault:
                raise ArtifactError(f"{path} cannot be opened by zlib: {told(fault)}") from fault
            copyfile(opening.folder / GRAPH, Path(name) / GRAPH)
            with PyTorch()._session(replace(opening, folder=Path(name))) as runner:
                yield runner
