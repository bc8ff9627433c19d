import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgepress.compress.data.bounds import check_bounds
from edgepress.compress.pipeline.plan import Planned, plan
from edgepress.compress.pipeline.sources import source_digest
from edgepress.compress.recipe.recipe import Data, Recipe
from edgepress.compress.tasks import load_task
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
    differ = [old.key != new.key for old, new in zip(before, after, strict=True)]
    assert differ == sorted(differ), "a stage behind a changed one kept its digest"
    return next((stage.name for stage, other in zip(after, differ, strict=True) if other), "none")


def test_a_run_is_teacher_student_stages_export_and_benchmark() -> None:
    assert [stage.label for stage in planned()] == [
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


@pytest.mark.parametrize("source", ["/" + "x" * 300, "~nobody-here/x", "./a/" + "b/" * 3000])
def test_a_source_that_can_be_no_path_is_missing(source: str) -> None:
    with pytest.raises(ModelError, match=r"the model folder .* does not exist"):
        planned(teacher={"model": source})
    with pytest.raises(DataError, match="is missing"):
        planned(data={"train": source})


def test_the_whole_file_system_is_no_data(inputs: Path) -> None:
    (inputs / "link").symlink_to("/")
    for root in ("/", "//", "/../.", "link"):
        with pytest.raises(DataError, match=r"is the root of the file system, all of which would be read. Name a fold"):
            planned(data={"train": root})


def test_a_folder_of_images_for_a_text_task_is_told_before_it_is_walked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("os.walk")
    for split in ("train", "test"):
        with pytest.raises(DataError, match="teacher holds images, and the task is text-classification"):
            planned(data={"train": "rows.jsonl", split: "teacher"})


def test_a_folder_of_too_many_files_is_told_before_they_are_listed(
    inputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (inputs / "many/class").mkdir(parents=True)
    for number in range(4):
        (inputs / f"many/class/{number}.png").touch()
    monkeypatch.setattr("edgepress.compress.data.bounds.MOST_FILES", 3)
    with pytest.raises(DataError, match=r"many holds more than 3 files. Name the folder of the classes alone"):
        planned(task="image-classification", data={"train": "many"})


def test_what_may_not_be_read_is_told_before_any_work(inputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def locked(path: Path, *_: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", locked)
    with pytest.raises(DataError, match=r"rows.jsonl cannot be read: Permission denied. Mend its rights."):
        check_bounds(Data(train="rows.jsonl"), load_task("text-classification"))
    with pytest.raises(ModelError, match=r"config.json of the model cannot be read: Permission denied"):
        source_digest("teacher")


def test_a_folder_that_is_called_like_a_model_file_is_no_part_of_the_model(inputs: Path) -> None:
    before = source_digest("teacher")
    (inputs / "teacher/logs.txt").mkdir()
    assert source_digest("teacher") == before


def test_a_tilde_is_the_home_folder_of_models_and_data(inputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(inputs))
    told = planned(teacher={"model": "~/teacher"}, data={"train": "~/rows.jsonl"})
    absolute = planned(teacher={"model": f"{inputs}/teacher"}, data={"train": f"{inputs}/rows.jsonl"})
    assert first_change(told, absolute) == "none"


def test_quantize_is_the_last_stage() -> None:
    with pytest.raises(RecipeError, match="must be the last stage"):
        planned(stages=({"quantize": {}}, {"distill": {}}))


def test_only_quantize_comes_after_quantization_aware_training() -> None:
    from edgepress.compress.methods.prune.options import Prune
    from edgepress.compress.methods.qat.options import Observed
    from edgepress.compress.pipeline.stages.method import stages_of

    recipe = SimpleNamespace(stages=(Observed(), Prune(ffn=0.5)))
    with pytest.raises(RecipeError, match="stages: qat must be the last one before quantize"):
        stages_of(recipe)  # type: ignore[arg-type]  # as Python code makes one
    recipe.stages = (Prune(ffn=0.5), Observed())
    assert [stage.name for stage in stages_of(recipe)] == ["prune", "qat"]  # type: ignore[arg-type]
