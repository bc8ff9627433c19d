"""Numbers as labels: read, split, learned and distilled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgepress.compress.data.numbers import NumberMap
from edgepress.compress.model.loading import label_names
from edgepress.compress.tasks.outputs.values import Values
from edgepress.targets.errors import DataError, ModelError
from tests.compress.rows import lines, load
from tests.compress.tiny import tiny_text_teacher

REGRESSION = "text-regression"


def rows(labels: list[Any]) -> list[dict[str, Any]]:
    return [{"text": f"row {number}", "label": label} for number, label in enumerate(labels)]


def test_numbers_are_read_as_they_are_and_each_split_has_all_of_their_range(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", rows([number / 10 for number in range(200)]))
    splits = load(path, REGRESSION, test_fraction=0.2, validation_fraction=0.25)
    assert (splits.label_names, splits.train.labels.dtype) == (("value",), np.float32)
    for part in (splits.train, splits.validation, splits.test(), splits.calibration):
        tenths = np.bincount((part.labels[:, 0] // 2).astype(int), minlength=10)
        assert tenths.min() >= 1 and np.ptp(tenths) <= len(part) / 10, tenths
    both = np.concatenate([splits.train.labels, splits.validation.labels, splits.test().labels])
    assert sorted(both[:, 0].tolist()) == pytest.approx([number / 10 for number in range(200)])


def test_several_numbers_come_from_several_columns_or_a_list(tmp_path: Path) -> None:
    table = [{"text": "a", "x": number, "y": -number, "both": [number, -number]} for number in range(40)]
    path = lines(tmp_path / "a.jsonl", table)
    columns = load(path, REGRESSION, columns={"label": ["x", "y"]})
    listed = load(path, REGRESSION, columns={"label": "both"}, labels=["x", "y"])
    assert columns.label_names == listed.label_names == ("x", "y")
    assert columns.train.labels.tolist() == listed.train.labels.tolist()
    assert (columns.train.labels[:, 0] == -columns.train.labels[:, 1]).all()


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ("often", r"a.jsonl, row 3: the label must be a finite number, got 'often'. Mend or remove the row."),
        (None, "row 3: the label must be a finite number, got None"),
        (float("nan"), "row 3: the label must be a finite number, got nan"),
        ([1, 2], r"row 3: the label must be a finite number, got \[1, 2\]"),
        (10**400, "row 3: the label must be a finite number, got 1000000"),
    ],
)
def test_what_is_no_number_is_told_with_its_row(tmp_path: Path, label: Any, words: str) -> None:
    path = lines(tmp_path / "a.jsonl", rows([0.5, 1.5, label, *range(37)]))
    with pytest.raises(DataError, match=words):
        load(path, REGRESSION)


def test_a_number_that_never_changes_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"value is 3 in all rows; there is nothing to learn. Add rows."):
        load(lines(tmp_path / "a.jsonl", rows([3] * 40)), REGRESSION)


def test_of_many_numbers_one_may_stand_still(tmp_path: Path) -> None:
    load(lines(tmp_path / "a.jsonl", rows([[3, number] for number in range(40)])), REGRESSION)
    with pytest.raises(DataError, match=r"each of 2 numbers is the same in all rows; there is nothing to learn"):
        load(lines(tmp_path / "b.jsonl", rows([[3, 4]] * 40)), REGRESSION)


def test_names_and_numbers_must_be_as_many(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", rows(list(range(40))))
    with pytest.raises(DataError, match=r"data.labels names x, y, and a row has 1 numbers. Name each once"):
        load(path, REGRESSION, labels=["x", "y"])
    with pytest.raises(DataError, match=r"a row has 1 number, and the model gives 2. Name other columns in data.col"):
        load(path, REGRESSION, names=("x", "y"))


def test_a_classifier_is_no_regression(tmp_path: Path) -> None:
    teacher = str(tiny_text_teacher(tmp_path / "teacher"))
    with pytest.raises(ModelError, match=r"has 2 outputs and does not say that they are numbers: it is a classifier"):
        label_names(teacher, REGRESSION, trust_remote_code=False)
    assert label_names(teacher, REGRESSION, trust_remote_code=False, fine_tuned=True) == ("LABEL_0", "LABEL_1")
    one = str(tiny_text_teacher(tmp_path / "one", labels=1))
    assert label_names(one, REGRESSION, trust_remote_code=False) == ("LABEL_0",)


def test_losses_are_mean_squares_and_know_no_temperature() -> None:
    """Errors 1 and 3 of two rows: (1 + 9) / 2."""
    outputs, truth = torch.tensor([[1.0], [5.0]]), torch.tensor([[2.0], [2.0]])
    assert Values().loss({"logits": outputs}, truth).item() == 5.0
    assert Values().soft_loss(outputs, truth, 2.0).item() == Values().soft_loss(outputs, truth, 9.0).item() == 5.0
    assert Values().answers(outputs.numpy()).tolist() == [[1.0], [5.0]]


def test_ties_and_few_rows_have_their_groups_too() -> None:
    assert NumberMap(("x",)).strata(np.zeros((3, 1), np.float32)).tolist() == [0, 1, 2]
    assert np.bincount(NumberMap(("x",)).strata(np.arange(25.0)[:, None])).tolist() == [3, 2, 3, 2, 3, 2, 3, 2, 3, 2]
