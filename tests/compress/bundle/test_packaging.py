"""What `edgepress package` adds to a release, and what it refuses; whole runs: tests/end_to_end/test_devices.py."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from edgepress.benchmarks.devices.record import read_record
from edgepress.compress.cli.app import app
from edgepress.compress.cli.console import Console
from edgepress.compress.data.labels import LabelMap
from edgepress.compress.data.splits import Rows
from edgepress.compress.licences.records import Found, Provenance, Stated, Text
from edgepress.compress.pipeline.plan import plan
from edgepress.compress.pipeline.publish import check_release
from edgepress.compress.pipeline.store import RunFolder
from edgepress.compress.recipe.kept import KeptRecipe, keep_recipe
from edgepress.compress.recipe.recipe import Recipe, parse_recipe
from edgepress.compress.release import package as packaging
from edgepress.compress.release.package import check_recipe, package_release, sample_arrays
from edgepress.targets.device.release import FILES
from edgepress.targets.records import TensorSpec
from tests.architecture.test_readme import blocks
from tests.benchmarks.tiny_release import bare, run_bare, tiny_release
from tests.compress.bundles import MISSED
from tests.compress.fakes import TokenFeatures
from tests.compress.tiny import tiny_text_data
from tests.end_to_end.recipes import PLAIN, changed, hashes, write_recipe

RUNNER_FILES = set(FILES)
TINY = {"name": "tiny", "task": "image-classification", "data": {"train": "a"}, "teacher": {"model": "b"}}
PAPERS = {"README.md", "bom.cdx.json", "NOTICE", "licences/edgepress-LICENSE", "licences/plotly-LICENSE"}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run whose release is made by hand and not packaged yet."""
    run = tmp_path / "tiny"
    release = tiny_release(run / "release", sample=False)
    for name in RUNNER_FILES:
        (release / name).unlink()
    found = SimpleNamespace(release_folder=release, folder=run, stages=(), report=None)
    monkeypatch.setattr(packaging, "reopen", lambda path, console: found)
    manifest = json.loads((release / "manifest.json").read_text())
    manifest["files"] = [file for file in manifest["files"] if file["path"] not in RUNNER_FILES]
    (release / "manifest.json").write_text(json.dumps(manifest))
    return run


def test_a_packaged_release_holds_the_runner_and_verifies(run: Path) -> None:
    assert package_release(run, None, samples=0) == (run / "release", 0)
    paths = {entry.path for entry in check_release(run / "release").files}
    artifact = {"onnxruntime-cpu/artifact.json", "onnxruntime-cpu/model.onnx"}
    assert paths == {*RUNNER_FILES, *PAPERS, *artifact}
    sums = dict(reversed(line.split("  ")) for line in (run / "release" / "SHA256SUMS").read_text().splitlines())
    found = hashes(run / "release")
    del found["SHA256SUMS"]
    assert sums == found


def provenance(run: Path, licence: str) -> None:
    """A record of the run's inputs, its teacher under this licence, and a recipe."""
    stated = (Stated(licence=licence, by="card"),)
    teacher = Found(role="teacher", part="teacher.model", source="teacher", kind="folder", stated=stated)
    data = Found(role="data", part="data.train", source="rows.csv", kind="file", sha256="c" * 64)
    texts = (Text(name="teacher-LICENSE", text="All of it.\n"),)
    (run / "provenance.json").write_text(Provenance(inputs=(teacher, data), texts=texts).model_dump_json())


def accepting(**sections: Any) -> Recipe:
    return parse_recipe({**TINY, **sections}, "tiny")


def test_a_licence_that_restricts_packages_nothing(run: Path, tmp_path: Path) -> None:
    provenance(run, "CC-BY-NC-4.0")
    before = hashes(run / "release")
    path = write_recipe(tmp_path, TINY)
    code, told = edgepress("package", str(run), "--samples", "0", "--recipe", str(path))
    assert code == 3 and told.startswith("error: the licence of teacher.model teacher is CC-BY-NC-4.0 by card, which")
    assert told.count("\n") == 1 and hashes(run / "release") == before


