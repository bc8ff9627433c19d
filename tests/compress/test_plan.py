import json
from pathlib import Path
from typing import Any

import pytest

from edgepress.compress.pipeline.plan import Planned, plan
from edgepress.compress.pipeline.sources import source_digest
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
