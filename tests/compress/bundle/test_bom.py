"""bom.cdx.json: what CycloneDX's own validator and a reader find in it."""

from __future__ import annotations

import json
import shutil
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from typer.testing import CliRunner

from edgepress.compress.bundle.bom import BOM, package_licence, write_bom
from edgepress.compress.bundle.contents import read_folder
from edgepress.compress.bundle.manifest import Manifest, seal_release
from edgepress.compress.bundle.part import part_of
from edgepress.compress.bundle.verify import verify
from edgepress.compress.cli.app import app
from edgepress.compress.licences.records import Input
from edgepress.targets.records import Artifact
from tests.benchmarks.quality import quality
from tests.benchmarks.tiny_release import TARGET
from tests.compress.bundles import HELD, OTHER, report_of, tiny_bundle

COMMIT = "c0ffee" * 6 + "beef"
INPUTS = (
    Input(role="teacher", part="teacher.model", source="owner/name", kind="hub", revision=COMMIT, sha256="d" * 64,
          licence="LicenseRef-gemma AND MIT", verdict="restricts", accepted="we asked\x1b[31m"),
    Input(role="data", part="data.train", source="rows.csv", kind="file", sha256="e" * 64, licence="CC-BY-4.0",
          verdict="conditions"),
    Input(role="data", part="data.test", source="test.csv", kind="file", licence="LicenseRef-mine", verdict="unknown"),
    Input(role="code", part="student.code", source="model.py:build", kind="code", verdict="not stated"),
)  # fmt: skip


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tiny_bundle(tmp_path_factory.mktemp("bom") / "release")
    artifacts = [Artifact.read(folder / target / "artifact.json") for target in (TARGET, OTHER)]
    report = report_of(artifacts, (HELD,))
    first, second = report.candidates
    versions = {"numpy": metadata.version("numpy"), "torch": "0.0.1", "bad name\n": "1", "jax": None}
    (folder / "report.json").write_text(
        report.model_copy(
            update={
                "candidates": (first.model_copy(update={"metrics": quality(0.75)}), second),
                "environment": {"versions": versions},
            }
        ).model_dump_json()
    )
    manifest = Manifest.read(folder / "manifest.json").model_copy(update={"inputs": INPUTS, "licence": "Apache-2.0"})
    write_bom(folder, manifest)
    seal_release(folder, manifest)
    return folder


