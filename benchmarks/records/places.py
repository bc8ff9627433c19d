"""Where the artifacts of a run lie: by target and name, for whoever times them again."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from edgepress.targets.records import Record


class Place(Record):
    """One artifact of a run."""

    target: str = Field(description="the target whose rows it is among")
    name: str = Field(description="name of the row; 'teacher' for the teacher on that target")
    folder: str = Field(description="where it lies, relative to the folder of the run, with forward slashes")


class Places(Record):
    """`artifacts.json` of the last stage of a run: the teacher before its candidates, target by target."""

    FILE_NAME: ClassVar[str] = "artifacts.json"

    artifacts: tuple[Place, ...]
