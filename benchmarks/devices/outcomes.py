"""What became of each device of a fleet: measured, not there, or failed, and for what reason."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from edgepress.benchmarks.devices.record import Sha256, Text
from edgepress.targets.records import Record

NAME = "fleet.json"
MOST = 10_000


class Outcome(Record):
    """One device and target; without a target it is of the whole device.

    `absent`: the device lacks the runtime of a target that nobody asked it for by name. `plan`: the sha256 of what the
    measurement depended on.
    """

    device: Text
    target: Text = ""
    state: Literal["measured", "absent", "failed"]
    reason: Text = ""
    plan: Text = ""
    record_sha256: Sha256 | None = None
    seconds: Annotated[float, Field(ge=0, lt=1e9)] = 0.0

    @property
    def place(self) -> tuple[str, str]:
        return self.device, self.target


class Outcomes(Record):
    """`fleet.json`: the last outcome of each device and target."""

    schema_version: Literal["1.0"] = "1.0"
    outcomes: Annotated[tuple[Outcome, ...], Field(max_length=MOST)] = ()

    def with_new(self, new: Iterable[Outcome]) -> Outcomes:
        """Those that are new in the place of those before; a device that was reached has failed no more."""
        found = {one.place: one for one in self.outcomes}
        for one in new:
            found = {place: old for place, old in found.items() if place != (one.device, "")}
            found[one.place] = one
        return Outcomes(outcomes=tuple(found.values()))

    def measured(self, device: str, target: str, plan: str) -> Outcome | None:
        """What was measured by this very plan; None where nothing was."""
        found = (one for one in self.outcomes if one.place == (device, target) and one.plan == plan)
        return next((one for one in found if one.state == "measured"), None)


def read_outcomes(folder: Path) -> Outcomes:
    """Those in a folder of device records; none where no fleet was measured. Raises ArtifactError."""
    path = folder / NAME
    return Outcomes.read(path) if path.is_file() else Outcomes()
