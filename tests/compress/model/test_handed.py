"""Rows that a script hands over: of NumPy, torch and datasets, several inputs a row."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgepress import Recipe, Splits, run
from edgepress.compress.data import handed as hands
from edgepress.compress.data.handed import hand_over_rows, handed
from edgepress.compress.data.splits import load_splits
from edgepress.compress.recipe.data import Columns, Data
from edgepress.compress.tasks import load_task
from edgepress.targets.errors import DataError, RecipeError

TASK = load_task("array-classification")
PAIRS = [({"a": np.full((2, 3), number, np.float32), "b": [number]}, number % 2) for number in range(40)]


@pytest.fixture(autouse=True)
def nothing_handed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hands, "_HANDED", {})


def loaded(rows: Any, task: Any = TASK, **more: Any) -> Any:
    references = hand_over_rows(Splits(rows, **more), "label")
    return load_splits(Data(validation_fraction=0.2, **references), task, seed=0)  # type: ignore[arg-type]


def test_arrays_by_name_become_batches() -> None:
    train = loaded(PAIRS).train
    processor = TASK.fit_processor(None, train, Data(train="python"))
    feeds = TASK.features(train, processor, Data(train="python")).batch([3, 0])
    assert feeds["a"].shape == (2, 2, 3) and feeds["a"].dtype == np.float32 and feeds["b"].dtype == np.int64
    assert (feeds["a"][:, 0, 0] == feeds["b"][:, 0]).all() and (train.labels == train.arrays["b"][:, 0] % 2).all()


def test_torch_and_datasets_and_generators_give_the_same_rows() -> None:
    from datasets import Dataset
    from torch.utils.data import TensorDataset

    values, labels = torch.arange(120.0).reshape(40, 3), torch.arange(40) % 2
    wanted = loaded(list(zip(values.numpy(), labels.tolist(), strict=True))).train
    rows: list[Any] = [
        TensorDataset(values, labels),
        Dataset.from_dict({"input": values.tolist(), "label": labels.tolist()}),
        (({"input": one}, int(label)) for one, label in zip(values, labels, strict=True)),
    ]
    for given in rows:
        found = loaded(given).train
        np.testing.assert_array_equal(found.arrays["input"], wanted.arrays["input"])
        np.testing.assert_array_equal(found.labels, wanted.labels)


def test_texts_may_be_handed_over_too() -> None:
    rows = [{"text": f"row {number}", "label": "ab"[number % 2]} for number in range(40)]
    splits = loaded(rows, load_task("text-classification"), test=rows[:4])
    assert splits.label_names == ("a", "b") and splits.test().texts[0] == [f"row {number}" for number in range(4)]


def test_the_digest_is_that_of_the_values() -> None:
    digests = []
    for rows in (PAIRS, PAIRS, [*PAIRS[:-1], ({"a": np.zeros((2, 3), np.float32), "b": [0]}, 1)]):
        hand_over_rows(Splits(rows), "label")
        digests.append(handed("python:train").digest)
    assert digests[0] == digests[1] != digests[2]


def endless() -> Iterator[Any]:
    yield from ()


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([7], r"train, row 1 is a int; a row is \(inputs, label\), or a mapping with 'label'"),
        ([{"a": 1}], "train, row 1 has a; a row has inputs by name and 'label'"),
        ([{"label": 1}], "train, row 1 has label; a row has inputs by name and 'label'"),
        ([({"a": 1}, 0), ({"b": 1}, 0)], "train, row 2 has b, label; the rows before it a, label"),
        (endless(), "train has no rows: it needs at least one"),
        (
            [([1.0], 0), ([1.0, 2.0], 1)],
            r"row 2: 'input' has shape \[2\], the first row \[1\]. Give all rows one shape",
        ),
        ([([float("nan")], 0)] * 2, r"row 1: 'input' must be finite numbers, got \[nan\]. Mend or remove the row"),
        ([("word", 0)] * 2, "row 1: 'input' must be finite numbers, got 'word'"),
        ([([[1], [1, 2]], 0)] * 2, "row 1: 'input' must be finite numbers"),
    ],
)
def test_bad_rows_are_told(rows: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        loaded(rows)


def recipe(**sections: Any) -> Recipe:
    base = {"name": "own", "task": "array-classification", "data": {"train": "python"}, "teacher": {"code": "python"}}
    return Recipe.model_validate(base | sections)


def test_what_the_recipe_and_the_script_say_must_agree(tmp_path: Path) -> None:
    module: Any = torch.nn.Linear(3, 2)
    with pytest.raises(DataError, match=r"data: python: hand rows over, run\(recipe, data=Splits\("):
        run(recipe(), teacher=module, runs=tmp_path)
    with pytest.raises(RecipeError, match="data= hands rows over, and the recipe names others"):
        run(recipe(data={"train": "a.npz"}), data=Splits(PAIRS), runs=tmp_path)
    with pytest.raises(RecipeError, match="student= hands a module over, and the recipe names another"):
        run(recipe(), student=module, data=Splits(PAIRS), runs=tmp_path)
    assert Columns().label == "label"
