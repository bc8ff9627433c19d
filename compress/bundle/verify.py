"""Whether a bundle is what was released: its files, its records among one another, its gates and its signature.

The bundle may be anybody's. Nothing in it is opened, run, imported or followed; what is parsed is JSON of bounded size.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from edgepress.benchmarks.records.files import JSON_NAME
from edgepress.benchmarks.records.report import Report
from edgepress.compress.bundle.contents import Contents
from edgepress.compress.bundle.manifest import Manifest, chosen_of, sums_text
from edgepress.targets.bundle.sums import MANIFEST, SIGNATURE, SUMS, parsed_sums
from edgepress.targets.errors import ArtifactError
from edgepress.targets.records import Artifact, FileEntry

LONGEST_LIST, LONGEST_FAULT = 3, 400


@dataclass(frozen=True)
class Verified:
    """A bundle as it was compared: `manifest` is None where it has none that can be read."""

    manifest: Manifest | None
    faults: tuple[str, ...]


def verify(contents: Contents) -> Verified:
    """Compare all that a bundle holds; `faults` are all that was found, none where it is what was released."""
    faults = [*contents.faults]
    try:
        manifest = Manifest.parsed(_record(contents, MANIFEST), MANIFEST)
        parsed_sums(_record(contents, SUMS).decode("utf-8", "replace"), SUMS)
    except ArtifactError as fault:
        return Verified(None, (*faults, str(fault)))
    faults += [*_file_faults(contents, manifest), *_name_faults(contents, manifest)]
    if not faults:  # records of other bytes say nothing
        faults += _record_faults(contents, manifest)
    return Verified(manifest, tuple(faults))


def _record(contents: Contents, path: str) -> bytes:
    if path not in contents.records:
        raise ArtifactError(f"{path} is missing, or no plain file")
    return contents.records[path]


def _file_faults(contents: Contents, manifest: Manifest) -> Iterator[str]:
    """Each file against the manifest, and SHA256SUMS against both."""
    known = {entry.path: entry for entry in manifest.files}
    for path in sorted(set(known) - set(contents.files)):
        yield f"{path} is missing"
    for path in sorted(set(contents.files) - set(known) - {MANIFEST, SUMS, SIGNATURE}):
        yield f"{path[:200]!r} is not of the release"
    for path, entry in known.items():
        found = contents.files.get(path)
        if found is not None and found != (entry.bytes, entry.sha256):
            both = (f"{found.bytes} bytes, sha256 {found.sha256[:16]}…", f"{entry.bytes}, {entry.sha256[:16]}…")
            yield f"{path} is not the released file ({both[0]}; released: {both[1]})"
    wanted = sums_text(manifest.files, contents.files[MANIFEST].sha256)
    if contents.records[SUMS] != wanted.encode():
        yield f"{SUMS} is not that of {MANIFEST}: one of them was changed"


def _name_faults(contents: Contents, manifest: Manifest) -> Iterator[str]:
    """Names that would fall together where the bundle is copied to, or that are not the bundle's to list."""
    paths = [entry.path for entry in manifest.files]
    for path in sorted({MANIFEST, SUMS, SIGNATURE} & set(paths)):
        yield f"{MANIFEST} lists {path}"
    folded = Counter(unicodedata.normalize("NFC", path).casefold() for path in {*paths, MANIFEST, SUMS, SIGNATURE})
    for path in [name for name, count in folded.items() if count > 1]:
        yield f"there are several files {path!r} that differ in case alone"
    if len(set(paths)) < len(paths):
        yield f"{MANIFEST} lists a file twice"


def _record_faults(contents: Contents, manifest: Manifest) -> Iterator[str]:
    """The artifacts and the report against the manifest."""
    try:
        artifacts = {
            target: Artifact.parsed(_record(contents, f"{target}/{Artifact.FILE_NAME}"), f"{target}'s record")
            for target in manifest.artifacts
        }
        report = Report.parsed(_record(contents, JSON_NAME), JSON_NAME)
    except ArtifactError as fault:
        yield str(fault)
        return
    for target, artifact in artifacts.items():
        yield from _artifact_faults(target, artifact, manifest)
    yield from _report_faults(report, artifacts, manifest)


def _artifact_faults(target: str, artifact: Artifact, manifest: Manifest) -> Iterator[str]:
    """Whether a target's folder holds the files of its artifact, and nothing else."""
    if (artifact.target, artifact.name) != (target, manifest.artifacts[target]):
        yield f"{target} holds {artifact.name!r} of {artifact.target!r}, not {manifest.artifacts[target]!r}"

    def files(entries: tuple[FileEntry, ...], before: str) -> set[tuple[str, int, str]]:
        return {(before + entry.path, entry.bytes, entry.sha256) for entry in entries}

    record = f"{target}/{Artifact.FILE_NAME}"
    here = tuple(one for one in manifest.files if one.path.startswith(f"{target}/") and one.path != record)
    if differing := sorted(files(here, "") ^ files(artifact.files, f"{target}/")):
        yield f"{differing[0][0]} is not as {record} has it"


def _report_faults(report: Report, artifacts: dict[str, Artifact], manifest: Manifest) -> Iterator[str]:
    """Whether the report is of this release: its run, its chosen artifacts with their sizes, its gates."""
    if (report.name, report.recipe_digest) != (manifest.name, manifest.recipe_digest):
        yield f"{JSON_NAME} is of another run: {report.name!r}, not {manifest.name!r}"
    chosen = chosen_of(report)
    left = {target: name for target, name in chosen.items() if target in manifest.left_out}
    if {**left, **manifest.artifacts} != chosen or set(left) != set(manifest.left_out) or set(left) & set(artifacts):
        yield f"{JSON_NAME} chose {_pairs(chosen)}, the release holds {_pairs(manifest.artifacts)}"
    for row in report.candidates:
        artifact = artifacts.get(row.target) if row.chosen else None
        if artifact is not None and (row.bytes, row.precision) != (artifact.bytes, artifact.precision):
            yield f"{JSON_NAME} has {row.bytes} bytes of {row.target} {row.name}, the release has {artifact.bytes}"
    if tuple(gate for gate in report.gates if gate.target not in manifest.left_out) != manifest.gates:
        yield f"{MANIFEST} has other gates than {JSON_NAME}"


def _pairs(chosen: dict[str, str]) -> str:
    return ", ".join(f"{target} {name}" for target, name in chosen.items())[:200] or "nothing"


def told_faults(faults: tuple[str, ...]) -> str:
    """The first of them in one line, and how many more there are."""
    more = f"; and {len(faults) - LONGEST_LIST} more" if len(faults) > LONGEST_LIST else ""
    return "; ".join(" ".join(fault[:LONGEST_FAULT].split()) for fault in faults[:LONGEST_LIST]) + more
