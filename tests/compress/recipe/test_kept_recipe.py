"""A run folder holds the recipe it was made from: the same digest, whatever the folder it is read from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgepress.compress.recipe.kept import KeptRecipe, holds_recipe, keep_recipe, kept_recipe
from edgepress.compress.recipe.recipe import Recipe
from edgepress.targets.errors import ArtifactError
from tests.conftest import ROOT
from tests.end_to_end.recipes import IMAGE, TEXT, write_recipe


@pytest.fixture
def recipe(workdir: Path) -> Recipe:
    return Recipe.load(write_recipe(workdir, TEXT))


@pytest.fixture
def run(workdir: Path) -> Path:
    (workdir / "runs/a").mkdir(parents=True)
    return workdir / "runs/a"


@pytest.mark.parametrize("name", ["text", "image", "sst2.yaml", "digits.yaml"])
def test_a_kept_recipe_is_the_same_recipe(name: str, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA", "/some/data")
    made = {"text": TEXT, "image": IMAGE}.get(name)
    path = ROOT / "examples" / name if made is None else write_recipe(run, made)
    recipe = Recipe.load(path, ("seed=7",))
    keep_recipe(recipe, run)
    kept = kept_recipe(run)
    assert kept is not None and kept.recipe == recipe and kept.recipe.digest == recipe.digest
    assert [type(stage) for stage in kept.recipe.stages] == [type(stage) for stage in recipe.stages]
    assert "${" not in (run / "recipe.json").read_text()


def test_relative_paths_begin_where_the_run_was_started(recipe: Recipe, run: Path, tmp_path: Path) -> None:
    keep_recipe(recipe, run)
    assert json.loads((run / "recipe.json").read_text())["folder"] == "../.."
    assert KeptRecipe.of(recipe, run).base(run) == tmp_path


def test_a_project_that_moved_takes_its_paths_with_it(recipe: Recipe, run: Path, tmp_path: Path) -> None:
    keep_recipe(recipe, run)
    (tmp_path / "new").mkdir()
    (tmp_path / "runs").rename(tmp_path / "new/runs")
    kept = kept_recipe(tmp_path / "new/runs/a")
    assert kept is not None and kept.base(tmp_path / "new/runs/a") == tmp_path / "new"


def test_a_run_elsewhere_names_the_folder_it_was_started_in(
    recipe: Recipe, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    assert KeptRecipe.of(recipe, run).folder == str(tmp_path / "work")


def test_a_run_holds_a_recipe_only_as_it_is_now(recipe: Recipe, run: Path) -> None:
    assert not holds_recipe(recipe, run)
    keep_recipe(recipe, run)
    assert holds_recipe(recipe, run)
    assert not holds_recipe(recipe.model_copy(update={"seed": 1}), run)
    assert [path.name for path in run.iterdir()] == ["recipe.json"]


def test_an_older_run_has_none_and_a_damaged_one_is_told(run: Path) -> None:
    assert kept_recipe(run) is None
    (run / "recipe.json").write_text('{"format": 2}')
    with pytest.raises(
        ArtifactError, match=r"recipe\.json is damaged or of another version: format: Input should be 1"
    ):
        kept_recipe(run)
