"""The commands as users type them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from typer.testing import CliRunner, Result

from edgepress.compress.cli.app import app
from edgepress.compress.recipe.recipe import Recipe


def edgepress(*arguments: str) -> Result:
    result = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200"})
    assert result.exit_code == 0, (result.stderr, result.exception)
    return result


def objects(text: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in text.splitlines()]
    assert all(isinstance(entry, dict) and entry["event"] for entry in found)
    return found


def table(text: str, title: str) -> dict[str, Any]:
    (found,) = [entry for entry in objects(text) if entry["event"] == "table" and title in entry["title"]]
    return found


def test_targets_tells_what_is_here_and_what_to_install() -> None:
    found = table(edgepress("targets", "--json").stdout, "Targets")
    states = {row[0]: row[1] for row in found["rows"]}
    assert states["pytorch"] == states["onnxruntime-cpu"] == "available"
    assert all("pip install" in row[3] for row in found["rows"] if row[1] == "missing")
    assert all(row[2] and row[3] for row in found["rows"] if row[1] == "built-only")
    assert "onnxruntime-cpu" in edgepress("targets").stdout


@pytest.mark.parametrize("task", ["text-classification", "image-classification"])
def test_init_writes_a_recipe_that_can_be_read(workdir: Path, task: str) -> None:
    assert "edgepress run recipe.yaml" in edgepress("init", task).stdout
    assert Recipe.load(workdir / "recipe.yaml").task == task


def test_init_finds_the_columns_of_the_users_file(workdir: Path) -> None:
    (workdir / "rows.csv").write_text("id,review,sentiment\n1,good film,pos\n2,bad film,neg\n")
    edgepress("init", "text-classification", "--data", "rows.csv", "--output", "mine.yaml")
    recipe = Recipe.load(workdir / "mine.yaml")
    assert (recipe.data.train, recipe.data.columns.text, recipe.data.columns.label) == (
        "rows.csv",
        "review",
        "sentiment",
    )


@pytest.mark.slow
def test_bench_of_a_run_times_every_artifact_beside_the_teacher(text_copy: Path) -> None:
    told = edgepress("bench", "runs/text", "--samples", "11", "--sequence", "8", "--json")
    rows = table(told.stdout, "Latency")["rows"]
    names = [row[0] for row in rows]
    assert names[0] == "teacher"
    assert {"fp32", "int8-dynamic", "int8-static", "distilled, fp32", "control (no teacher), fp32"} <= set(names)
    assert rows[0][6] == "1.00x [1.00, 1.00]"
    assert all(re.fullmatch(r"[\d.]+x \[[\d.]+, [\d.]+\]", row[6]) and "CV" in row[7] for row in rows)
    # 11 samples are the least: models of a fraction of a ms get enough of them for their p90.
    assert all(re.fullmatch(r"[\d.]+", row[5]) for row in rows)
    objects(told.stderr)


@pytest.mark.slow
@pytest.mark.parametrize(
    "place", ["release", "release/onnxruntime-cpu", "stages/*-quantize/artifacts/onnxruntime-cpu/fp32"]
)
def test_bench_of_a_release_or_an_artifact_has_no_teacher_to_compare_with(text_copy: Path, place: str) -> None:
    (found,) = Path("runs/text").glob(place)
    told = edgepress(
        "bench", str(found), "--samples", "11", "--sequence", "8", "--batch", "1", "--batch", "2", "--json"
    )
    rows = table(told.stdout, "Latency")["rows"]
    assert [(row[0], row[1], row[2], row[6]) for row in rows] == [
        (place.rsplit("/", 1)[-1].replace("release", "onnxruntime-cpu"), batch, "8", "–") for batch in ("1", "2")
    ]


@pytest.mark.slow
def test_bench_tells_which_shapes_it_leaves_out(text_copy: Path) -> None:
    told = edgepress("bench", "runs/text/release", "--samples", "11", "--sequence", "8", "--sequence", "128")
    assert (
        "warning: batch 1, sequence 128 is not timed: these artifacts take batch 1 to 64, sequence 2 to 32"
        in told.stderr
    )
    none = CliRunner().invoke(app, ["bench", "runs/text/release", "--sequence", "128"])
    assert none.exit_code == 1
    assert "no shape to time fits" in none.stderr


@pytest.mark.slow
def test_report_shows_a_finished_run_from_anywhere(text_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = edgepress("report", "runs/text", "--json")
    rows = table(shown.stdout, "teacher and candidates")["rows"]
    assert sum("★" in cell for row in rows for cell in row) == 1
    monkeypatch.chdir(text_copy / "runs/text")
    assert "Release: " in edgepress("report", ".").stdout


@pytest.mark.slow
def test_a_real_report_fits_its_schema_and_does_not_differ_from_its_release(text_copy: Path) -> None:
    folder = text_copy / "runs/text/report"
    schema = json.loads((folder / "report.schema.json").read_text())
    Draft202012Validator(schema).validate(json.loads((folder / "report.json").read_text()))
    told = edgepress("report", "compare", "runs/text", "runs/text/release", "--fail-on-regression", "--json")
    assert {row[-1] for row in table(told.stdout, "runs/text")["rows"]} == {"unchanged"}


@pytest.mark.slow
def test_a_run_as_json_is_one_object_a_line_on_both_streams(plain_run: Path) -> None:
    log, result = objects((plain_run / "stderr").read_text()), objects((plain_run / "stdout").read_text())
    stages = [entry["name"] for entry in log if entry["event"] == "stage" and entry["state"] == "finished"]
    assert stages == ["teacher", "student", "export", "benchmark"]
    assert {entry["event"] for entry in result} == {"table", "line"}


def test_a_fault_as_json_is_one_object_too(workdir: Path) -> None:
    told = CliRunner().invoke(app, ["run", "no.yaml", "--json"])
    assert told.exit_code == 2
    (fault,) = objects(told.stderr)
    assert fault["event"] == "error"
    assert "no.yaml" in fault["text"]
