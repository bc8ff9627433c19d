import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepress.compress.pipeline.plan import Planned, plan, source_digest
from edgepress.compress.recipe.recipe import Recipe
from edgepress.targets.errors import DataError, ModelError, RecipeError


@pytest.fixture(autouse=True)
def inputs(workdir: Path) -> Path:
    (workdir / "teacher").mkdir()
    (workdir / "teacher/config.json").write_text("{}")
    (workdir / "teacher/model.safetensors").write_bytes(b"weights")
    (workdir / "rows.jsonl").write_text('{"text": "good", "label": 1}\n')
    return workdir


def planned(
    stages: tuple[dict[str, Any], ...] = ({"distill": {}}, {"quantize": {}}), **more: Any
) -> tuple[Planned, ...]:
    recipe = {
        "name": "r", "task": "text-classification", "data": {"train": "rows.jsonl"}, "teacher": {"model": "teacher"},
        "stages": list(stages),
    } | more  # fmt: skip
    Path("recipe.yaml").write_text(json.dumps(recipe))
    return plan(Recipe.load("recipe.yaml"))


def first_change(before: tuple[Planned, ...], after: tuple[Planned, ...]) -> str:
    """The first stage that has to be done again; all behind it have to be, too."""
    differ = [old.digest != new.digest for old, new in zip(before, after, strict=True)]
    assert differ == sorted(differ), "a stage behind a changed one kept its digest"
    return next((stage.name for stage, other in zip(after, differ, strict=True) if other), "none")


def test_a_run_is_teacher_student_stages_export_and_benchmark() -> None:
    assert [stage.folder for stage in planned()] == [
        "01-teacher", "02-student", "03-distill", "04-quantize", "05-benchmark",
    ]  # fmt: skip
    assert [stage.name for stage in planned(stages=())] == ["teacher", "student", "export", "benchmark"]


def test_the_same_recipe_has_the_same_digests() -> None:
    assert first_change(planned(), planned()) == "none"


@pytest.mark.parametrize(
    ("change", "stage"),
    [
        ({"seed": 1}, "teacher"),
        ({"data": {"train": "rows.jsonl", "max_length": 7}, "benchmark": {"sequences": [7]}}, "teacher"),
        ({"student": {"layers": 1}}, "student"),
        ({"stages": ({"distill": {"temperature": 3.0}}, {"quantize": {}})}, "distill"),
        ({"stages": ({"distill": {}}, {"quantize": {"max_drop": 0.5}})}, "quantize"),
        ({"targets": ["pytorch"]}, "quantize"),
        ({"gates": {"min_speedup": 2.0}}, "benchmark"),
        ({"benchmark": {"samples": 50}}, "benchmark"),
    ],
    ids=["seed", "data options", "student", "distill", "quantize", "targets", "gates", "benchmark"],
)
def test_a_change_concerns_its_own_stage_and_those_behind_it(change: dict[str, Any], stage: str) -> None:
    assert first_change(planned(), planned(**change)) == stage


@pytest.mark.parametrize("path", ["rows.jsonl", "teacher/model.safetensors", "teacher/config.json"])
def test_other_content_under_the_same_name_starts_from_the_teacher(inputs: Path, path: str) -> None:
    before = planned()
    with (inputs / path).open("a") as file:
        file.write('{"text": "bad", "label": 0}\n')
    assert first_change(before, planned()) == "teacher"


def test_other_test_rows_redo_the_benchmark_alone(inputs: Path) -> None:
    (inputs / "test.jsonl").write_text('{"text": "good", "label": "postive"}\n')
    data = {"train": "rows.jsonl", "test": "test.jsonl"}
    before = planned(data=data)
    assert first_change(planned(), before) == "teacher"  # rows that were cut off for the test are trained on now
    (inputs / "test.jsonl").write_text('{"text": "good", "label": "positive"}\n')
    assert first_change(before, planned(data=data)) == "benchmark"
    (inputs / "rows.jsonl").write_text('{"text": "fine", "label": 1}\n')
    assert first_change(before, planned(data=data)) == "teacher"


