"""What names a stage, and what is written about it: its key, its record, the index of a run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from edgepress.targets.records import PlainName, PlainPath, Record

STAGES = "stages"
NOTHING: Mapping[str, object] = MappingProxyType({})
# Digits of the digest in a folder's name: 64 bits are enough to tell the stages of one run apart.
SHORT = 16


class StageKey(Record):
    """Which stage: what it is called, and the digest of all that its result depends on."""

    name: PlainName
    digest: PlainName

    @property
    def folder(self) -> str:
        """Its place in the run folder."""
        return f"{STAGES}/{self.stem}"

    @property
    def stem(self) -> str:
        return f"{self.digest[:SHORT]}-{self.name}"


class Index(Record):
    """`stages.json`: the stages of the recipe that the run is at, in order, whether finished or not."""

    format: Literal[1] = 1
    stages: tuple[StageKey, ...]


class StoredFile(Record):
    """One file of a finished stage, relative to its folder."""

    path: PlainPath
    bytes: int


class StageRecord(Record):
    """`stage.json`: what a finished stage folder is and holds. Written last.

    `uses` are the entries of the run's cache that the stage was made with, relative to the run folder.
    """

    format: Literal[2] = 2
    key: StageKey
    files: tuple[StoredFile, ...]
    uses: tuple[PlainPath, ...] = ()


class Owner(Record):
    """Who holds the lock of a run."""

    pid: int
    host: str


def stage_digest(previous: str, kind: str, options: Mapping[str, object], extra: Mapping[str, object] = NOTHING) -> str:
    """Hex sha256 of a stage.

    Args:
        previous: the digest of the stage before it.
        kind: what it does.
        options: with which options, plain JSON values.
        extra: what else its result depends on, plain JSON values.
    """
    text = json.dumps([previous, kind, dict(options), dict(extra)], sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
