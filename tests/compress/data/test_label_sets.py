"""Several labels a row: read from lists, texts and columns, learned and distilled."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgepress.compress.data.label_sets import SetMap, labels_of
from edgepress.compress.tasks.outputs.several import SeveralLabels
from edgepress.targets.errors import DataError
from tests.compress.rows import lines, load

LABELS = "text-labels"
SETS = (["red", "round"], ["red"], [], ["blue"])


def written(path: Path, cells: list[Any]) -> Path:
    return lines(path, [{"text": f"row {number}", "label": cell} for number, cell in enumerate(cells)])


@pytest.mark.parametrize("form", [list, ",".join, str])
def test_labels_come_as_lists_texts_and_written_lists(tmp_path: Path, form: Any) -> None:
    cells = [form(labels) if form is not str else str(labels).replace("'", '"') for labels in SETS * 10]
    splits = load(written(tmp_path / "a.jsonl", cells), LABELS)
    assert splits.label_names == ("blue", "red", "round")
    assert splits.train.labels.dtype == np.float32
    assert {tuple(row) for row in splits.train.labels.tolist()} == {(0, 1, 1), (0, 1, 0), (0, 0, 0), (1, 0, 0)}


def test_labels_come_as_columns_of_0_and_1(tmp_path: Path) -> None:
    rows = [{"text": "a", "red": number % 2, "round": number % 3 == 0} for number in range(40)]
    splits = load(lines(tmp_path / "a.jsonl", rows), LABELS, columns={"label": ["red", "round"]})
    assert splits.label_names == ("red", "round")
    assert sorted({tuple(row) for row in splits.train.labels.tolist()}) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    with pytest.raises(DataError, match=r"row 1: the columns red, text must hold 0 or 1 each, got 0, a. Mend the row"):
        load(tmp_path / "a.jsonl", LABELS, columns={"label": ["red", "text"]})
    with pytest.raises(DataError, match=r"the model's labels are round, red in this order, and data.columns.label nam"):
        load(tmp_path / "a.jsonl", LABELS, names=("round", "red"), columns={"label": ["red", "round"]})


def test_each_split_has_its_share_of_the_rarest_label(tmp_path: Path) -> None:
    cells = [["often", "rare"] if number % 10 == 0 else ["often"] for number in range(200)]
    splits = load(written(tmp_path / "a.jsonl", cells), LABELS, test_fraction=0.2, validation_fraction=0.25)
    for part in (splits.train, splits.validation, splits.test()):
        assert part.labels.mean(0).tolist() == pytest.approx([1.0, 0.1], abs=0.01)


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        (["red", "rund"], r"row 41: label 'rund' is none of the model's 3; allowed: blue, red, round. .* mean 'round'"),
        ('["red"', "row 41: '.\"red\"' begins like a JSON list and is none. Mend the row"),
        ([["red"]], r"row 41: labels must be texts or numbers, got \[\['red'\]\]"),
    ],
)
def test_a_bad_cell_is_told_with_its_row(tmp_path: Path, cell: Any, words: str) -> None:
    path = written(tmp_path / "a.jsonl", [*SETS * 10, cell])
    with pytest.raises(DataError, match=words):
        load(path, LABELS, names=("blue", "red", "round"))


def test_what_cannot_be_learned_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"all rows have the same labels; there is nothing to learn. Add rows"):
        load(written(tmp_path / "a.jsonl", [["red"]] * 40), LABELS)
    with pytest.raises(DataError, match=r"no row has a label. Set data.columns.label to the column of labels"):
        load(written(tmp_path / "b.jsonl", [[]] * 40), LABELS)
    with pytest.raises(DataError, match=r"the model knows the labels a, b, the data blue, red, round. Name the model"):
        load(written(tmp_path / "c.jsonl", list(SETS) * 10), LABELS, names=("a", "b"), labels=["blue", "red", "round"])


def test_numbers_count_the_models_labels() -> None:
    assert SetMap(("a", "b")).encode([[1], [0, 1], []], "f").tolist() == [[0, 1], [1, 1], [0, 0]]
    assert labels_of("a; b", ";", 1, "f") == ["a", "b"]


def test_losses_are_worked_by_hand() -> None:
    """At logit 0 each answer costs log 2; that of 0 from ±log 3 (probability 3/4) is two coins."""
    kind, zero = SeveralLabels(), torch.zeros(1, 2)
    assert kind.loss({"logits": zero}, torch.tensor([[1.0, 0.0]])).item() == pytest.approx(math.log(2))
    sure = torch.tensor([[math.log(3), -math.log(3)]])
    coins = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    assert kind.soft_loss(zero, sure, 1.0).item() == pytest.approx(coins)
    assert kind.soft_loss(2 * zero, 2 * sure, 2.0).item() == pytest.approx(4 * coins)
    assert kind.soft_loss(sure, sure, 3.0).item() == pytest.approx(0.0)
