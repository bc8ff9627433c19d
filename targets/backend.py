"""What every target promises, kept here once: prepare → export → compare with torch → seal; and checked sessions.

The author of a target writes three hooks, `_prepare`, `_export` and `_session`, and says what it needs and can do;
docs/extending/my_target.py is a whole one. No hook can leave out a comparison, call a float graph int8, or forget to
check what a session is fed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

import pydantic

from edgepress.targets.device.pinning import usable_cores
from edgepress.targets.errors import ArtifactError, TargetBroken, TargetError, TargetUnavailable, told
from edgepress.targets.exportable import Exportable, stepping_of
from edgepress.targets.hooks import Made, Opening, Scratch, Source
from edgepress.targets.options import Options
from edgepress.targets.protocols import Runner, Session
from edgepress.targets.records import (
    MAIN,
    STEP,
    Artifact,
    Availability,
    Candidate,
    Feeds,
    MacCount,
    Precision,
    Record,
    Refusal,
    WeightCount,
)
from edgepress.targets.session import CheckedSession

if TYPE_CHECKING:
    from edgepress.targets.acceptance.reference import Reference

Prepared = TypeVar("Prepared")


class Backend(ABC, Generic[Prepared]):
    """The half of `Target` that is the same for all.

    An author names its `precisions`, the packages it `exports_with` and `runs_with` and the `remedy` where they are
    not here; `options_type` and `settings_type` where it takes options or session settings. `stand_in` says in words
    what gives an artifact's numbers where its hardware is not here, and `stands_in_with` the packages for that.
    `zeros_note` says what zeros among weights bring in time.
    """

    name: ClassVar[str]
    stand_in: ClassVar[str] = ""
    precisions: ClassVar[tuple[Precision, ...]]
    options_type: ClassVar[type[Options]] = Options
    settings_type: ClassVar[type[Record] | None] = None
    exports_with: tuple[str, ...]
    runs_with: tuple[str, ...] = ()
    stands_in_with: tuple[str, ...] = ()
    zeros_note: ClassVar[str] = "no gain in latency on this target: its kernels multiply zeros like other weights"
    # Threads that wait busily, as ONNX Runtime's do, are in each other's way while other targets still convert.
    compares_on_all_cores: ClassVar[bool] = False
    remedy: str

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        """Raises TargetError, which names the option, where it is unknown or wrong."""
        self.options: Any = self.options_type.of(self.name, options)

    @abstractmethod
    def _prepare(
        self, model: Exportable, calibration: Sequence[Feeds], candidates: Sequence[Candidate], scratch: Scratch
    ) -> Callable[[], Prepared]:
        """Begin what the candidates of `model` share; the function that is returned gives it.

        What converts in a process of its own is begun here, by `scratch.start`, so that several targets convert at the
        same time; work in this process belongs into the function, which is called once the others have begun.

        Raises:
            TargetError: the model cannot be exported, whatever the candidate.
        """

    @abstractmethod
    def _export(self, source: Source[Prepared], candidate: Candidate, folder: Path) -> Made:
        """Write one candidate, of a precision that this target has, into the empty `folder`, and say what was made.

        Raises:
            TargetError: this candidate cannot be made.
        """

    def _opens(self, stands_in: bool) -> tuple[str, ...]:
        """The files that a session opens: an artifact that does not name them is refused."""
        return ()

    def _opens_of(self, artifact: Artifact, stands_in: bool) -> tuple[str, ...]:
        """The same of one artifact, where they depend on its programs."""
        return self._opens(stands_in)

    @abstractmethod
    def _session(self, opening: Opening) -> AbstractContextManager[Runner]:
        """What runs the files in `opening.folder`; feeds have been checked when they get there.

        Raises:
            ArtifactError: the runtime cannot read the files.
        """

    def _require_hardware(self) -> None:
        """Raises TargetUnavailable where the hardware is not here; a target that runs on any CPU needs none."""

    def _comparable(self, feeds: Feeds, source: Source[Prepared]) -> Feeds:
        """A calibration batch as the session takes it with few compilations: rows and padding that are added behind it
        are cut off before outputs are compared."""
        return feeds

    def probe(self) -> Availability:
        """Available where its packages are, with the version of the first."""
        if lacking := absent(self.exports_with):
            return Availability(state="missing", reason=f"needs {lacking}", remedy=self.remedy)
        package = self.runs_with[0]
        return Availability(state="available", reason=f"{package} {self._load(package).__version__}")

    def candidates(self, model: Exportable, precision: Precision) -> tuple[Candidate, ...]:
        """One for each precision that the target has, called after it."""
        return (Candidate(name=precision, precision=precision),) if precision in self.precisions else ()

    def session_settings(self) -> tuple[dict[str, Any], ...]:
        """One, unless the target knows several ways to open a session."""
        return ({},)

    def macs(self, artifact: Artifact, folder: Path, feeds: Feeds) -> MacCount | None:
        """None, unless the target can count them in its files."""
        return None

    def zeros(self, artifact: Artifact, folder: Path) -> WeightCount | None:
        """None, unless the target can read the weights in its files."""
        return None

    def saturating(self, artifact: Artifact, folder: Path) -> float | None:
        """None, unless the target has kernels whose sums can be cut off."""
        return None

    def load_runtime(self) -> None:
        """Import the packages that a session needs. Raises TargetUnavailable, TargetBroken."""
        self._require_runtime(stands_in=False)
        for package in self.runs_with:
            self._load(package)

    def export(self, model: Exportable, calibration: Sequence[Feeds], candidate: Candidate, folder: Path) -> Artifact:
        """One candidate into `folder`; see `Target.export`."""
        with self._begin(model, calibration, {folder: candidate}) as source:
            return self._accepted(source(), candidate, folder)

    def export_all(
        self, model: Exportable, calibration: Sequence[Feeds], candidates: Sequence[Candidate], folder: Path
    ) -> Iterator[Artifact | Refusal]:
        """Each candidate into `folder`/its name, what they share made once; see `Target.export_all`.

        Args:
            model: what is exported, with its signature.
            calibration: calibration batches, each `{input: array}`.
            candidates: what to make of it, one artifact each.
        """
        with self.begin_export(model, calibration, candidates, folder) as results:
            yield from results

    @contextmanager
    def begin_export(
        self,
        model: Exportable,
        calibration: Sequence[Feeds],
        candidates: Sequence[Candidate],
        folder: Path,
        reference: Reference | None = None,
    ) -> Iterator[Iterator[Artifact | Refusal]]:
        """`export_all`, begun; see `Target.begin_export`.

        Args:
            model: what is exported, with its signature.
            calibration: calibration batches, each `{input: array}`.
            candidates: what to make of it, one artifact each.
            folder: gets a folder of its own for each candidate, by its name.
            reference: torch's answers on calibration rows, where they were computed already.
        """
        places = {folder / candidate.name: candidate for candidate in candidates}
        with self._begin(model, calibration, places, reference) as source:
            yield self._results(source, places)

    @contextmanager
    def open(self, artifact: Artifact, folder: Path, threads: int = 1) -> Iterator[Session]:
        """A checked session on the artifact's hardware; see `Target.open`."""
        self._require_hardware()
        with self._opened(artifact, folder, threads, stands_in=False) as session:
            yield session

    @contextmanager
    def open_stand_in(self, artifact: Artifact, folder: Path, threads: int = 1) -> Iterator[Session]:
        """A checked session of the same numbers on this CPU; see `Target.open_stand_in`."""
        with self._opened(artifact, folder, threads, stands_in=bool(self.stand_in)) as session:
            yield session

    @contextmanager
    def _opened(self, artifact: Artifact, folder: Path, threads: int, stands_in: bool) -> Iterator[Session]:
        self._require_runtime(stands_in)
        artifact.check_files(folder, self._opens_of(artifact, stands_in))
        self._check_settings(artifact)
        digests = {entry.path: entry.sha256 for entry in artifact.files}
        opening = Opening(folder, artifact.programs, artifact.settings, threads, stands_in, digests)
        with self._session(opening) as runner:
            yield CheckedSession(runner, artifact.programs)

    @contextmanager
    def _begin(
        self,
        model: Exportable,
        calibration: Sequence[Feeds],
        places: Mapping[Path, Candidate],
        reference: Reference | None = None,
    ) -> Iterator[Callable[[], Source[Prepared]]]:
        self._require(self.exports_with)
        from edgepress.targets.acceptance.reference import Reference
        from edgepress.targets.acceptance.seal import refuse_filled

        for folder in places:
            refuse_filled(folder)  # before minutes are spent on converting
        known = reference or Reference.of(model, calibration)
        with Scratch.opened() as scratch:
            prepared = self._prepare(model, calibration, tuple(places.values()), scratch)
            yield lambda: Source(model, known, prepared())

    def _results(
        self, source: Callable[[], Source[Prepared]], places: Mapping[Path, Candidate]
    ) -> Iterator[Artifact | Refusal]:
        known = source()
        for place, candidate in places.items():
            try:
                result: Artifact | Refusal = self._accepted(known, candidate, place)
            except TargetError as fault:
                result = Refusal(candidate=candidate, reason=str(fault))
            yield result

    def _accepted(self, source: Source[Prepared], candidate: Candidate, folder: Path) -> Artifact:
        """Make one candidate, compare it with torch, and write its record: the only way to an `Artifact`."""
        from edgepress.targets.acceptance.accept import accept, refuse_false_precision
        from edgepress.targets.acceptance.seal import sealed
        from edgepress.targets.acceptance.seq2seq import accept_pair
        from edgepress.targets.acceptance.steps import accept_steps

        if candidate.precision not in self.precisions:
            known = " and ".join(filter(None, (", ".join(self.precisions[:-1]), self.precisions[-1])))
            raise TargetError(f"{self.name} exports {known}, got {candidate.precision!r}")
        folder.mkdir(parents=True, exist_ok=True)
        made = self._export(source, candidate, folder)
        refuse_false_precision(candidate, made)
        programs = {MAIN: source.model.signature, **made.programs}
        threads = usable_cores() if self.compares_on_all_cores else 1
        opening = Opening(folder, programs, made.settings, threads, stands_in=bool(self.stand_in))
        with self._session(opening) as runner:
            session = CheckedSession(runner, programs)
            signature, ready = source.model.signature, lambda feeds: self._comparable(feeds, source)
            comparison = accept(session, source.reference, signature, candidate.precision, ready)
            if STEP in programs and (steps := stepping_of(source.model)) is not None:
                if steps.encoder is None:
                    accept_steps(session, steps, candidate.precision)
                else:
                    accept_pair(session, source.model, steps, candidate.precision)
        origin = (self.name, self.options.model_dump(mode="json"))
        return sealed(made, candidate, folder, source, comparison, origin)

    def _check_settings(self, artifact: Artifact) -> None:
        """Raises ArtifactError for session settings that would not be obeyed."""
        if self.settings_type is None:
            if artifact.settings:
                raise ArtifactError(
                    f"artifact {artifact.name!r}: {self.name} takes no settings, got {sorted(artifact.settings)}"
                )
            return
        try:
            self.settings_type.model_validate(artifact.settings)
        except pydantic.ValidationError as fault:
            first = fault.errors()[0]
            raise ArtifactError(
                f"artifact {artifact.name!r}: setting {'.'.join(map(str, first['loc']))!r} is wrong: {first['msg']}; "
                f"{self.name} takes {', '.join(self.settings_type.model_fields)}"
            ) from None

    def _require_runtime(self, stands_in: bool) -> None:
        """Raises TargetUnavailable, with the remedy, where a session could not be opened."""
        self._require(self.stands_in_with if stands_in else self.runs_with)

    def _require(self, packages: Sequence[str]) -> None:
        """Raises TargetUnavailable, with the remedy, unless all of the packages can be imported."""
        if lacking := absent(packages):
            raise TargetUnavailable(f"{self.name} needs {lacking}. Fix: {self.remedy}")

    def _load(self, package: str) -> Any:
        """The package or module, imported. Raises TargetBroken when it is installed and cannot be."""
        try:
            return import_module(package)
        except Exception as fault:  # a library that is missing, of another version, or built for another machine
            reason = f"{package} is installed and cannot be loaded: {told(fault)}"
            remedy = f"remove {package.partition('.')[0]} and install it again: {self.remedy}"
            raise TargetBroken(reason, remedy) from fault


def absent(packages: Sequence[str]) -> str:
    """Those of the packages that cannot be imported here, in words; "" where all can."""
    return " and ".join(package for package in packages if find_spec(package) is None)
