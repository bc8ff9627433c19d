"""The recipes that `edgepress init` writes."""

from __future__ import annotations

import json
from pathlib import Path

import pydantic
import pytest

from edgepress.compress.cli.init import recipe_template
from edgepress.compress.recipe.methods import FAMILIES, METHODS, find
from edgepress.compress.recipe.recipe import Recipe
from edgepress.compress.tasks import TASKS
from edgepress.targets.errors import DataError, RecipeError
from tests.compress.tiny import tiny_text_data


def read(folder: Path, task: str, data: str | None) -> Recipe:
    path = folder / "recipe.yaml"
    path.write_text(recipe_template(task, data))
    return Recipe.load(path)


def options(model: type[pydantic.BaseModel]) -> set[str]:
    names = set()
    for name, field in model.model_fields.items():
        names.add(name)
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, pydantic.BaseModel):
            names |= options(kind)
    return names


@pytest.mark.parametrize("task", TASKS)
def test_a_template_can_be_read_and_has_all_kinds_of_stages(tmp_path: Path, task: str) -> None:
    recipe = read(tmp_path, task, None)
    assert recipe.task == task
    assert [stage.kind for stage in recipe.stages] == list(FAMILIES)


def test_the_templates_explain_every_option() -> None:
    text = "".join(recipe_template(task, None) for task in TASKS)
    # In the recipe a target's options stand behind its name: `- tensorrt-gpu: {capabilities: [86]}`.
    names = (options(Recipe) - {"target_options"}).union(
        *(options(kind) for kind in (find(*name).options for name in METHODS))
    )
    assert [name for name in sorted(names) if f"{name}:" not in text] == []
    assert "- tensorrt-gpu: {capabilities: [86, 89]}" in text


def test_columns_come_from_the_users_file(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"id": "7", "premise": "a", "hypothesis": "b", "gold": "yes", "target": 1}) + "\n")
    columns = read(tmp_path, "text-classification", str(path)).data.columns
    assert (columns.text, columns.text_pair, columns.label) == ("premise", "hypothesis", "target")


def test_a_label_of_an_unknown_name_is_the_column_of_numbers(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("stars,comment\n1,fine\n")
    columns = read(tmp_path, "text-classification", str(path)).data.columns
    assert (columns.text, columns.text_pair, columns.label) == ("comment", None, "stars")


def test_image_tables_name_their_image_column(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("file_name,class\na.png,cat\n")
    columns = read(tmp_path, "image-classification", str(path)).data.columns
    assert (columns.image, columns.label) == ("file_name", "class")


def test_a_path_with_quotes_and_spaces_survives(tmp_path: Path) -> None:
    path = tiny_text_data(tmp_path, name='odd "name": #1.jsonl')
    assert read(tmp_path, "text-classification", str(path)).data.train == str(path)


def test_what_cannot_be_filled_in_is_said(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"unknown task 'regression'; there are text-classification, image-class"):
        recipe_template("regression", None)
    with pytest.raises(DataError, match=r"none.csv is missing"):
        recipe_template("text-classification", str(tmp_path / "none.csv"))
    (tmp_path / "a.csv").write_text("label\n1\n")
    with pytest.raises(DataError, match=r"needs a label column and one more; it has label"):
        recipe_template("text-classification", str(tmp_path / "a.csv"))


@pytest.mark.parametrize("name", ["digits", "sst2"])
def test_the_examples_can_be_read(name: str) -> None:
    recipe = Recipe.load(Path(__file__).parents[2] / "examples" / f"{name}.yaml")
    assert recipe.name == name
