"""Two releases side by side: what they were made of, what their artifacts take, weigh and reach, which files differ."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from edgepress.benchmarks.records.files import JSON_NAME
from edgepress.benchmarks.records.report import Report, Row
from edgepress.compress.bundle.contents import Contents
from edgepress.compress.bundle.manifest import Manifest
from edgepress.compress.licences.records import Input
from edgepress.targets.bundle.sums import MANIFEST, SIGNATURE, SUMS
from edgepress.targets.records import Artifact, Signature, TensorSpec

NOTHING = "–"
OWN = (MANIFEST, SUMS, SIGNATURE)
"""Files that differ wherever any other does."""


class Change(NamedTuple):
    """One fact of which the two releases say something else: of the whole (`where` is empty), or of a target."""

    where: str
    what: str
    before: str
    after: str


class Side(NamedTuple):
    """One release that was verified, with its records read."""

    contents: Contents
    manifest: Manifest
    report: Report
    artifacts: dict[str, Artifact]


def read_side(contents: Contents, manifest: Manifest) -> Side:
    """The records of a bundle that was verified."""
    artifacts = {}
    for target in manifest.artifacts:
        path = f"{target}/{Artifact.FILE_NAME}"
        artifacts[target] = Artifact.parsed(contents.records[path], path)
    return Side(contents, manifest, Report.parsed(contents.records[JSON_NAME], JSON_NAME), artifacts)


def changes(before: Side, after: Side) -> tuple[Change, ...]:
    """What differs, the whole first, then target by target, then the files; empty where nothing does."""
    found = list(_changed("", _whole(before), _whole(after)))
    for target in sorted({*before.artifacts, *after.artifacts}):
        found += _changed(target, _of_target(before, target), _of_target(after, target))
    files = (before.contents.files, after.contents.files)
    for path in sorted({*files[0], *files[1]} - set(OWN)):
        one, two = (side.get(path) for side in files)
        if one != two:
            sides = [NOTHING if side is None else f"{side.bytes} bytes, {side.sha256[:16]}…" for side in (one, two)]
            found.append(Change("files", path, *sides))
    return tuple(found)


def _changed(where: str, before: dict[str, str], after: dict[str, str]) -> Iterator[Change]:
    for what in dict.fromkeys([*before, *after]):
        pair = before.get(what, NOTHING), after.get(what, NOTHING)
        if pair[0] != pair[1]:
            yield Change(where, what, *pair)


def _whole(side: Side) -> dict[str, str]:
    """What the release was made of."""
    return {
        "name": side.manifest.name,
        "task": side.report.task,
        "recipe": side.manifest.recipe_digest[:16],
        "inputs of the run": side.manifest.stage_digest[:16],
        **{f"input {one.part}": _input(one) for one in side.manifest.inputs},
        "licence": side.manifest.licence or NOTHING,
        **{f"data: {name}": str(value)[:120] for name, value in side.report.data.items()},
        "gates": ", ".join(f"{gate.target} {gate.gate} {gate.limit:g}" for gate in side.manifest.gates) or NOTHING,
        "missed gates": ", ".join(f"{gate.target} {gate.gate}" for gate in side.manifest.missed_gates) or NOTHING,
    }


def _input(one: Input) -> str:
    """Source, commit or digest, licence."""
    known = (one.source, one.revision[:12] or one.sha256[:16], one.licence or "no licence stated")
    return ", ".join(part for part in known if part)[:300]


def _of_target(side: Side, target: str) -> dict[str, str]:
    """What one target's artifact is, takes and reaches; nothing where the release has none."""
    artifact = side.artifacts.get(target)
    if artifact is None:
        return {}
    row = next(row for row in side.report.candidates if row.target == target and row.chosen)
    signature = artifact.signature
    return {
        "artifact": f"{artifact.name}, {artifact.precision}",
        "bytes": str(artifact.bytes),
        "parameters": str(artifact.parameters),
        **{f"input {spec.name}": _words(spec, signature) for spec in signature.inputs},
        **{f"output {spec.name}": _words(spec, signature) for spec in signature.outputs},
        **_figures(row),
    }


def _figures(row: Row) -> dict[str, str]:
    latency = {
        f"p50 at batch {one.batch}, {one.threads} threads"
        + (f", {one.sequence} tokens" if one.sequence else ""): f"{one.p50:.4g} ms"
        for one in row.latency
    }
    return {**{figure.name: f"{figure.value:.6g}" for figure in row.metrics}, **latency}


def _words(spec: TensorSpec, signature: Signature) -> str:
    """Type and shape, sizes that vary with their bounds: `int64[batch 1..8, sequence 2..128]`."""

    def size_text(size: int | str) -> str:
        low, high = signature.bounds.get(str(size), ("?", "?"))
        return f"{size} {low}..{high}" if isinstance(size, str) else str(size)

    return f"{spec.dtype}[{', '.join(map(size_text, spec.shape))}]"
