"""Records of many devices merged into one hardware report of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgepress.benchmarks.devices.outcomes import NAME as OUTCOMES
from edgepress.benchmarks.devices.outcomes import Outcome, read_outcomes
from edgepress.benchmarks.devices.page import devices_page, sections_of
from edgepress.benchmarks.devices.record import Devices, kept_records, read_record
from edgepress.benchmarks.devices.release import Release
from edgepress.benchmarks.devices.shipping import standings
from edgepress.benchmarks.devices.views import devices_markdown
from edgepress.targets.errors import BenchmarkError, StoreError
from edgepress.targets.files import within, write_whole

if TYPE_CHECKING:
    from edgepress.benchmarks.devices.signed import DeviceKey


@dataclass(frozen=True)
class Place:
    """A release, the folder that its hardware report lies in, and the report's title."""

    release: Path
    folder: Path
    title: str

    @classmethod
    def of_run(cls, run: Path) -> Place:
        """Of a run folder: its `release` and `devices`. Raises ArtifactError where that leads out of the run."""
        return cls(run / "release", within(run, "devices"), run.resolve().name)


def add_records(run: Path, records: Sequence[Path], key: DeviceKey | None = None) -> Path:
    """Check all records, then merge them into `devices/` of the run; nothing is written if one of them is refused.

    Args:
        run: the run folder, with the release that was measured.
        records: files that `run_benchmark.py` wrote.
        key: of the device, which must have signed all of them; None: signatures are not looked at.

    Returns:
        `devices/devices.md`; `devices.html`, with plots, and `devices.json` lie beside it.

    Raises:
        StoreError: the run has no release, or its folder cannot be written.
        ArtifactError: a record is damaged, of another version, of another release, or contradicts itself.
        BenchmarkError: a record is there already, or was given twice.
    """
    check_run(run)
    return merge(Place.of_run(run), records, key=key)


def check_run(run: Path) -> None:
    """Raises StoreError for a folder that is no run with a release."""
    if not (run / "release" / "manifest.json").is_file():
        state = "has no release" if run.is_dir() else "does not exist"
        raise StoreError(f"{run} {state}. Give a finished run (runs/<name>); `edgepress run` finishes one.")


def merge(
    place: Place,
    records: Sequence[Path],
    outcomes: Sequence[Outcome] = (),
    page: bool = True,
    key: DeviceKey | None = None,
) -> Path:
    """The same for any release: records, and what became of devices, into the report of a place; or nothing at all.

    Args:
        place: the release and its report.
        records: files that `run_benchmark.py` wrote.
        outcomes: what became of devices; they take the place of those before.
        page: whether `devices.html`, with its plots, is written anew as well.
        key: which must have signed all of the records.
    """
    release = Release(place.release)
    kept = kept_records(place.folder)
    seen = {record.record_sha256: f"{place.folder.parent} has it already" for record in kept.records}
    added = []
    for path in records:
        record = read_record(path, key)
        release.check(path, record)
        if before := seen.get(record.record_sha256):
            raise BenchmarkError(f"{path} is the same record again: {before}. Leave it out.")
        seen[record.record_sha256] = f"{path} was given before"
        added.append(record)
    merged = Devices(records=(*kept.records, *added))
    current = {record.record_sha256 for record in merged.records if release.refusal(record) is None}
    fleet = read_outcomes(place.folder).with_new(outcomes)
    found = standings(merged.records, current, release.gates, release.sizes)
    sections = sections_of(found, fleet.outcomes)
    # All of it is made before any of it is written: what cannot be shown must not stay behind in devices.json.
    texts = {
        "devices.json": merged.model_dump_json(indent=1) + "\n",
        **({OUTCOMES: fleet.model_dump_json(indent=1) + "\n"} if fleet.outcomes else {}),
        "devices.md": devices_markdown(merged.records, place.title, current, sections),
        **({"devices.html": devices_page(place.title, found, fleet.outcomes)} if page else {}),
    }
    try:
        place.folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            write_whole(place.folder / name, text)
    except OSError as fault:
        raise StoreError(
            f"{place.folder} cannot be written ({fault.strerror}); make it writable, or free some space"
        ) from None
    return place.folder / "devices.md"