@pytest.fixture(scope="module")
def bom(release: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((release / BOM).read_text(encoding="utf-8"))
    return found


def component(bom: dict[str, Any], reference: str) -> dict[str, Any]:
    (found,) = (one for one in bom["components"] if one["bom-ref"] == reference)
    return dict(found)


def test_it_is_valid_by_the_schema_of_cyclonedx(release: Path, bom: dict[str, Any]) -> None:
    validator = JsonStrictValidator(SchemaVersion.V1_6)
    assert validator.validate_str((release / BOM).read_text(encoding="utf-8")) is None
    assert validator.validate_str(json.dumps({**bom, "components": [{"type": "model"}]})) is not None


def test_inputs_stand_in_it_with_licence_and_digest(bom: dict[str, Any]) -> None:
    teacher = component(bom, "input:teacher.model")
    assert (teacher["type"], teacher["version"]) == ("machine-learning-model", COMMIT)
    assert teacher["purl"] == f"pkg:huggingface/owner/name@{COMMIT}"
    assert teacher["licenses"] == [{"expression": "LicenseRef-gemma AND MIT"}]
    told = {one["name"]: one["value"] for one in teacher["properties"]}
    assert told["edgepress:sha256"] == "d" * 64 and told["edgepress:accepted"] == "we asked\\x1b[31m"
    train = component(bom, "input:data.train")
    assert (train["type"], train["hashes"]) == ("data", [{"alg": "SHA-256", "content": "e" * 64}])
    assert train["licenses"] == [{"license": {"id": "CC-BY-4.0"}}]
    assert component(bom, "input:data.test")["licenses"] == [{"license": {"name": "LicenseRef-mine"}}]
    assert "licenses" not in component(bom, "input:student.code")


def test_artifacts_stand_in_it_with_files_and_figures(bom: dict[str, Any]) -> None:
    artifact = component(bom, f"artifact:{TARGET}")
    assert [one["name"] for one in artifact["components"]] == [f"{TARGET}/model.onnx"]
    assert artifact["modelCard"]["quantitativeAnalysis"]["performanceMetrics"] == [
        {"type": "accuracy", "value": "0.75", "slice": "test"}
    ]
    assert artifact["modelCard"]["modelParameters"]["task"] == "image-classification"
    assert bom["metadata"]["component"]["licenses"] == [{"license": {"id": "Apache-2.0"}}]
    (release,) = (one for one in bom["dependencies"] if one["ref"] == "release")
    assert {"input:teacher.model", "package:numpy", f"artifact:{OTHER}"} <= set(release["dependsOn"])


def test_packages_stand_in_it_as_the_run_recorded_them(bom: dict[str, Any]) -> None:
    packages = {one["name"]: one for one in bom["components"] if one["bom-ref"].startswith("package:")}
    assert set(packages) == {"numpy", "torch"}
    assert packages["numpy"]["purl"] == f"pkg:pypi/numpy@{metadata.version('numpy')}" and packages["numpy"]["licenses"]
    assert "licenses" not in packages["torch"]  # not that version: nobody can say


@pytest.mark.parametrize(
    ("package", "licence"),
    [
        ("edgepress", "Apache-2.0"),
        ("plotly", "MIT"),
        ("pydantic", "MIT"),
        ("transformers", "Apache-2.0"),
        ("no-such", ""),
    ],
)
def test_a_package_says_its_licence(package: str, licence: str) -> None:
    version = metadata.version(package) if licence else "1"
    assert package_licence(package, version) == licence


def test_the_same_release_gives_the_same_bytes_and_another_one_another_serial_number(
    release: Path, tmp_path: Path, bom: dict[str, Any]
) -> None:
    before = (release / BOM).read_bytes()
    manifest = Manifest.read(release / "manifest.json")
    write_bom(release, manifest)
    assert (release / BOM).read_bytes() == before
    part_of(release, manifest, TARGET, tmp_path / "part")
    part = json.loads((tmp_path / "part" / BOM).read_text(encoding="utf-8"))
    assert part["serialNumber"] != bom["serialNumber"] and part["serialNumber"].startswith("urn:uuid:")
    assert [one["name"] for one in part["components"] if one["bom-ref"].startswith("artifact:")] == [TARGET]


def test_verify_finds_a_missing_or_changed_paper(release: Path) -> None:
    assert verify(read_folder(release)).faults == ()
    content = (release / BOM).read_bytes()
    (release / BOM).write_bytes(content + b" ")
    assert f"{BOM} is not the released file" in verify(read_folder(release)).faults[0]
    (release / BOM).unlink()
    assert verify(read_folder(release)).faults == (f"{BOM} is missing",)
    (release / BOM).write_bytes(content)


def test_verify_and_diff_tell_inputs_and_licences(release: Path, tmp_path: Path) -> None:
    told = CliRunner().invoke(app, ["verify", str(release)], env={"COLUMNS": "1000"}).stdout
    assert "Licences: teacher.model LicenseRef-gemma AND MIT (accepted), data.train CC-BY-4.0," in told
    other = shutil.copytree(release, tmp_path / "other")
    manifest = Manifest.read(other / "manifest.json")
    seal_release(other, manifest.model_copy(update={"inputs": manifest.inputs[1:], "licence": "MIT"}))
    told = CliRunner().invoke(app, ["diff", str(release), str(other)], env={"COLUMNS": "300"}).stdout
    assert "input teacher.model" in told and "c0ffeec0ffee, LicenseRef-gemma AND MIT" in told and "Apache-2.0" in told
