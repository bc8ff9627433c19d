"""Vectors: what is read and refused, how they are standardised, and a policy judged by what its artifact earns."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepress import run
from edgepress.compress.cli.init import recipe_template
from edgepress.compress.data.splits import load_splits
from edgepress.compress.recipe.data import Columns, Data
from edgepress.compress.recipe.recipe import Recipe
from edgepress.compress.tasks import load_task
from edgepress.targets.errors import DataError, ModelError

TASK = load_task("vector-classification")
EXAMPLES = Path(__file__).resolve().parents[3] / "examples"


@pytest.fixture
def cartpole() -> Iterator[Any]:
    sys.path.insert(0, str(EXAMPLES))
    import cartpole

    yield cartpole
    sys.path.remove(str(EXAMPLES))
    del sys.modules["cartpole"]


def table(folder: Path, cell: str = "2.5") -> Path:
    lines = [f"{row % 7}.5,{row},{'up' if row % 2 else 'down'}" for row in range(40)]
    (folder / "a.csv").write_text("\n".join(["width,height,label", *lines, f"1.0,{cell},up"]) + "\n")
    return folder / "a.csv"


def test_columns_of_a_table_are_standardised_by_the_training_rows(tmp_path: Path) -> None:
    data = Data(train=str(table(tmp_path)), columns=Columns(features=("width", "height")))
    train = load_splits(data, TASK, seed=0).train
    features = TASK.features(train, TASK.fit_processor(None, train, data), data)
    values = features.batch(range(len(features)))["features"]
    assert values.dtype == np.float32 and train.content == "vectors"
    np.testing.assert_allclose(values.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(values.std(0), 1, atol=1e-6)


def test_a_template_names_the_columns_of_numbers(tmp_path: Path) -> None:
    (path := tmp_path / "recipe.yaml").write_text(recipe_template(TASK.name, str(table(tmp_path))))
    assert Recipe.load(path).data.columns.features == ("width", "height")


def test_the_standardisation_travels_with_the_model(tmp_path: Path) -> None:
    data = Data(train=str(table(tmp_path)), columns=Columns(features=("width", "height")))
    fitted = TASK.fit_processor(None, load_splits(data, TASK, seed=0).train, data)
    TASK.save_processor(fitted, tmp_path)
    assert TASK.load_processor(str(tmp_path)) == fitted
    (tmp_path / "standardisation.json").write_text('{"mean": [0], "std": [0]}')
    with pytest.raises(ModelError, match=r"standardisation.json is no standardisation .*std is above 0"):
        TASK.load_processor(str(tmp_path))


@pytest.mark.parametrize(
    ("columns", "cell", "message"),
    [
        (Columns(), "1", r"data.columns.features is missing: name the columns of numbers"),
        (Columns(features=("width", "height")), "tall", r"row 41: 'height' is no finite number, got 'tall'"),
        (Columns(features=("width", "height")), "nan", r"row 41: 'height' is no finite number, got 'nan'"),
        (Columns(features=("width", "depth")), "1", r"has no column 'depth'"),
    ],
)
def test_bad_tables_are_told_in_one_line(tmp_path: Path, columns: Columns, cell: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        load_splits(Data(train=str(table(tmp_path, cell)), columns=columns), TASK, seed=0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (np.zeros((4, 2, 2)), r"x_train has shape \[4, 2, 2\], and must have \[rows, features\]"),
        (np.array([["a"], ["b"]]), "x_train is of type <U1, and must be numbers"),
        (np.array([[1.0], [np.inf]]), "x_train has NaN or infinite numbers, first in row 2"),
        (np.array([[1.0], [1e300]]), "x_train has NaN or infinite numbers, first in row 2"),
    ],
)
def test_bad_arrays_are_told(tmp_path: Path, vectors: np.ndarray, message: str) -> None:
    np.savez(tmp_path / "a.npz", x_train=vectors, y_train=np.arange(len(vectors)))
    with pytest.raises(DataError, match=message):
        load_splits(Data(train=str(tmp_path / "a.npz")), TASK, seed=0)


def test_a_policy_keeps_its_return_as_an_int8_artifact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cartpole: Any
) -> None:
    weights = np.array([0.1, 1.0, 1.4, 1.6])
    cartpole.write_rows(weights, tmp_path, episodes=8)
    settings = [
        "targets=[onnxruntime-cpu]", "teacher.training.epochs=6", "teacher.config.hidden=[64]", "benchmark.samples=11",
        "student.config.hidden=[32]", "stages=[{distill: {training: {epochs: 4, learning_rate: 3e-3}}}, quantize]",
    ]  # fmt: skip
    monkeypatch.chdir(tmp_path)
    result = run(Recipe.load(EXAMPLES / "cartpole.yaml", settings))
    mean, low, high = cartpole.mean_return(cartpole.of_artifact(result.release_folder / "onnxruntime-cpu"), 4)
    best, _, _ = cartpole.mean_return(cartpole.linear(weights), 4)
    assert best == 500 and low <= mean <= high and mean > 350
    worst, _, _ = cartpole.mean_return(lambda observation: 0, 4)
    assert worst < 15  # always left falls at once: the figure can fail
