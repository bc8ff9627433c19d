"""What runs share and what they leave: the teacher's outputs in one folder, and what `edgepress gc` takes away."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgepress import Recipe, run
from tests.end_to_end.recipes import (
    TEXT,
    TRAINING,
    changed,
    edgepress,
    hashes,
    stage_folder,
    stage_folders,
    write_recipe,
)

pytestmark = pytest.mark.slow


def events(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def computed(text: str) -> bool:
    """Whether the teacher was asked for its outputs on the training rows."""
    return any(event.get("title") == "Teacher's outputs" for event in events(text))


def test_two_runs_share_what_the_teacher_gave_and_a_limit_drops_it_when_it_was_read(inputs: Path) -> None:
    distill = {"distill": {"hidden": 1.0, "training": {**TRAINING, "epochs": 1}}}
    for name, limit, wanted in (("first", None, True), ("second", None, False), ("third", 0, False)):
        write_recipe(inputs, changed(TEXT, name=name, stages=[distill], cache={"limit_gb": limit}))
        told = edgepress(inputs, "run", "recipe.yaml", "--until", "distill", "--cache", "shared", "--json")
        assert told.returncode == 0, told.stderr
        assert computed(told.stderr) is wanted, name
        assert not (inputs / "runs" / name / "cache/teacher").exists()
        dropped = [event["name"] for event in events(told.stderr) if event["event"] == "cache"]
        assert bool(dropped) is (limit == 0)
        assert len(list((inputs / "shared").glob("*/cache.json"))) == (0 if dropped else 1)
    rows = [json.loads((stage_folder(inputs / "runs" / name, "03-distill") / "row.json").read_text()) for name in
            ("first", "second")]  # fmt: skip
    assert rows[0]["details"]["epochs"][0]["loss"] == rows[1]["details"]["epochs"][0]["loss"]


def test_gc_takes_the_other_option_and_leaves_all_that_the_run_needs(plain_copy: Path) -> None:
    folder = plain_copy / "runs/plain"
    changed_recipe = Recipe.load(plain_copy / "recipe.yaml", ("student.ffn=8",))
    run(changed_recipe, runs=plain_copy / "runs")
    before = hashes(folder)
    dry = edgepress(plain_copy, "gc", "--dry-run")
    assert dry.returncode == 0 and "would free" in dry.stdout and hashes(folder) == before
    told = edgepress(plain_copy, "gc")
    assert told.returncode == 0 and "freed" in told.stdout, told.stderr
    kept = hashes(folder)
    gone = {path.split("/")[1] for path in before if path not in kept}
    assert len(list((folder / "stages").iterdir())) == 4 and {name.split("-", 1)[-1] for name in gone} >= {"student"}
    places = json.loads((stage_folder(folder, "04-benchmark") / "artifacts.json").read_text())["artifacts"]
    assert len(places) == 2 and all((folder / place["folder"] / "artifact.json").is_file() for place in places)
    assert run(changed_recipe, runs=plain_copy / "runs").fresh == ()
    assert list(stage_folders(folder)) == ["01-teacher", "02-student", "03-export", "04-benchmark"]
