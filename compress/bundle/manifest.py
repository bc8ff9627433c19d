"""`manifest.json` of a release: what it holds, which run made it, and which gates it passed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from edgepress.benchmarks.records.report import WITH_ARTIFACT, GateVerdict, Report
from edgepress.compress.licences.records import Input
from edgepress.targets.bundle.sums import MANIFEST, SIGNATURE, SUMS
from edgepress.targets.files import sha256_of
from edgepress.targets.records import FileEntry, PlainName, Record

SHIPPED = Path(__file__).with_name("manifest-1.json")
"""The JSON Schema of a manifest, made from the record; `python -m edgepress.compress.bundle.manifest` writes it."""


class Manifest(Record):
    """What a release holds: every file with its size and sha256, where it came from, and how it was judged."""

    format: Literal[1] = Field(default=1, description="version of this layout")
    name: str = Field(description="name of the run that made it")
    recipe_digest: str = Field(description="sha256 of the recipe")
    stage_digest: str = Field(description="sha256 of all that the run's last stage depends on")
    artifacts: dict[PlainName, PlainName] = Field(description="target -> name of its artifact, in a folder of its own")
    left_out: tuple[PlainName, ...] = Field(
        default=(), description="targets that the report names and whose artifacts were left out of this bundle"
    )
    gates: tuple[GateVerdict, ...] = Field(
        default=(), description="the recipe's gates for these artifacts, as the report has them; none: none were set"
    )
    failed_gates_allowed: bool = Field(
        default=False, description="whether it was packaged although a gate was missed, on demand"
    )
    inputs: tuple[Input, ...] = Field(
        default=(), description="what the run was made of, with licences; none: an older edgepress did not record it"
    )
    licence: str = Field(
        default="", description="SPDX expression of the release itself, by the recipe; empty: not said"
    )
    files: tuple[FileEntry, ...] = Field(description="every file but this one, SHA256SUMS and the signature")

    @property
    def missed_gates(self) -> tuple[GateVerdict, ...]:
        """Those that do not hold."""
        return tuple(gate for gate in self.gates if not gate.passed)


def chosen_of(report: Report) -> dict[str, str]:
    """Target -> name of its chosen candidate."""
    return {row.target: row.name for row in report.candidates if row.chosen and row.status in WITH_ARTIFACT}


def seal_release(release: Path, manifest: Manifest) -> Manifest:
    """Write `manifest.json` with every file that lies there, and `SHA256SUMS`, which `sha256sum -c` reads.

    `manifest` says whose release it is; its own list of files is replaced. A signature of older files is removed.
    Returns it with the files.
    """
    (release / SIGNATURE).unlink(missing_ok=True)
    paths = sorted(path.relative_to(release).as_posix() for path in release.rglob("*") if path.is_file())
    files = tuple(FileEntry.of(release, path) for path in paths if path not in (MANIFEST, SUMS))
    sealed = manifest.model_copy(update={"files": files})
    sealed.write(release / MANIFEST)
    (release / SUMS).write_bytes(sums_text(files, sha256_of(release / MANIFEST)).encode())
    return sealed


def sums_text(files: tuple[FileEntry, ...], of_manifest: str) -> str:
    """SHA256SUMS of a release: its files in the manifest's order, the manifest itself last."""
    lines = [f"{entry.sha256}  {entry.path}" for entry in files]
    return "\n".join([*lines, f"{of_manifest}  {MANIFEST}"]) + "\n"


def manifest_schema() -> dict[str, Any]:
    """The JSON Schema, each field with its meaning; `$id` carries the version of the layout."""
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "urn:edgepress:manifest:1"}
    return {**head, **Manifest.model_json_schema(mode="serialization")}


def schema_text() -> str:
    """The schema as it is written to a file."""
    return json.dumps(manifest_schema(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    SHIPPED.write_text(schema_text(), encoding="utf-8", newline="")
    print(f"Wrote {SHIPPED.name}")
