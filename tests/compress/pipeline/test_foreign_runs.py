"""A run, release or artifact folder of somebody else: nothing outside of it is read into a release or written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from edgepress.benchmarks.devices.merge import add_records
from edgepress.compress.cli.bench import find_artifacts
from edgepress.compress.pipeline.keys import StageKey
from edgepress.compress.pipeline.publish import _copy_chosen, check_release
from edgepress.compress.pipeline.store import RunFolder, StageRecord
from edgepress.compress.recipe.kept import KeptRecipe
from edgepress.compress.recipe.recipe import Recipe
from edgepress.compress.release.package import package_release
from edgepress.targets.errors import ArtifactError, RecipeError, StoreError
from edgepress.targets.files import write_whole
from edgepress.targets.records import Artifact, FileEntry, sha256_of
from tests.benchmarks.tiny_release import TARGET, run_bare, seal, tiny_release
from tests.end_to_end.recipes import PLAIN

OUTSIDE = [
    *(
        "../x",
        "a/../../x",
        "/etc/passwd",
        "..",
        "",
        ".",
        "a//b",
        "a/./b",
        "/",
        "C:/x",
        "c:x",
        "..\\x",
        "\\\\host\\x",
        "a\\b",
    ),
    *("a\nb", "a\x00b", "a\u202eb", "a\x1b[31mb", "a/", "x" * 300, "x/" * 600 + "x"),
]


@pytest.mark.parametrize("path", OUTSIDE)
def test_a_file_record_takes_a_plain_path_below_its_folder_only(path: str) -> None:
    with pytest.raises(ValidationError, match=r"leads out of its folder|is no path|cannot be seen"):
        FileEntry(path=path, bytes=1, sha256="0" * 64)
    with pytest.raises(ValidationError):
        StageRecord.model_validate({"index": 1, "name": "a", "digest": "", "files": [{"path": path, "bytes": 1}]})


@pytest.mark.parametrize("path", ["model.onnx", "a/b.c", "übung.txt", "..hidden", "a b", "xy:z"])
def test_other_names_are_paths_as_before(path: str) -> None:
    assert FileEntry(path=path, bytes=1, sha256="").path == path


def export_of(run: Path, name: str = "fp32") -> Path:
    """`run`/03-export with one artifact, as a finished run holds it."""
    place = run / "03-export/artifacts" / TARGET / name
    place.parent.mkdir(parents=True)
    tiny_release(run / "made")
    (run / "made" / TARGET).rename(place)
    return place


def with_file(place: Path, path: str) -> None:
    """The artifact names one more file, with its true size and sha256."""
    record = json.loads((place / "artifact.json").read_text())
    found = place / path
    record["files"].append({"path": path, "bytes": found.stat().st_size, "sha256": sha256_of(found), "shipped": True})
    (place / "artifact.json").write_text(json.dumps(record))


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    path = tmp_path / "victim/startup.sh"
    path.parent.mkdir()
    path.write_text("mine")
    return path


@pytest.mark.parametrize("named", ["../../../../../victim/startup.sh", "{victim}", "link"])
def test_an_artifact_that_names_a_file_outside_is_refused_before_anything_is_copied(
    tmp_path: Path, victim: Path, named: str
) -> None:
    place = export_of(tmp_path / "run")
    (place / "link").symlink_to(victim)
    with_file(place, named.format(victim=victim))
    with pytest.raises(ArtifactError, match="leads out of its folder"):
        _copy_chosen({TARGET: "fp32"}, tmp_path / "run/03-export", tmp_path / "new")
    assert not (tmp_path / "new").exists() and victim.read_text() == "mine"


@pytest.mark.parametrize("chosen", [{"../../out": "fp32"}, {TARGET: "../../x"}, {"/tmp/out": "fp32"}, {"a/b": "fp32"}])
def test_a_report_that_names_a_target_or_candidate_outside_is_refused(tmp_path: Path, chosen: dict[str, str]) -> None:
    export_of(tmp_path / "run")
    with pytest.raises(ArtifactError, match=r"leads out of its folder|more than one name"):
        _copy_chosen(chosen, tmp_path / "run/03-export", tmp_path / "new")
    assert not (tmp_path / "new").exists() and not (tmp_path / "out").exists()


def test_a_manifest_that_names_a_file_or_target_outside_is_refused(tmp_path: Path) -> None:
    release = tiny_release(tmp_path / "release")
    manifest = json.loads((release / "manifest.json").read_text())
    for change in ({"artifacts": {"../x": "fp32"}}, {"files": [{"path": "../x", "bytes": 1, "sha256": "0" * 64}]}):
        (release / "manifest.json").write_text(json.dumps(manifest | change))
        with pytest.raises(ArtifactError, match=r"manifest.json is damaged .* leads out of its folder"):
            check_release(release)


@pytest.mark.parametrize("name", [".lock", ".owner", "recipe.json", "release", "03-export/x"])
def test_a_run_with_a_link_that_leads_out_is_not_written(tmp_path: Path, victim: Path, name: str) -> None:
    (tmp_path / "run/03-export").mkdir(parents=True)
    (tmp_path / "run" / name).symlink_to(victim)
    with pytest.raises(StoreError, match="is a link that leads out of the run"), RunFolder("run", tmp_path).locked():
        pass
    assert victim.read_text() == "mine"


def test_a_link_that_stays_in_the_run_is_taken(tmp_path: Path) -> None:
    (tmp_path / "run/a").mkdir(parents=True)
    (tmp_path / "run/b").symlink_to("a")
    with RunFolder("run", tmp_path).locked() as folder:
        assert folder.name == "run"


def test_a_file_is_written_whole_although_a_link_lies_in_its_way(tmp_path: Path, victim: Path) -> None:
    (tmp_path / ".new.part").symlink_to(victim)
    write_whole(tmp_path / "new", "text")
    assert (victim.read_text(), (tmp_path / "new").read_text()) == ("mine", "text")


def test_devices_that_are_a_link_out_of_the_run_are_not_written(tmp_path: Path, victim: Path) -> None:
    tiny_release(tmp_path / "run/release")
    (tmp_path / "run/devices").symlink_to(victim.parent)
    with pytest.raises(ArtifactError, match="devices leads out of its folder"):
        add_records(tmp_path / "run", [])


def finished_run(folder: Path, artifacts: bytes) -> None:
    """A run whose one stage is a benchmark that says where its artifacts lie."""
    key = StageKey(name="benchmark", digest="d")
    with RunFolder(folder.name, folder.parent).locked() as run:
        run.set_chain((key,))
        with run.write_stage(key) as stage:
            (stage / "artifacts.json").write_bytes(artifacts)


@pytest.mark.parametrize("folder", ["../x", "/etc"])
def test_a_run_whose_artifacts_lie_elsewhere_is_refused(tmp_path: Path, folder: str) -> None:
    place = {"target": "onnxruntime-cpu", "name": "teacher", "folder": folder}
    finished_run(tmp_path, json.dumps({"artifacts": [place]}).encode())
    with pytest.raises(ArtifactError, match="leads out of its folder"):
        find_artifacts(tmp_path)


@pytest.mark.parametrize("content", ["[]", "{", '{"artifacts": 1}', "\xff"])
def test_places_that_are_none_are_one_line(tmp_path: Path, content: str) -> None:
    finished_run(tmp_path, content.encode("latin-1"))
    with pytest.raises(ArtifactError, match=r"artifacts.json is damaged: .* Run the benchmark stage again"):
        find_artifacts(tmp_path)


def no_files(record: dict[str, Any]) -> None:
    record["files"] = []


def another_model(record: dict[str, Any]) -> None:
    record["files"][0]["path"] = "other.onnx"


def size_of_its_own(record: dict[str, Any]) -> None:
    record["files"][0]["bytes"] = 10**400


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (no_files, "artifact.json does not name model.onnx"),
        (another_model, "artifact.json does not name model.onnx"),
        (size_of_its_own, "artifact.json is damaged or of another version: ValueError: a whole number of 401 digits"),
    ],
)
def test_an_artifact_has_to_name_the_model_that_is_opened(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], told: str
) -> None:
    from edgepress.targets.onnxruntime_cpu.target import OnnxRuntimeCpu

    place = tiny_release(tmp_path / "release") / TARGET
    record = json.loads((place / "artifact.json").read_text())
    change(record)
    (place / "artifact.json").write_text(json.dumps(record))
    with (
        pytest.raises(ArtifactError, match=told),
        OnnxRuntimeCpu().open(Artifact.read(place / "artifact.json"), place),
    ):
        pass


def test_files_that_an_artifact_does_not_name_are_listed(tmp_path: Path) -> None:
    place = tiny_release(tmp_path / "release") / TARGET
    (place / "model.onnx.data").write_text("")
    (place / "link").symlink_to("nowhere")
    assert Artifact.read(place / "artifact.json").unknown_files(place) == ["link", "model.onnx.data"]


def test_the_runner_reads_nothing_outside_of_its_release(tmp_path: Path, victim: Path) -> None:
    release = tiny_release(tmp_path / "release")
    with_file(release / TARGET, "../../victim/startup.sh")
    seal(release)
    done = run_bare(release, "--samples", "11")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1 and "which leads out of it. It was refused." in done.stderr


def test_a_runs_own_recipe_that_trusts_code_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its teacher may be anybody's, too: it lies where the run says."""
    from edgepress.compress.release import package as packaging

    recipe = Recipe.model_validate(PLAIN | {"teacher": {"model": "teacher", "trust_remote_code": True}})
    kept = KeptRecipe(folder=".", recipe=recipe)
    monkeypatch.setattr(packaging, "kept_recipe", lambda run: kept)
    monkeypatch.setattr(packaging, "_benchmark_of", lambda run: tmp_path)
    with pytest.raises(RecipeError, match=r"trusts code of its teacher, and the run may be anybody's. Give the recipe"):
        package_release(tmp_path, None, samples=8)
