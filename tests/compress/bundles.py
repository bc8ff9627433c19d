"""A tiny bundle of two targets, made by hand: every record in it fits the others, and nothing was trained."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from edgepress.benchmarks.records.report import GateVerdict, Report, Row
from edgepress.compress.bundle.manifest import Manifest, chosen_of, seal_release
from edgepress.targets.records import Artifact
from tests.benchmarks.tiny_release import TARGET, tiny_release

OTHER = "xla-tpu"
HELD = GateVerdict(gate="max_bytes", target=TARGET, limit=1e6, measured=300.0, passed=True)
MISSED = GateVerdict(gate="min_shrink", target=TARGET, limit=8.0, measured=2.0, passed=False)


def tiny_bundle(folder: Path, gates: Sequence[GateVerdict] = (HELD,)) -> Path:
    """The release of a run called 'tiny' in `folder`."""
    tiny_release(folder)
    second = shutil.copytree(folder / TARGET, folder / OTHER)
    record = json.loads((second / "artifact.json").read_text())
    (second / "artifact.json").write_text(json.dumps(record | {"target": OTHER}))
    report = report_of([Artifact.read(folder / target / "artifact.json") for target in (TARGET, OTHER)], gates)
    (folder / "report.json").write_text(report.model_dump_json())
    (folder / "SHA256SUMS").unlink()
    seal_as(folder, report)
    return folder


def seal_as(folder: Path, report: Report) -> None:
    """Seal a folder as the release that a report tells of."""
    manifest = Manifest(
        name=report.name, recipe_digest=report.recipe_digest, stage_digest="b" * 64, artifacts=chosen_of(report),
        gates=report.gates, files=(),
    )  # fmt: skip
    seal_release(folder, manifest)


def report_of(artifacts: Sequence[Artifact], gates: Sequence[GateVerdict]) -> Report:
    rows = [
        Row(name=one.name, target=one.target, precision="fp32", status="measured", chosen=True, bytes=one.bytes)
        for one in artifacts
    ]
    teacher = Row(name="teacher", target=TARGET, precision="fp32", status="measured")
    return Report(
        name="tiny", task="image-classification", created="2026-01-02T03:04:05+00:00", recipe_digest="a" * 64,
        environment={}, data={}, teacher=teacher, candidates=tuple(rows), stages=(), gates=tuple(gates),
    )  # fmt: skip


def flip(path: Path, bit: int) -> None:
    """Turn one bit of a file over."""
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)
