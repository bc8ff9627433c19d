"""Records of many devices merged into one hardware report of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgepress.benchmarks.devices.record import Devices, read_record, version_of
from edgepress.benchmarks.devices.release import Release
from edgepress.benchmarks.devices.views import devices_markdown
from edgepress.targets.device.record import SCHEMA_VERSION
from edgepress.targets.errors import ArtifactError, BenchmarkError, StoreError
from edgepress.targets.files import within, write_whole


def add_records(run: Path, records: Sequence[Path]) -> Path:
    """Check all records, then merge them into `devices/` of the run; nothing is written if one of them is refused.

    Args:
        run: the run folder, with the release that was measured.
        records: files that `run_benchmark.py` wrote.

    Returns:
        `devices/devices.md`; `devices.json` lies beside it.

    Raises:
        StoreError: the run has no release, or its folder cannot be written.
        ArtifactError: a record is damaged, of another version, of another release, or contradicts itself.
        BenchmarkError: a record is there already, or was given twice.
    """
    release = Release(run)
    folder = within(run, "devices")
    kept = _kept(folder)
    seen = {record.record_sha256: f"{run} has it already" for record in kept.records}
    added = []
    for path in records:
        record = read_record(path)
        release.check(path, record)
        if before := seen.get(record.record_sha256):
            raise BenchmarkError(f"{path} is the same record again: {before}. Leave it out.")
        seen[record.record_sha256] = f"{path} was given before"
        added.append(record)
    merged = Devices(records=(*kept.records, *added))
    current = {record.record_sha256 for record in merged.records if release.refusal(record) is None}
    # All of it is made before any of it is written: what cannot be shown must not stay behind in devices.json.
    texts = {
        "devices.json": merged.model_dump_json(indent=1) + "\n",
        "devices.md": devices_markdown(merged.records, run.resolve().name, current),
    }
    try:
        folder.mkdir(exist_ok=True)
        for name, text in texts.items():
            write_whole(folder / name, text)
    except OSError as fault:
        raise StoreError(
            f"{folder} cannot be written ({fault.strerror}); make it writable, or free some space"
        ) from None
    return folder / "devices.md"


def _kept(folder: Path) -> Devices:
    """The records that were added before."""
    path = folder / "devices.json"
    if not path.is_file():
        return Devices()
    version = version_of(path.read_text(encoding="utf-8", errors="replace"))
    if version not in (None, SCHEMA_VERSION):
        raise ArtifactError(
            f"{path} holds records of schema version {version!r}, this edgepress reads {SCHEMA_VERSION!r}. Move "
            f"{folder} away, package the release with this version and measure again."
        )
    return Devices.read(path)
