"""What is done is not done again, and what changed is."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import pytest

from edgepress import Recipe, run
from edgepress.compress.cli.console import Console
from edgepress.compress.data.splits import Rows, Splits
from edgepress.compress.pipeline.run import Result
from edgepress.compress.recipe.kept import KeptRecipe
from edgepress.targets.records import Artifact
from tests.end_to_end.recipes import (
    PLAIN,
    TEXT,
    changed,
    edgepress,
    hashes,
    leftovers,
    stage_folder,
    stage_folders,
    stage_hashes,
    write_recipe,
)

# Printed as the process ends.
TELL_HEAVY = """
import atexit
heavy = {"torch", "transformers", "onnx", "onnxruntime", "datasets"}
atexit.register(lambda: print("LOADED", sorted(heavy & set(sys.modules))))
"""
STAGES = ["01-teacher", "02-student", "03-distill", "04-prune", "05-factorize", "06-quantize", "07-benchmark"]


def again(folder: Path, *overrides: str, until: str | None = None) -> Result:
    return run(Recipe.load(folder / "recipe.yaml", overrides), until=until, runs=folder / "runs")


@pytest.mark.slow
def test_a_finished_run_answers_without_torch_and_without_work(text_run: Path) -> None:
    before = hashes(text_run / "runs")
    told = edgepress(text_run, "run", "recipe.yaml", code=TELL_HEAVY)
    assert told.returncode == 0, told.stderr
    assert "Nothing has changed: no stage was run." in told.stdout
    assert "LOADED []" in told.stdout
    assert told.stderr == ""
    assert hashes(text_run / "runs") == before


@pytest.mark.slow
def test_a_changed_stage_is_run_again_with_those_behind_it(text_copy: Path) -> None:
    before = stage_hashes(text_copy / "runs/text")
    result = again(text_copy, "stages.prune.ffn=0.25")
    assert result.fresh == ("prune", "factorize", "quantize", "benchmark")
    after = stage_hashes(text_copy / "runs/text")
    assert list(after) == STAGES
    assert [name for name in STAGES if before[name] == after[name]] == ["01-teacher", "02-student", "03-distill"]


@pytest.mark.slow
def test_going_back_to_an_option_finds_what_was_finished_under_it(plain_copy: Path) -> None:
    run_folder = plain_copy / "runs/plain"
    before = hashes(run_folder / "release")
    stages = stage_hashes(run_folder)
    assert again(plain_copy, "student.ffn=8").fresh == ("student", "export", "benchmark")
    assert stage_hashes(run_folder)["01-teacher"] == stages["01-teacher"]
    assert hashes(run_folder / "release") != before
    assert again(plain_copy).fresh == ()
    assert (stage_hashes(run_folder), hashes(run_folder / "release")) == (stages, before)
    assert len(list((run_folder / "stages").iterdir())) == 4 + 3
    assert again(plain_copy, "student.ffn=8").fresh == ()


@pytest.mark.slow
def test_stages_of_an_older_layout_are_told_in_one_line_and_made_again(inputs: Path) -> None:
    write_recipe(inputs, PLAIN)
    old = inputs / "runs/plain/01-teacher"
    old.mkdir(parents=True)
    (old / "stage.json").write_text('{"format": 1, "index": 1, "name": "teacher", "digest": "d", "files": []}')
    told = edgepress(inputs, "run", "recipe.yaml", "--until", "teacher")
    assert told.returncode == 0, told.stderr
    assert (
        "warning: runs/plain holds 1 stages of an older edgepress (01-teacher …), which cannot be read any more: they "
        "are made again. `edgepress gc runs` removes the old ones.\n"
    ) in told.stderr
    shown = edgepress(inputs, "report", "runs/plain")
    assert shown.stderr.endswith("its last finished stage is teacher. Finish it with `edgepress run`.\n")


@pytest.mark.slow
def test_a_run_holds_the_recipe_of_its_stages(plain_copy: Path) -> None:
    path = plain_copy / "runs/plain/recipe.json"
    recipe = Recipe.load(plain_copy / "recipe.yaml")
    kept = KeptRecipe.read(path)
    assert (kept.recipe, kept.folder) == (recipe, "../..")
    # Nothing is made, so what lies there is still of the recipe before.
    again(plain_copy, "gates.min_shrink=1.5", until="export")
    assert KeptRecipe.read(path) == kept
    assert again(plain_copy, "gates.min_shrink=1.5").fresh == ("benchmark",)
    assert KeptRecipe.read(path).recipe.gates.min_shrink == 1.5


@pytest.mark.slow
def test_a_finished_run_of_an_older_layout_gets_its_recipe(plain_copy: Path) -> None:
    path = plain_copy / "runs/plain/recipe.json"
    before = path.read_bytes()
    path.unlink()
    assert again(plain_copy).fresh == ()
    assert path.read_bytes() == before
    assert leftovers(plain_copy / "runs/plain") == []


@pytest.mark.slow
def test_a_recipe_that_lost_a_stage_keeps_what_still_fits(text_copy: Path) -> None:
    shorter = changed(TEXT, stages=[TEXT["stages"][0], TEXT["stages"][3]])
    write_recipe(text_copy, shorter)
    before = stage_hashes(text_copy / "runs/text")
    result = again(text_copy)
    assert result.fresh == ("quantize", "benchmark")
    after = stage_hashes(text_copy / "runs/text")
    assert list(after) == [*STAGES[:3], "04-quantize", "05-benchmark"]
    assert all(after[name] == before[name] for name in STAGES[:3])
    assert result.report is not None
    assert [row.kind for row in result.report.stages] == ["student", "distill", "quantize"]


@pytest.mark.slow
def test_changed_shapes_time_again_and_train_nothing(text_copy: Path) -> None:
    result = again(text_copy, "benchmark.batches=[1, 2]")
    assert result.fresh == ("benchmark",)
    assert result.report is not None
    assert [row.batch for row in result.report.teacher.latency] == [1, 2]


@pytest.mark.slow
def test_stages_in_another_order_run_through(plain_copy: Path) -> None:
    factorize, prune = {"factorize": {"rank": 6, "max_drop": 1.0}}, {"prune": {"ffn": 0.5, "max_drop": 1.0}}
    write_recipe(plain_copy, changed(PLAIN, stages=[prune, factorize]))
    assert again(plain_copy, until="factorize").fresh == ("prune", "factorize")
    write_recipe(plain_copy, changed(PLAIN, stages=[factorize, prune]))
    assert again(plain_copy, until="prune").fresh == ("factorize", "prune")
    assert list(stage_hashes(plain_copy / "runs/plain")) == ["01-teacher", "02-student", "03-factorize", "04-prune"]


@pytest.mark.slow
def test_other_bounds_are_exported_anew_for_teacher_and_student(plain_copy: Path) -> None:
    again(plain_copy, "data.max_length=16")
    run_folder = plain_copy / "runs/plain"
    places = json.loads((stage_folder(run_folder, "04-benchmark") / "artifacts.json").read_text())["artifacts"]
    assert [place["name"] for place in places] == ["teacher", "fp32"]
    folders = [run_folder / place["folder"] for place in places]
    bounds = [Artifact.read(folder / "artifact.json").signature.bounds for folder in folders]
    assert [bound["sequence"] for bound in bounds] == [(2, 16), (2, 16)]


@pytest.mark.slow
@pytest.mark.parametrize("lost", ["report", "release", "release/onnxruntime-cpu", "report/report.md"])
def test_a_lost_report_or_release_is_written_again_without_running_a_stage(plain_copy: Path, lost: str) -> None:
    place = plain_copy / "runs/plain" / lost
    before = hashes(plain_copy / "runs/plain")
    shutil.rmtree(place) if place.is_dir() else place.unlink()
    assert again(plain_copy).fresh == ()
    assert hashes(plain_copy / "runs/plain") == before


@pytest.mark.slow
def test_a_damaged_stage_is_told_and_done_again(plain_copy: Path) -> None:
    (stage_folder(plain_copy / "runs/plain", "03-export") / "model.safetensors").write_bytes(b"")
    log = io.StringIO()
    recipe = Recipe.load("recipe.yaml")
    result = run(recipe, console=Console("plain", err=log))
    assert result.fresh == ("export", "benchmark")
    assert "model.safetensors is damaged (0 bytes" in log.getvalue()


@pytest.mark.slow
def test_until_stops_there_and_the_next_run_goes_on(inputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the test rows are read once, when every choice has been made."""
    write_recipe(inputs, PLAIN)
    first = again(inputs, until="student")
    assert first.fresh == ("teacher", "student")
    assert first.report is None
    assert not first.report_folder.exists()
    assert again(inputs, until="student").fresh == ()
    read, finished_by_then = Splits.test, []

    def spy(splits: Splits) -> Rows:
        finished_by_then.append(sorted(stage_folders(inputs / "runs/plain")))
        return read(splits)

    monkeypatch.setattr(Splits, "test", spy)
    result = again(inputs)
    assert result.fresh == ("export", "benchmark")
    assert finished_by_then == [["01-teacher", "02-student", "03-export"]]
    assert result.report is not None
    assert (result.report.data["test_reads"], result.report.data["test"]) == (1, 32)


def test_a_dry_run_writes_nothing(inputs: Path) -> None:
    write_recipe(inputs, TEXT)
    before = hashes(inputs)
    told = edgepress(inputs, "run", "recipe.yaml", "--dry-run", "--json", code=TELL_HEAVY)
    assert told.returncode == 0, told.stderr
    table = json.loads(told.stdout.splitlines()[0])
    assert [row[:2] for row in table["rows"]] == [[stage, "to do"] for stage in STAGES]
    assert "LOADED []" in told.stdout
    assert hashes(inputs) == before


def test_until_an_unknown_stage_lists_those_there_are(inputs: Path) -> None:
    write_recipe(inputs, PLAIN)
    told = edgepress(inputs, "run", "recipe.yaml", "--until", "prune")
    assert told.returncode == 2
    wording = "error: --until prune: this recipe has no such stage; it has teacher, student, export, benchmark\n"
    assert told.stderr == wording
