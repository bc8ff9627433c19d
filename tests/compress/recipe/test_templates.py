"""The recipes that `edgepress init` writes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydantic
import pytest

from edgepress.compress.cli.init import recipe_template
from edgepress.compress.methods.qat.options import Observed
from edgepress.compress.recipe.methods import FAMILIES, METHODS, find
from edgepress.compress.recipe.recipe import Recipe
from edgepress.compress.recipe.sections import ACCURACY
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
    # Most models bear int8 without another training: that one stands in a comment.
    assert [stage.kind for stage in recipe.stages] == [family for family in FAMILIES if family != "qat"]


@pytest.mark.parametrize("task", TASKS)
def test_the_quantization_aware_training_of_a_templates_comment_can_be_taken(tmp_path: Path, task: str) -> None:
    lines = recipe_template(task, None).splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("  # - qat:"))
    last = next(number for number, line in enumerate(lines) if line.startswith("  - quantize:"))
    taken = [line.replace("  # ", "  ", 1) if first <= number < last else line for number, line in enumerate(lines)]
    path = tmp_path / "recipe.yaml"
    path.write_text("\n".join(taken))
    assert Recipe.load(path).stages[-2] == Observed()


@pytest.mark.parametrize("task", TASKS)
def test_the_gates_of_a_template_are_of_metrics_that_the_task_has(tmp_path: Path, task: str) -> None:
    """A gate of accuracy is always missed where the outputs are numbers, and that shows at the end of a run."""
    gates = read(tmp_path, task, None).gates.flat(only_set=True)
    names = [ACCURACY.get(name, name) for name in gates]
    asked = {name.partition(".")[0] for name in names if "." in name}
    assert asked and asked <= set(TASKS[task].metrics)


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


@pytest.mark.parametrize(
    ("header", "row", "text", "label"),
    [
        (("id", "body", "stars"), lambda n: (1000 + 7 * n, f"film {n} was good", 4 * (n % 2) + 1), "body", "stars"),
        (("id", "label", "comment"), lambda n: (f"c{n}", "ab"[n % 2], f"so very good {n}"), "comment", "label"),
        (("uid", "said", "mood"), lambda n: (f"{n:08x}", f"I am number {n}", ("good", "bad")[n % 2]), "said", "mood"),
        (("lang", "said", "n", "mood"), lambda n: ("en", f"am {n} now", n * n, n % 3), "said", "mood"),
        (("label", "text", "class"), lambda n: (n, f"text of row {n}", "xyz"[n % 3]), "text", "class"),
        (("text", "words", "kind"), lambda n: (f"k{n}", f"some words {n}", n % 2), "words", "kind"),
        (("views", "said", "mood"), lambda n: (n // 3, f"I am number {n}", "ab"[n % 2]), "said", "mood"),
        (("kind", "said"), lambda n: ("good film" if n % 2 else "bad film", f"words and words {n}"), "said", "kind"),
    ],
)  # fmt: skip
def test_values_tell_a_text_from_an_identifier(
    tmp_path: Path, header: tuple[str, ...], row: Callable[[int], tuple[Any, ...]], text: str, label: str
) -> None:
    lines = [",".join(map(str, cells)) for cells in (header, *map(row, range(60)))]
    (tmp_path / "a.csv").write_text("\n".join(lines))
    columns = read(tmp_path, "text-classification", str(tmp_path / "a.csv")).data.columns
    assert (columns.text, columns.label) == (text, label)


def test_a_few_rows_with_a_class_each_are_told_by_their_names(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,review,sentiment\n1,good film,pos\n2,bad film,neg\n")
    columns = read(tmp_path, "text-classification", str(tmp_path / "a.csv")).data.columns
    assert (columns.text, columns.label) == ("review", "sentiment")


def test_a_column_of_image_files_is_found_by_its_values(tmp_path: Path) -> None:
    rows = [f"{number},photo{number}.JPG,{number % 2}" for number in range(9)]
    (tmp_path / "a.csv").write_text("\n".join(["nr,taken,species", *rows]))
    columns = read(tmp_path, "image-classification", str(tmp_path / "a.csv")).data.columns
    assert (columns.image, columns.label) == ("taken", "species")


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
    recipe = Recipe.load(Path(__file__).parents[3] / "examples" / f"{name}.yaml")
    assert recipe.name == name
