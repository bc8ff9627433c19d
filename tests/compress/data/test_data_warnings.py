"""What is told of rows before anything is made from them: too few to judge by, a teacher that does not fit them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepress.compress.cli.console import Console
from edgepress.compress.methods.data import Data, Run
from edgepress.compress.pipeline.stages.base import Work
from edgepress.compress.pipeline.stages.teacher import TeacherStage, make_teacher, stages_of
from edgepress.compress.recipe.recipe import Recipe
from edgepress.compress.tasks.workspace import Workspace
from edgepress.compress.training.output_store import OutputStore
from edgepress.targets.errors import DataError
from tests.compress.rows import IMAGE, lines, load
from tests.compress.tiny import tiny_text_data, tiny_text_teacher


def rows(count: int) -> list[dict[str, Any]]:
    return [{"text": f"row {number}", "label": number % 2} for number in range(count)]


def test_few_rows_of_validation_are_told_with_what_one_of_them_weighs(tmp_path: Path) -> None:
    splits = load(lines(tmp_path / "a.jsonl", rows(500)), test_fraction=0.2, validation_fraction=0.05)
    assert splits.notes == (
        "validation has 20 rows: one row is 5.0 % of what checkpoints, ranks and int8 candidates are chosen by. "
        "Give 100 or more (data.validation_fraction: 0.25 or more, or data.validation)",
    )
    enough = load(tmp_path / "a.jsonl", test_fraction=0.2, validation_fraction=0.25)
    assert (len(enough.validation), enough.notes) == (100, ())


def test_where_validation_cannot_have_enough_rows_more_of_them_are_asked_for(tmp_path: Path) -> None:
    (note,) = load(lines(tmp_path / "a.jsonl", rows(40))).notes
    assert note.startswith("validation has 1 row: one row is 100.0 %") and note.endswith("(more rows)")


def test_names_taken_in_order_are_told(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", rows(40))
    assert (
        "are taken for the model's classes neg, pos in this order"
        in load(path, names=("neg", "pos"), labels=("a", "b")).notes[0]
    )


def stage_of(folder: Path, train: Path, told: io.StringIO) -> tuple[TeacherStage, Work]:
    """The teacher's stage of a run on these rows, and what it may use."""
    teacher = tiny_text_teacher(folder / "teacher")
    recipe = Recipe.model_validate(
        {
            "name": "r", "task": "text-classification", "teacher": {"model": str(teacher)},
            "data": {"train": str(train), "validation_fraction": 0.3, "max_length": 16},
            "benchmark": {"sequences": [16]},
        }
    )  # fmt: skip
    console = Console("plain", err=told)
    data = Data(Workspace(recipe, console), folder / "made", OutputStore(folder / "cache", None, console))
    run = Run("teacher", recipe.seed, folder / "scratch", console)
    (stage,) = stages_of(recipe)
    return stage, Work(folder, (), data, run, measuring=None)  # type: ignore[arg-type]  # it measures nothing


def test_a_loaded_teachers_accuracy_is_told_at_once_and_one_that_knows_nothing_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage, work = stage_of(tmp_path, tiny_text_data(tmp_path), told := io.StringIO())
    labels = work.data.validation.labels
    right = np.eye(2, dtype=np.float32)[labels]
    monkeypatch.setattr("edgepress.compress.methods.data.logits_of", lambda *_: right)
    make_teacher(stage, work)
    assert f"teacher: validation_accuracy 1.0, rows {len(labels)}" in told.getvalue()
    assert "warning: validation has" in told.getvalue() and "the teacher gets" not in told.getvalue()
    monkeypatch.setattr("edgepress.compress.methods.data.logits_of", lambda *_: 1 - right)
    work.data._teacher_logits = None  # of the teacher before
    make_teacher(stage, work)
    assert (
        f"warning: the teacher gets 0.000 of {len(labels)} validation rows right, and always the commonest class gets "
        "0.5" in told.getvalue()
    )
    assert told.getvalue().count("warning: validation has") == 1
    before = told.getvalue()
    work.data.validation.labels[:] = labels[0]  # rows of one class say nothing
    make_teacher(stage, work)
    assert "warning" not in told.getvalue().removeprefix(before)


def test_a_picture_of_the_test_table_that_is_missing_is_told_before_any_work(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image", reason="needs Pillow")
    for number in range(12):
        image.new("L", (2, 2), number).save(tmp_path / f"{number}.png")
    train = lines(tmp_path / "a.jsonl", [{"image": f"{number}.png", "label": number % 2} for number in range(12)])
    test = lines(tmp_path / "b.jsonl", [{"image": "0.png", "label": 0}, {"image": "gone.png", "label": 1}])
    with pytest.raises(DataError, match=r"gone.png' is missing. Image paths are relative to the file that names them"):
        load(train, IMAGE, test=str(test), validation_fraction=0.2)


def test_a_split_without_published_labels_is_told_what_it_is(tmp_path: Path) -> None:
    test = lines(tmp_path / "b.jsonl", [{"text": "x", "label": -1}] * 3)
    with pytest.raises(DataError, match=r"row 1: label '-1' does not fit .* whose labels are not published: name anot"):
        load(lines(tmp_path / "a.jsonl", rows(40)), test=str(test))
