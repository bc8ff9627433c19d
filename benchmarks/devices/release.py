"""Whether a device's record is of a run's release: the same files, labels and teacher's classes."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path

import numpy as np

from edgepress.benchmarks.devices.record import DeviceRecord
from edgepress.benchmarks.records.report import GateVerdict
from edgepress.targets.bundle.sums import check_sums
from edgepress.targets.device.sample import compared
from edgepress.targets.errors import ArtifactError, told
from edgepress.targets.files import plain_name
from edgepress.targets.records import Artifact

SAMPLE = "sample.npz"


class Release:
    """A release, as far as records are compared with it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        check_sums(self.folder)  # before anything of it is opened
        try:
            manifest = json.loads((self.folder / "manifest.json").read_text(encoding="utf-8"))
            self.targets = sorted(plain_name(name) for name in manifest["artifacts"])
            self.name, self.recipe = manifest["name"], manifest["recipe_digest"]
            self.gates = tuple(GateVerdict.model_validate(gate) for gate in manifest.get("gates", ()))
            self._artifacts = {name: Artifact.read(folder / name / Artifact.FILE_NAME) for name in self.targets}
            self.known: dict[str, str] = {entry["path"]: entry["sha256"] for entry in manifest["files"]}
        except (ValueError, KeyError, TypeError, RecursionError) as fault:
            raise ArtifactError(
                f"{self.folder / 'manifest.json'} is damaged ({told(fault)}). Make it with `edgepress run`."
            ) from None

    def check(self, path: Path, record: DeviceRecord) -> None:
        """Raises ArtifactError for a record of other files than the released ones, or of other labels."""
        if (reason := self.refusal(record)) is not None:
            raise ArtifactError(f"{path} is not of this release: {reason}. Measure the release of this very run.")

    def refusal(self, record: DeviceRecord) -> str | None:
        """Why a record is not of this release; None where it is."""
        if record.target not in self.targets:
            return f"target {record.target!r} is not in it, it has {', '.join(self.targets)}"
        artifact = self._artifacts[record.target]
        stated = {
            "name": self.name,
            "recipe_digest": self.recipe,
            "artifact": artifact.name,
            "precision": artifact.precision,
        }
        for name, want in stated.items():
            if (got := getattr(record, name)) != want:
                return f"its {name} is {got!r}, the release has {want!r}"
        return self._file_fault(record, artifact) or self._sample_fault(record)

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes of the artifact of each target."""
        return {name: artifact.bytes for name, artifact in self._artifacts.items()}

    @cached_property
    def _sample(self) -> tuple[list[int], list[int]]:
        """Labels and the teacher's classes of the rows that travel with it."""
        with np.load(self.folder / SAMPLE, allow_pickle=False) as sample:
            return compared({name: sample[name] for name in ("labels", "teacher")})

    def _file_fault(self, record: DeviceRecord, artifact: Artifact) -> str | None:
        """The files that a device needs, each with its sha256, and no others."""
        paths = [artifact.FILE_NAME, *(entry.path for entry in artifact.files if entry.shipped)]
        wanted = {path: self.known.get(path, "") for path in (f"{record.target}/{name}" for name in paths)}
        for name, want in wanted.items():
            if (given := record.files.get(name)) != want:
                return f"{name} had the sha256 {str(given)[:16]}…, the released one has {want[:16]}…"
        if more := sorted(set(record.files) - set(wanted)):
            return f"it names {more[0]}, which is no file of the artifact"
        return None

    def _sample_fault(self, record: DeviceRecord) -> str | None:
        """Rows, labels or teacher's classes that are not the sample's."""
        accuracy = record.accuracy
        if accuracy is None:
            return None
        # Else a forger names another sample, whose labels nobody has.
        if record.sample_sha256 is None or record.sample_sha256 != self.known.get(SAMPLE):
            return "its accuracy is on other rows than those that travel with the release"
        if (list(accuracy.labels), list(accuracy.teacher)) != self._sample:
            return "its labels or the teacher's classes are not those of the sample"
        return None
