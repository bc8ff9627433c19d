"""bom.cdx.json of a release: a CycloneDX 1.6 ML-BOM of its artifacts, its inputs and the toolchain, the same each time.

No random serial number and no clock: the same release gives the same bytes.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator, Mapping
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepress.benchmarks.records.files import JSON_NAME
from edgepress.benchmarks.records.report import Report
from edgepress.compress.bundle.manifest import Manifest
from edgepress.compress.licences.records import Input
from edgepress.compress.licences.table import LONGEST, OTHER, licence_id
from edgepress.targets.records import Artifact
from edgepress.targets.text import visible

if TYPE_CHECKING:
    from cyclonedx.model.component import Component
    from cyclonedx.model.license import License

BOM = "bom.cdx.json"
CLASSIFIERS = {
    "License :: OSI Approved :: Apache Software License": "Apache-2.0",
    "License :: OSI Approved :: MIT License": "MIT",
    "License :: OSI Approved :: ISC License (ISCL)": "ISC",
    "License :: OSI Approved :: Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
}
"""Classifiers that name one licence; that of BSD names several."""


def write_bom(folder: Path, manifest: Manifest) -> None:
    """Write the BOM of the release in `folder`, which is not sealed yet."""
    report = Report.read(folder / JSON_NAME) if (folder / JSON_NAME).is_file() else None
    artifacts = {name: Artifact.read(folder / name / Artifact.FILE_NAME) for name in manifest.artifacts}
    bom = _bom(manifest, artifacts, _versions(report, artifacts))
    for component in bom["components"]:
        if component["bom-ref"].startswith("artifact:"):
            component["modelCard"] = _model_card(component["bom-ref"].partition(":")[2], manifest, report)
    if report is None:
        del bom["metadata"]["timestamp"]
    else:
        bom["metadata"]["timestamp"] = datetime.fromisoformat(report.created).isoformat()
    del bom["serialNumber"]
    bom["serialNumber"] = uuid.uuid5(uuid.NAMESPACE_OID, json.dumps(bom, sort_keys=True)).urn
    (folder / BOM).write_bytes((json.dumps(bom, indent=1, sort_keys=True) + "\n").encode())


def _bom(manifest: Manifest, artifacts: Mapping[str, Artifact], versions: Mapping[str, str]) -> dict[str, Any]:
    """The components, and on which of them the release rests, as cyclonedx-python-lib writes them."""
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.output.json import JsonV1Dot6

    model = ComponentType.MACHINE_LEARNING_MODEL
    release = Component(
        name=manifest.name, type=model, bom_ref="release", version=manifest.stage_digest,
        licenses=_licences(manifest.licence),
    )  # fmt: skip
    components = [
        *(_artifact(target, artifact) for target, artifact in artifacts.items()),
        *(_input(one) for one in manifest.inputs),
        *(_package(name, version) for name, version in versions.items()),
    ]
    bom = Bom(components=components)
    bom.metadata.component = release
    bom.register_dependency(release, components)
    found: dict[str, Any] = json.loads(JsonV1Dot6(bom).output_as_string())
    return found


def _artifact(target: str, artifact: Artifact) -> Component:
    from cyclonedx.model import HashAlgorithm, HashType
    from cyclonedx.model.component import Component, ComponentType

    files = [
        Component(
            name=f"{target}/{entry.path}", type=ComponentType.FILE, bom_ref=f"file:{target}/{entry.path}",
            hashes=[HashType(alg=HashAlgorithm.SHA_256, content=entry.sha256)],
        )
        for entry in artifact.files
    ]  # fmt: skip
    return Component(
        name=target, type=ComponentType.MACHINE_LEARNING_MODEL, bom_ref=f"artifact:{target}", components=files,
        description=f"{artifact.name}, {artifact.precision}",
    )  # fmt: skip


def _input(one: Input) -> Component:
    from cyclonedx.model import HashAlgorithm, HashType, Property
    from cyclonedx.model.component import Component, ComponentType
    from packageurl import PackageURL

    model, data = ComponentType.MACHINE_LEARNING_MODEL, ComponentType.DATA
    kinds = {"teacher": model, "student": model, "data": data, "code": ComponentType.FILE}
    is_file = one.kind == "file" and re.fullmatch("[0-9a-f]{64}", one.sha256)
    properties = {
        f"edgepress:{key}": str(value) for key, value in one.model_dump(include=INPUT_FIELDS).items() if value
    }
    owner, _, name = re.split("[:@]", one.source)[0].rpartition("/")
    is_model = one.kind == "hub" and one.role != "data" and name
    return Component(
        name=visible(one.source),
        type=kinds[one.role],
        bom_ref=f"input:{one.part}",
        version=one.revision or None,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=one.sha256)] if is_file else [],
        licenses=_licences(one.licence),
        purl=PackageURL("huggingface", owner or None, name, one.revision or None) if is_model else None,
        properties=[Property(name=key, value=visible(value)) for key, value in properties.items()],
    )


INPUT_FIELDS = {"kind", "sha256", "verdict", "accepted"}


def _package(name: str, version: str) -> Component:
    from cyclonedx.model.component import Component, ComponentType
    from packageurl import PackageURL

    return Component(
        name=name, type=ComponentType.LIBRARY, bom_ref=f"package:{name}", version=version,
        purl=PackageURL("pypi", name=name, version=version), licenses=_licences(package_licence(name, version)),
    )  # fmt: skip


def _licences(expression: str) -> list[License]:
    from cyclonedx.model.license import DisjunctiveLicense, LicenseExpression

    if not expression:
        return []
    if " " in expression:
        return [LicenseExpression(expression)]
    if expression.startswith(OTHER):
        return [DisjunctiveLicense(name=expression)]
    return [DisjunctiveLicense(id=expression)]


def package_licence(name: str, version: str) -> str:
    """SPDX expression of a package as it says itself; empty where it says none, or is here in another version."""
    try:
        about: Any = metadata.metadata(name)
    except metadata.PackageNotFoundError:
        return ""
    if about["Version"] != version:
        return ""
    stated = [about.get("License-Expression"), *(CLASSIFIERS.get(one) for one in about.get_all("Classifier") or [])]
    stated.append(about.get("License"))
    return next((found for one in stated if one and len(one) <= LONGEST and (found := licence_id(one))), "")


def _versions(report: Report | None, artifacts: Mapping[str, Artifact]) -> dict[str, str]:
    """Packages of the toolchain and their versions, as the run recorded them."""
    recorded = report.environment.get("versions") if report is not None else None
    found: dict[str, object] = dict(recorded) if isinstance(recorded, dict) else {}
    for artifact in artifacts.values():
        found |= artifact.versions
    return {name: one for name, one in sorted(found.items()) if isinstance(one, str) and _NAME.fullmatch(name)}


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def _model_card(target: str, manifest: Manifest, report: Report | None) -> dict[str, Any]:
    """What the library has no words for yet: task, data and figures of an artifact."""
    rows = [{"ref": f"input:{one.part}"} for one in manifest.inputs if one.role == "data"]
    card: dict[str, Any] = {"modelParameters": {"datasets": rows}} if rows else {}
    if report is not None:
        card.setdefault("modelParameters", {})["task"] = report.task
        card["quantitativeAnalysis"] = {"performanceMetrics": list(_figures(target, report))}
    return card


def _figures(target: str, report: Report) -> Iterator[dict[str, str]]:
    for row in report.candidates:
        if row.target == target and row.chosen:
            yield from ({"type": one.key, "value": repr(one.value), "slice": "test"} for one in row.metrics)