def test_a_licence_that_is_accepted_stands_in_manifest_and_readme_with_the_reason(run: Path) -> None:
    provenance(run, "CC-BY-NC-4.0")
    said = accepting(accept_licence={"teacher": "ours | for research"}, licences={"release": "cc-by-nc-4.0"})
    package_release(run, said, samples=0)
    manifest = json.loads((run / "release/manifest.json").read_text())
    teacher, data = manifest["inputs"]
    assert (teacher["verdict"], teacher["accepted"], manifest["licence"]) == (
        "restricts", "ours | for research", "CC-BY-NC-4.0",
    )  # fmt: skip
    assert (data["verdict"], data["licence"], data["sha256"]) == ("not stated", "", "c" * 64)
    text = (run / "release/README.md").read_text(encoding="utf-8")
    assert "| teacher.model | teacher | CC-BY-NC-4.0 | card |" in text
    assert "- teacher.model (CC-BY-NC-4.0) is released all the same: ours \\| for research" in text
    assert "**No licence is stated for data.train rows.csv.**" in text and "not legal advice" in text
    assert (run / "release/licences/teacher-LICENSE").read_text() == "All of it.\n"
    notice = (run / "release/NOTICE").read_text(encoding="utf-8")
    assert "- teacher.model teacher (CC-BY-NC-4.0)" in notice and "plotly.js, in report.html" in notice


