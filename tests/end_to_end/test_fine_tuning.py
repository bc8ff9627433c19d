"""A run whose teacher is a backbone that it fine-tunes: killed on the way, gone on with, told of, not done again."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from edgepress import Recipe
from edgepress.compress.pipeline.plan import plan
from tests.compress.training.test_teacher import only_backbone
from tests.end_to_end.recipes import PLAIN, changed, edgepress, stage_hashes, write_recipe
from tests.end_to_end.test_kill import TRAINING, dies_at, training_done_before

FINE_TUNED = changed(PLAIN, teacher={"model": "teacher", "training": TRAINING})


@pytest.mark.slow
def test_a_backbone_becomes_a_teacher_whatever_happens_on_the_way(inputs: Path) -> None:
    only_backbone(inputs / "teacher", "bert.")
    write_recipe(inputs, FINE_TUNED)
    killed = edgepress(
        inputs, "run", "recipe.yaml", code=dies_at("edgepress.compress.training.fit:_Trainer.compute_loss", 9)
    )
    assert killed.returncode == -signal.SIGKILL
    head = "a fresh head (classifier.bias, classifier.weight)"
    assert f"teacher teacher starts with {head}" in killed.stderr
    resumed = edgepress(inputs, "run", "recipe.yaml", "--json")
    assert resumed.returncode == 0, resumed.stderr
    assert training_done_before(resumed.stderr, "teacher") > 0
    notes = json.loads((inputs / "runs/plain/report/report.json").read_text())["notes"]
    told = f"The teacher was fine-tuned in this run: started from teacher with {head}, for 2 classes (LABEL_0, LABEL_1)"
    assert len([note for note in notes if note.startswith(f"{told}; trained 15 steps, validation accuracy ")]) == 1
    assert head in (inputs / "runs/plain/report/report.html").read_text()
    before = stage_hashes(inputs / "runs/plain")
    again = edgepress(inputs, "run", "recipe.yaml")
    assert "Nothing has changed: no stage was run." in again.stdout
    assert stage_hashes(inputs / "runs/plain") == before


def test_the_trained_teacher_is_stored_by_its_weights_and_its_training(inputs: Path) -> None:
    def digest() -> str:
        return plan(Recipe.load(write_recipe(inputs, FINE_TUNED), tuple(overrides)))[0].key.digest

    overrides: list[str] = []
    first = digest()
    assert digest() == first
    overrides = ["teacher.training.epochs=5"]
    assert digest() != first
    overrides = []
    only_backbone(inputs / "teacher", "bert.")
    assert digest() != first


def test_a_backbone_is_refused_without_a_training(inputs: Path) -> None:
    only_backbone(inputs / "teacher", "bert.")
    write_recipe(inputs, PLAIN)
    told = edgepress(inputs, "run", "recipe.yaml")
    assert told.returncode == 2
    assert told.stderr.splitlines()[-1].endswith("or have it fine-tuned in the run: teacher.training.")
