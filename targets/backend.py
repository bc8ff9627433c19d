"""What all targets do alike: a model is prepared once, each candidate is made of that, and refusals are kept apart."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from edgepress.targets.errors import ArtifactError, TargetBroken, TargetError, TargetUnavailable, told
from edgepress.targets.protocols import Exportable, Session
from edgepress.targets.records import Artifact, Candidate, Feeds, MacCount, Precision, Refusal

if TYPE_CHECKING:
    from edgepress.targets.acceptance.reference import Reference

Prepared = TypeVar("Prepared")


@dataclass(frozen=True)
class Job(Generic[Prepared]):
    """One model on its way to one target: torch's answers to compare with, and what its candidates share."""

    model: Exportable
    reference: Reference
    prepared: Prepared


class Backend(ABC, Generic[Prepared]):
    """The half of `Target` that is the same for all. A backend says what it needs and how it makes one candidate."""

    name: ClassVar[str]
    stand_in: ClassVar[str] = ""
    precisions: ClassVar[tuple[Precision, ...]]
    exports_with: tuple[str, ...]
    runs_with: tuple[str, ...] = ()
    remedy: str

    def session_settings(self) -> tuple[dict[str, Any], ...]:
        return ({},)

    def export(self, model: Exportable, calibration: Sequence[Feeds], candidate: Candidate, folder: Path) -> Artifact:
        """One candidate into `folder`; see `export_all` for several of one model."""
        with self._begun(model, calibration, {folder: candidate}) as finish:
            return self._checked(finish(), candidate, folder)

    def export_all(
        self, model: Exportable, calibration: Sequence[Feeds], candidates: Sequence[Candidate], folder: Path
    ) -> Iterator[Artifact | Refusal]:
        """Each candidate into `folder`/its name; what they share is made once.

        Raises:
            TargetError: the model itself cannot be exported, whatever the candidate.
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
        """`export_all`, begun: what converts in a process of its own does so while the caller begins others.
        `reference`: what torch gives, where it is known.

        Raises:
            TargetError: as `export_all`, here or with the first result.
        """
        places = {folder / candidate.name: candidate for candidate in candidates}
        with self._begun(model, calibration, places, reference) as finish:
            yield self._made(finish, places)

    @abstractmethod
    def open(self, artifact: Artifact, folder: Path, threads: int = 1) -> AbstractContextManager[Session]: ...

    def open_stand_in(self, artifact: Artifact, folder: Path, threads: int = 1) -> AbstractContextManager[Session]:
        return self.open(artifact, folder, threads)

    def load_runtime(self) -> None:
        self._require(self.runs_with)
        for package in self.runs_with:
            self._load(package)

    def macs(self, artifact: Artifact, folder: Path, feeds: Feeds) -> MacCount | None:
        return None

    def saturating(self, artifact: Artifact, folder: Path) -> float | None:
        return None

    @abstractmethod
    def _prepared(
        self, model: Exportable, calibration: Sequence[Feeds], candidates: Sequence[Candidate]
    ) -> AbstractContextManager[Callable[[], Prepared]]:
        """What the candidates of the model start from, once it is called; what runs in a process of its own is begun
        before."""

    @abstractmethod
    def _export(self, job: Job[Prepared], candidate: Candidate, folder: Path) -> Artifact:
        """Write one candidate, of a precision that this target has, into the empty `folder`."""

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

    def _refuse_settings(self, artifact: Artifact) -> None:
        if artifact.settings:
            raise ArtifactError(
                f"artifact {artifact.name!r}: {self.name} takes no settings, got {sorted(artifact.settings)}"
            )

    @contextmanager
    def _begun(
        self,
        model: Exportable,
        calibration: Sequence[Feeds],
        places: Mapping[Path, Candidate],
        reference: Reference | None = None,
    ) -> Iterator[Callable[[], Job[Prepared]]]:
        self._require(self.exports_with)
        from edgepress.targets.acceptance.reference import Reference
        from edgepress.targets.acceptance.seal import refuse_filled

        for folder in places:
            refuse_filled(folder)  # before minutes are spent on converting
        known = reference or Reference.of(model, calibration)
        with self._prepared(model, calibration, tuple(places.values())) as finish:
            yield lambda: Job(model, known, finish())

    def _made(
        self, finish: Callable[[], Job[Prepared]], places: Mapping[Path, Candidate]
    ) -> Iterator[Artifact | Refusal]:
        job = finish()
        for place, candidate in places.items():
            try:
                result: Artifact | Refusal = self._checked(job, candidate, place)
            except TargetError as fault:
                result = Refusal(candidate=candidate, reason=str(fault))
            yield result

    def _checked(self, job: Job[Prepared], candidate: Candidate, folder: Path) -> Artifact:
        if candidate.precision not in self.precisions:
            known = " and ".join(filter(None, (", ".join(self.precisions[:-1]), self.precisions[-1])))
            raise TargetError(f"{self.name} exports {known}, got {candidate.precision!r}")
        folder.mkdir(parents=True, exist_ok=True)
        return self._export(job, candidate, folder)


def absent(packages: Sequence[str]) -> str:
    """Those of the packages that cannot be imported here, in words; "" where all can."""
    return " and ".join(package for package in packages if find_spec(package) is None)