@pytest.fixture
def missed(run: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same run, as one that missed a gate."""
    found = packaging.reopen(run, Console("silent"))
    found.report = SimpleNamespace(gates=(MISSED,))  # type: ignore[misc, assignment]
    monkeypatch.setattr(packaging, "reopen", lambda path, console: found)
    return run


def test_nothing_is_packaged_where_a_gate_was_missed(missed: Path) -> None:
    before = hashes(missed / "release")
    assert edgepress("package", str(missed), "--samples", "0", "--archive", str(missed / "a.tar.zst")) == (
        3,
        "error: the chosen artifacts miss 1 of 1 gates: min_shrink of onnxruntime-cpu is 8, measured 2. Nothing was "
        "packaged; --allow-failed-gates packages it, and the manifest says so\n",
    )
    assert hashes(missed / "release") == before and not (missed / "a.tar.zst").exists()


def test_a_missed_gate_that_is_allowed_stands_in_the_manifest(missed: Path) -> None:
    assert edgepress("package", str(missed), "--samples", "0", "--allow-failed-gates") == (0, "")
    manifest = json.loads((missed / "release/manifest.json").read_text())
    assert manifest["failed_gates_allowed"] is True
    assert [(gate["gate"], gate["passed"]) for gate in manifest["gates"]] == [("min_shrink", False)]
    text = (missed / "release/README.md").read_text(encoding="utf-8")
    assert "**It was packaged although the chosen artifacts miss 1 of 1 gates: min_shrink of onnxruntime-cpu is" in text


def test_a_file_that_lies_beside_the_release_does_not_get_into_it(run: Path) -> None:
    (run / "release/stray.bin").write_bytes(b"x")
    package_release(run, None, samples=0)
    assert not (run / "release/stray.bin").exists()


def test_a_target_without_an_archive_is_refused(run: Path) -> None:
    assert edgepress("package", str(run), "--target", "onnxruntime-cpu") == (
        2,
        "error: --target says what goes into an archive, and there is none. Name it with --archive\n",
    )


def test_packaging_twice_gives_the_same_files(run: Path) -> None:
    package_release(run, None, samples=0)
    before = hashes(run / "release")
    package_release(run, None, samples=0)
    assert hashes(run / "release") == before
    assert sorted(path.name for path in run.iterdir()) == [".lock", "release"]


def test_the_example_in_the_readme_runs_without_this_project(run: Path) -> None:
    package_release(run, None, samples=0)
    text = (run / "release/README.md").read_text(encoding="utf-8")
    assert (
        text.startswith("---\nlibrary_name: edgepress\n")
        and "\n---\n\n# tiny\n" in text
        and "was packaged although" not in text
    )
    (code,) = blocks(text, "python")
    assert len(code.splitlines()) == 10
    before = hashes(run / "release")
    done = bare(run / "release", "-c", code)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "{'logits': array([[1., 1.]], dtype=float32)}\n"
    assert hashes(run / "release") == before


def test_the_packaged_runner_runs_without_this_project(run: Path, tmp_path: Path) -> None:
    package_release(run, None, samples=0)
    done = run_bare(run / "release", "--samples", "11", "--out", str(tmp_path / "record.json"))
    assert (done.returncode, done.stderr) == (0, "")
    assert read_record(tmp_path / "record.json").remarks == ("accuracy not measured: no sample in this release",)


def test_rows_of_the_sample_are_as_long_as_they_are() -> None:
    features = TokenFeatures(3)
    specs = [TensorSpec(name="input_ids", dtype="int64", shape=("batch", "sequence"))]
    arrays = sample_arrays(features, specs)  # type: ignore[arg-type]
    assert sorted(arrays) == ["input:input_ids", "widths"]
    assert arrays["widths"].tolist() == features.lengths.tolist()
    assert arrays["input:input_ids"].tolist() == np.concatenate(features.ids).tolist()


def test_images_of_the_sample_are_stacked() -> None:
    class Pixels:
        def __len__(self) -> int:
            return 2

        def batch(self, rows: list[int]) -> dict[str, np.ndarray]:
            return {"pixel_values": np.full((1, 3, 4, 4), rows[0], np.float32)}

    specs = [TensorSpec(name="pixel_values", dtype="float32", shape=("batch", 3, 4, 4))]
    arrays = sample_arrays(Pixels(), specs)  # type: ignore[arg-type]
    assert arrays["input:pixel_values"].shape == (2, 3, 4, 4)
    assert arrays["widths"].tolist() == [0, 0]


def sampled(labels: list[int], count: int, monkeypatch: pytest.MonkeyPatch, folder: Path) -> list[int]:
    """The rows of a test split with these labels that a sample of `count` has."""
    rows = Rows(np.array(labels), "test", texts=([str(number) for number in range(len(labels))], None))
    taken: list[int] = []

    class Task:
        def features(self, rows: Rows, processor: object, data: object) -> SimpleNamespace:
            taken.extend(map(int, rows.texts[0] if rows.texts else ()))
            return SimpleNamespace(labels=rows.labels, __len__=len(taken))

    splits = SimpleNamespace(test=lambda: rows, truth=LabelMap(("a", "b", "c"), {}))
    workspace = SimpleNamespace(splits=splits, task=Task(), processor=None, teacher=None)
    monkeypatch.setattr("edgepress.compress.tasks.workspace.Workspace", lambda *_, **__: workspace)
    monkeypatch.setattr("edgepress.compress.tasks.inference.logits_of", lambda *_: np.zeros(1))
    monkeypatch.setattr("edgepress.compress.model.model.Model.load", lambda folder: folder)
    monkeypatch.setattr(packaging, "sample_arrays", lambda *_: {})
    recipe: Any = SimpleNamespace(seed=3, data=None)
    assert packaging._write_sample(recipe, folder, count, folder, Console("silent")) == len(taken)
    return taken


def test_the_sample_has_each_class_in_its_share_and_the_same_rows_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alternating = [0, 1] * 64 + [2] * 32
    rows = sampled(alternating, 40, monkeypatch, tmp_path)
    assert np.bincount(np.array(alternating)[rows]).tolist() == [16, 16, 8]
    assert rows == sorted(set(rows)) == sampled(alternating, 40, monkeypatch, tmp_path)
    assert sampled(alternating, 999, monkeypatch, tmp_path) == list(range(160))


def edgepress(*arguments: str) -> tuple[int, str]:
    told = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200"})
    return told.exit_code, told.stderr


@pytest.fixture
def made(workdir: Path) -> Path:
    """A run that looks finished, and holds its recipe; its data and teacher lie beside it."""
    tiny_text_data(workdir / "data", 8)
    tiny_text_data(workdir / "data", 4, "test.jsonl")
    (workdir / "teacher").mkdir()
    (workdir / "teacher/config.json").write_text("{}")
    recipe = Recipe.load(write_recipe(workdir, PLAIN))
    last = plan(recipe)[-1]
    with RunFolder("plain").locked() as folder, folder.write_stage(last.key) as stage:
        (stage / "rows").write_text("")
        folder.set_chain([last.key])
    keep_recipe(recipe, folder.root)
    return folder.root


def move_data(run: Path) -> None:
    Path("data").rename("rows")


def change_data(run: Path) -> None:
    with Path("data/train.jsonl").open("a") as file:
        file.write('{"text": "one more", "label": 1}\n')


def move_teacher(run: Path) -> None:
    Path("teacher").rename("moved")


def forget_recipe(run: Path) -> None:
    (run / "recipe.json").unlink()


def start_elsewhere(run: Path) -> None:
    kept = KeptRecipe.read(run / "recipe.json")
    kept.model_copy(update={"folder": "gone"}).write(run / "recipe.json")


MOVED = "Give the recipe with the data's new paths with --recipe, or package without rows: --samples 0"
OTHER = "the recipe 'plain' is not the one that runs/plain was made with, or its data or teacher have changed since"
UNREADABLE: list[tuple[Callable[[Path], object], str]] = [
    (move_data, f"the rows of runs/plain cannot be read again: data/train.jsonl is missing.* {MOVED}"),
    (move_teacher, OTHER),
    (change_data, OTHER),
    (forget_recipe, "runs/plain does not hold its recipe: an older edgepress made it. Give it with --recipe, or start"),
    (start_elsewhere, f"runs/plain was made in .*/runs/plain/gone, which is gone. {MOVED}"),
]


@pytest.mark.parametrize(("harm", "words"), UNREADABLE)
def test_rows_that_cannot_be_read_as_the_run_read_them_are_refused(
    made: Path, harm: Callable[[Path], object], words: str
) -> None:
    harm(made)
    code, told = edgepress("package", "runs/plain")
    assert code == 2 and told.count("\n") == 1
    assert re.match(f"error: .*{words}", told), told


def test_a_recipe_with_the_new_paths_is_the_same_one(made: Path) -> None:
    move_data(made)
    moved = changed(PLAIN, data={"train": "rows/train.jsonl", "test": "rows/test.jsonl"})
    check_recipe(Recipe.load(write_recipe(Path(), moved)), Path(), made)


def test_overrides_without_a_recipe_are_refused(workdir: Path) -> None:
    assert edgepress("package", "runs/a", "--set", "seed=1") == (
        2,
        "error: --set changes the recipe that --recipe gives, and there is none. Leave it out.\n",
    )


def test_an_unfinished_run_is_refused(workdir: Path) -> None:
    code, told = edgepress("package", "runs/a", "--samples", "0")
    assert code == 1
    assert told == "error: there is no run folder runs/a. Give one that `edgepress run` made: runs/<name>.\n"
    (workdir / "runs" / "a").mkdir(parents=True)
    code, told = edgepress("package", "runs/a", "--samples", "0")
    assert code == 1
    assert "runs/a has no report yet: there is no finished stage in it. Finish it with `edgepress run`." in told


def test_help_says_that_rows_travel() -> None:
    told = CliRunner().invoke(app, ["package", "--help"], env={"COLUMNS": "200"})
    assert told.exit_code == 0
    assert "Privacy: the sample holds rows of the test split" in told.stdout and "--samples 0" in told.stdout
