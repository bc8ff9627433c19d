"""What passes between `Backend` and the three hooks that the author of a target writes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from edgepress.targets.exportable import Exportable
from edgepress.targets.process.isolation import Conversion, converting
from edgepress.targets.process.scratch import scratch
from edgepress.targets.records import Feeds, HardwareBuild, MacCount, Precision, Signature

if TYPE_CHECKING:
    from edgepress.targets.acceptance.reference import Reference

Prepared = TypeVar("Prepared")


class Scratch:
    """What lasts while the candidates of one model are made: a folder, and conversions in processes of their own."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self._stack = stack

    @classmethod
    @contextmanager
    def opened(cls) -> Iterator[Scratch]:
        """One that is empty; the folder goes, and what still runs is stopped, where the block is left."""
        with scratch() as folder, ExitStack() as stack:
            yield cls(folder, stack)

    def start(
        self, function: str, request: Mapping[str, Any], timeout_s: float, environment: Mapping[str, str] | None = None
    ) -> Conversion:
        """Begin `module:function(request) -> dict` in a process of its own; calling what is returned waits for it.

        Args:
            function: "module:function", importable there; request and answer must be JSON.
            request: what it is called with.
            timeout_s: seconds from now after which it is stopped.
            environment: variables that it gets beside ours.
        """
        return self._stack.enter_context(converting(function, request, timeout_s, environment))


@dataclass(frozen=True)
class Source(Generic[Prepared]):
    """What every candidate of one model is made of: the model, torch's answers, and what `_prepare` gave."""

    model: Exportable
    reference: Reference
    prepared: Prepared

    @property
    def calibration(self) -> Sequence[Feeds]:
        """The batches that ranges are taken from: those of the comparison."""
        return self.reference.batches


@dataclass(frozen=True)
class Made:
    """What a target wrote into a candidate's folder: a claim, until `Backend` has compared it.

    Args:
        precision: what the files are in truth; the candidate asks for the same, or is refused.
        macs: what the exported graph multiplies, needed to prove an int8 candidate; None where nobody counted.
        programs: those beside "main" that a session can be asked for.
        settings: of the session, as the target reads them back.
        companions: files that other tools want and the device does not need, by their path in the folder.
        versions: {distribution: version} of what made the files.
        notes: what a reader should know, a line each.
        builds: what a compiler made of it for hardware that is not here.
        peak_bytes: the largest resident memory of the converters; None where they have no process of their own.
    """

    precision: Precision
    macs: MacCount | None = None
    programs: Mapping[str, Signature] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    companions: Sequence[str] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    builds: tuple[HardwareBuild, ...] = ()
    peak_bytes: int | None = None


@dataclass(frozen=True)
class Opening:
    """With what a session is opened.

    Args:
        folder: where the artifact's files lie, all of them checked.
        programs: the signature of each program, "main" among them.
        settings: of the session, as they stand in the artifact.
        threads: how many the runtime may use.
        stands_in: whether the same numbers are wanted on this CPU, since the hardware is not here.
        digests: {path: sha256} of the files; empty while an export is being compared.
    """

    folder: Path
    programs: Mapping[str, Signature]
    settings: Mapping[str, Any]
    threads: int
    stands_in: bool
    digests: Mapping[str, str] = field(default_factory=dict)

    @property
    def signature(self) -> Signature:
        """Of the program "main"."""
        return self.programs["main"]

    @property
    def facts(self) -> dict[str, Any]:
        """The same as plain data: what the sessions that travel to devices read in `artifact.json` there."""
        return {
            "programs": {name: program.model_dump(mode="json") for name, program in self.programs.items()},
            "settings": dict(self.settings),
            "files": [{"path": path, "sha256": digest} for path, digest in self.digests.items()],
        }