def test_other_test_arrays_of_the_same_file_redo_the_benchmark_alone(inputs: Path) -> None:
    arrays = {f"{kind}_{split}": np.arange(4.0) for split in ("train", "val", "test") for kind in "xy"}

    def of(**changes: np.ndarray) -> tuple[Planned, ...]:
        np.savez(inputs / "a.npz", **arrays | changes)
        return planned(task="image-classification", data={"train": "a.npz"})

    assert first_change(of(), of()) == "none"
    assert first_change(of(), of(y_test=np.ones(4))) == "benchmark"
    assert first_change(of(), of(x_val=np.ones(4))) == first_change(of(), of(x_train=np.ones(4))) == "teacher"


@pytest.fixture
def photos(inputs: Path) -> Path:
    """train/a and test/a with a picture each; train/a is a link to a folder elsewhere."""
    for folder in ("elsewhere", "photos/train", "photos/test/a"):
        (inputs / folder).mkdir(parents=True)
    (inputs / "photos/train/a").symlink_to(inputs / "elsewhere")
    for folder in ("elsewhere", "photos/test/a"):
        (inputs / folder / "0.png").write_bytes(b"one")
    return inputs


PHOTOS: dict[str, Any] = {"task": "image-classification", "data": {"train": "photos"}}


def test_pictures_behind_links_are_noticed(photos: Path) -> None:
    before = planned(**PHOTOS)
    (photos / "elsewhere/0.png").write_bytes(b"other")
    assert first_change(before, planned(**PHOTOS)) == "teacher"


def test_another_test_picture_redoes_the_benchmark_alone(photos: Path) -> None:
    before = planned(**PHOTOS)
    for leftover in ("photos/test/.thumbs.png", "elsewhere/.DS_Store"):
        (photos / leftover).write_bytes(b"x")
    assert first_change(before, planned(**PHOTOS)) == "none"
    (photos / "photos/test/a/1.png").write_bytes(b"two")
    assert first_change(before, planned(**PHOTOS)) == "benchmark"


def test_pictures_named_in_a_table_are_noticed(photos: Path) -> None:
    for name, place in (("train", "elsewhere/0.png"), ("test", "photos/test/a/0.png")):
        (photos / f"{name}.csv").write_text(f"image,label\n{place},a\n")
    table = PHOTOS | {"data": {"train": "train.csv", "test": "test.csv"}}
    before = planned(**table)
    (photos / "photos/test/a/0.png").write_bytes(b"other")
    assert first_change(before, planned(**table)) == "benchmark"
    (photos / "elsewhere/0.png").write_bytes(b"other")
    assert first_change(before, planned(**table)) == "teacher"
    (photos / "elsewhere/0.png").unlink()
    with pytest.raises(DataError, match=r"'elsewhere/0.png' is missing. Image paths are relative to the file"):
        planned(**table)


def test_a_folder_is_known_by_its_content_and_a_hub_id_by_its_name(inputs: Path) -> None:
    before = source_digest("teacher")
    (inputs / "teacher").rename(inputs / "renamed")
    assert source_digest("renamed") == before
    (inputs / "renamed/spiece.model").write_bytes(b"vocabulary")
    assert source_digest("renamed") != before
    assert source_digest(None) == ""
    assert source_digest("owner/name") == "owner/name"


def test_another_tokenizer_starts_from_the_teacher(inputs: Path) -> None:
    (inputs / "words").mkdir()
    (inputs / "words/tokenizer.json").write_text("{}")
    teacher = {"config": {"model_type": "bert"}, "tokenizer": "words"}
    before = planned(teacher=teacher)
    (inputs / "words/tokenizer.json").write_text('{"changed": true}')
    assert first_change(before, planned(teacher=teacher)) == "teacher"


def test_missing_sources_are_told_before_any_work() -> None:
    with pytest.raises(ModelError, match=r"the model folder ./nowhere does not exist. Give a transformers folder"):
        planned(teacher={"model": "./nowhere"})
    with pytest.raises(DataError, match=r"nowhere\.jsonl"):
        planned(data={"train": "nowhere.jsonl"})


def test_quantize_is_the_last_stage() -> None:
    with pytest.raises(RecipeError, match="must be the last stage"):
        planned(stages=({"quantize": {}}, {"distill": {}}))
