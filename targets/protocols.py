"""The protocols of this floor: `Target` and `Session`, and the `Runner` behind a session."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from edgepress.targets.exportable import Exportable
from edgepress.targets.records import (
    Artifact,
    Availability,
    Candidate,
    Feeds,
    MacCount,
    Precision,
    Refusal,
    WeightCount,
)

if TYPE_CHECKING:
    from edgepress.targets.acceptance.reference import Reference


class Session(Protocol):
    """An artifact opened for inference."""

    def infer(self, feeds: Feeds, program: str = "main") -> dict[str, np.ndarray]:
        """{output: array} for {input: array}, returned when the outputs are there (synchronised).

        Args:
            feeds: arrays that fit the signature of `program`.
            program: one of the artifact's programs.

        Raises:
            SignatureError: the feeds do not fit, or there is no such program.
        """
        ...


class Runner(Protocol):
    """What a target has behind a `Session`: it gets feeds that were checked, and checks nothing itself."""

    def run(self, feeds: Feeds, program: str) -> dict[str, np.ndarray]:
        """{output: array} of one of the artifact's programs, synchronised."""
        ...


class Target(Protocol):
    """A backend, made with its options from the recipe. The verbs are the same for all, the framework included.

    `stand_in` says in words what runs an artifact's numbers where its hardware is not here; "" where it always is.
    `options` travel in every artifact: `targets.of(artifact)` is the target as it was.
    """

    name: ClassVar[str]
    stand_in: ClassVar[str]
    zeros_note: ClassVar[str]

    def probe(self) -> Availability:
        """Whether this backend can run here. A missing package is an answer.

        Raises:
            TargetBroken: its package is installed and cannot be loaded.
        """
        ...

    def candidates(self, model: Exportable, precision: Precision) -> tuple[Candidate, ...]:
        """The ways this target knows to export `model` at `precision`, best guess first; none where it has no such
        precision."""
        ...

    def session_settings(self) -> tuple[dict[str, Any], ...]:
        """Alternative session settings; the pipeline measures each and records the fastest in the artifact."""
        ...

    def export(self, model: Exportable, calibration: Sequence[Feeds], candidate: Candidate, folder: Path) -> Artifact:
        """Write one artifact and return its record.

        Args:
            model: whose outputs the artifact must give.
            calibration: batches of real inputs: ranges are taken from them, and the outputs compared on them.
            candidate: one of `candidates`.
            folder: gets the files and `artifact.json`; it is made, or empty.

        Raises:
            TargetUnavailable: a package is not installed.
            ArtifactError: there are files in `folder`.
            TargetError: the backend refused the model, or the outputs differ too much.
        """
        ...

    def export_all(
        self, model: Exportable, calibration: Sequence[Feeds], candidates: Sequence[Candidate], folder: Path
    ) -> Iterator[Artifact | Refusal]:
        """`export` of several candidates of one model, with the work they share done once.

        Args:
            model: as for `export`.
            calibration: as for `export`.
            candidates: those that are wanted, of different names.
            folder: gets a folder for each of them, called after it.

        Returns:
            For each candidate, in order, its record, or why there is none.

        Raises:
            TargetError: the model itself cannot be exported, whatever the candidate.
        """
        ...

    def begin_export(
        self,
        model: Exportable,
        calibration: Sequence[Feeds],
        candidates: Sequence[Candidate],
        folder: Path,
        reference: Reference | None = None,
    ) -> AbstractContextManager[Iterator[Artifact | Refusal]]:
        """`export_all` in two steps: conversions in processes of their own have begun inside the block, the results
        wait for them, so several targets convert at the same time.

        Args:
            model: as for `export`.
            calibration: as for `export`.
            candidates: as for `export_all`.
            folder: as for `export_all`.
            reference: what torch gives on `calibration`, where it is known.

        Raises:
            TargetError: as `export_all`, here or with the first result.
        """
        ...

    def open(self, artifact: Artifact, folder: Path, threads: int = 1) -> AbstractContextManager[Session]:
        """Check the files and open them with the artifact's own settings, on the hardware that they are for.

        Args:
            artifact: the record; of files that lie in `folder`.
            folder: with the artifact's files.
            threads: how many the runtime may use on a CPU.

        Raises:
            ArtifactError: a file is missing, damaged or of another version.
            TargetUnavailable: the backend is not installed, or its hardware is not here.
        """
        ...

    def open_stand_in(self, artifact: Artifact, folder: Path, threads: int = 1) -> AbstractContextManager[Session]:
        """The very same graph on this CPU, for its numbers and never for its speed; `open` where that runs here.

        Args:
            artifact: as for `open`.
            folder: as for `open`.
            threads: as for `open`.

        Raises:
            ArtifactError: as `open`.
        """
        ...

    def load_runtime(self) -> None:
        """Import what a session needs, so that the cost of opening one can be told apart.

        Raises:
            TargetUnavailable: the backend is not installed.
        """
        ...

    def macs(self, artifact: Artifact, folder: Path, feeds: Feeds) -> MacCount | None:
        """What one call multiplies in the exported graph itself; None where the target cannot tell.

        Args:
            artifact: the record; of files that lie in `folder`.
            folder: with the artifact's files.
            feeds: {input: array} of that call: work depends on its sizes.

        Raises:
            TargetError: the graph multiplies in an operator whose work is not known.
        """
        ...

    def zeros(self, artifact: Artifact, folder: Path) -> WeightCount | None:
        """Weights in the artifact's files, of two and more dimensions, and the zeros among them; None where the files
        tell no weights."""
        ...

    def saturating(self, artifact: Artifact, folder: Path) -> float | None:
        """Share, 0..1, of pairs of int8 weights whose products can leave 16 bits on x86 processors without VNNI; None
        where the runtime has no such kernels, or the artifact no int8 weights."""
        ...
