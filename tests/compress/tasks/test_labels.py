"""Which class of the model a label in a file means."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepress.compress.data.labels import label_map, label_text
from edgepress.targets.errors import DataError
from tests.compress.rows import IMAGE, lines, load

NLI = ("CONTRADICTION", "NEUTRAL", "ENTAILMENT")


def encoded(values: list[Any], file_names: Any = None, model_names: Any = None) -> list[int]:
    return label_map(values, "a.jsonl", file_names, model_names).encode(values, "a.jsonl").tolist()


@pytest.mark.parametrize(
    "names", [("entailment", "neutral", "contradiction"), ("Entailment", "NEUTRAL", "contradiction")]
)
def test_names_that_differ_by_case_and_order_are_matched_by_name(names: tuple[str, ...]) -> None:
    assert encoded([0, 1, 2], names, NLI) == [2, 1, 0]
    assert encoded([names[0], names[1], names[2]], names, NLI) == [2, 1, 0]
    assert label_map([0], "a", names, NLI).names == NLI


def test_labels_as_text_find_the_models_names_whatever_their_case_and_separators() -> None:
    assert encoded(["entailment", "Neutral"], None, NLI) == [2, 1]
    assert encoded(["very good", "not_good"], None, ("NOT GOOD", "VERY-GOOD")) == [1, 0]


def test_names_that_only_differ_by_case_are_two_classes() -> None:
    assert encoded(["us", "US"], None, ("US", "us")) == [1, 0]
    assert encoded([0, 1], ("us", "US"), ("US", "us")) == [1, 0]


def test_generic_names_are_taken_in_the_models_order() -> None:
    assert encoded([0, 1], ("neg", "pos"), ("LABEL_0", "LABEL_1")) == [0, 1]
    assert label_map([0], "a", ("neg", "pos"), ("LABEL_0", "LABEL_1")).names == ("neg", "pos")


def test_names_that_fit_in_part_and_in_another_order_are_refused_with_both_lists() -> None:
    with pytest.raises(DataError) as told:
        encoded([0, 1, 2], ("entailment", "neutral", "other"), NLI)
    assert str(told.value) == (
        "a.jsonl: the labels are entailment, neutral, other and the model's classes CONTRADICTION, NEUTRAL, "
        "ENTAILMENT: some are the same, so the others cannot be taken by their place. Name the classes in data.labels "
        "as the model does."
    )


def test_names_that_have_nothing_in_common_are_taken_in_order_and_told() -> None:
    labels = label_map([0, 1], "a", ("bad", "good"), ("negative", "positive"))
    assert labels.encode([0, 1], "a").tolist() == [0, 1]
    assert labels.note == (
        "the labels bad, good are taken for the model's classes negative, positive in this order. Name them in "
        "data.labels as the model does where that is wrong"
    )
    assert label_map([0, 1], "a", ("bad", "good"), ("LABEL_0", "LABEL_1")).note == ""


def test_a_class_that_the_model_names_twice_needs_names_of_its_own() -> None:
    with pytest.raises(DataError, match=r"config.json names a class twice \(a, a\). Name its classes in data.labels"):
        encoded([0, 1], None, ("a", "a"))
    assert encoded([0, 1], ("x", "y"), ("a", "a")) == [0, 1]


@pytest.mark.parametrize("names", [("00000", "00001", "00002"), ("01", "1", "10"), ("-0", "0", "1")])
def test_number_like_names_keep_their_zeros(names: tuple[str, ...]) -> None:
    labels = label_map(names, "a", None, None)
    assert labels.names == names and labels.encode(names, "a").tolist() == [0, 1, 2]


def test_numbers_with_zeros_before_them_count_the_models_classes() -> None:
    assert encoded(["00000", "00002"], None, ("LABEL_0", "LABEL_1", "LABEL_2")) == [0, 2]
    with pytest.raises(DataError, match=r"label '007' does not fit"):
        encoded(["007", "7"], None, tuple(f"LABEL_{number}" for number in range(9)))


def test_class_folders_are_names_even_where_they_look_like_numbers(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image", reason="needs Pillow")
    for name in ("3", "07", "11"):
        (tmp_path / name).mkdir()
        for number in range(6):
            image.new("L", (2, 2), number).save(tmp_path / name / f"{number}.png")
    assert load(tmp_path, IMAGE).label_names == ("07", "11", "3")
    (tmp_path / "07").rename(tmp_path / "7")
    assert load(tmp_path, IMAGE).label_names == ("3", "7", "11")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([0, 2], r"row 3: the label must be one text or number, got \[0, 2\]"),
        ({"id": 1}, r"row 3: the label must be one text or number, got {'id': 1}"),
        (b"\xff", r"row 3: the label must be one text or number, got b'"),
    ],
)
def test_a_label_of_several_values_is_refused_with_its_row(value: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        encoded(["a", "b", value])


def test_labels_of_every_kind_of_column_become_text() -> None:
    values = [Decimal("2.0"), b" pos ", np.int64(3), np.float32(1), np.str_("x"), "half \ud83d", float("inf")]
    assert [label_text(value) for value in values] == ["2", "pos", "3", "1", "x", "half �", "inf"]


def test_a_column_of_identifiers_or_measurements_is_no_label(tmp_path: Path) -> None:
    rows = [{"text": "x", "label": number / 7} for number in range(40)]
    with pytest.raises(DataError) as told:
        load(lines(tmp_path / "a.jsonl", rows))
    assert str(told.value) == (
        f"{tmp_path / 'a.jsonl'}: the labels have 40 different values in 40 rows (0, 0.14285714285714285, "
        "0.2857142857142857, 0.42857142857142855, 0.5714285714285714, ...): that is no class. Set "
        "data.columns.label to the column of classes."
    )
