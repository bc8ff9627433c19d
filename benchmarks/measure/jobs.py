"""What is asked of a process that measures latency, and what it answers."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from edgepress.benchmarks.records.report import Measurement, Shape
from edgepress.targets.records import Artifact, Record


class Subject(Record):
    """An exported artifact to measure: the `folder` that holds artifact.json. `settings` replace the artifact's own."""

    key: str
    folder: str
    settings: dict[str, Any] | None = None


class Case(Record):
    """One shape, and the .safetensors file of the input arrays that have it. A subject gets those inputs it takes."""

    shape: Shape
    feeds: str


class Opened(Record):
    """The session that was timed, so that accuracy can be shown to be of the same one.

    `identity`: of files, settings and threads; `answer`: the first 64 numbers of its first output at `feeds`.
    """

    identity: str
    feeds: str = ""
    answer: tuple[float, ...] = ()


class SubjectResult(Record):
    """Measurements in the order of the cases. `failure` says why some, or all, are missing; `absent`: because the
    target's package or hardware is not here, which is nobody's fault.

    `open_ms`: opening the session, its files' checksums included, with the target's packages loaded before.
    `first_inference_ms`: the first call after that. Both, and `opened`, are of the first thread count.
    """

    measurements: tuple[Measurement, ...] = ()
    failure: str | None = None
    absent: bool = False
    open_ms: float | None = None
    first_inference_ms: float | None = None
    opened: Opened | None = None


class LatencyJob(Record):
    """What one child process measures; all cases have the same thread count. `warmup`: rounds in one window.

    `samples` rounds at least; cheap calls go on until `seconds` are over, up to `most` rounds.
    """

    subjects: tuple[Subject, ...]
    cases: tuple[Case, ...]
    samples: int
    warmup: int
    seed: int
    seconds: float = 0.0
    most: int = 0


def identity(artifact: Artifact, threads: int) -> str:
    """sha256 of all that makes a session: target and its options, files and their sha256, settings, threads."""
    files = sorted((entry.path, entry.sha256) for entry in artifact.files)
    made_by = [artifact.target, artifact.options, artifact.candidate.model_dump(mode="json")]
    whole = [*made_by, artifact.settings, files, threads]
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()
