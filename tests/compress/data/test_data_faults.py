"""What is said of data that cannot be used."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from edgepress.targets.errors import DataError
from tests.compress.rows import IMAGE, ROWS, lines, load
from tests.compress.tiny import tiny_image_data, tiny_text_data


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "a.jsonl is empty: 0 bytes"),
        ("\n\n", "a.jsonl is empty: it needs at least one row"),
        ('{"text": "a", "label": 0}\n{"text": \n', r"a.jsonl, line 2: not JSON \(Expecting value, column 9\)"),
        ("[1]\n", "line 1: must be an object"),
        ('{"texts": "a", "label": 0}\n', "has no column 'text'; it has texts, label. .* Did you mean 'texts'"),
        ('{"text": "a", "label": 0}\n{"text": "b"}\n', "row 2: no 'label'"),
        ('{"text": null, "label": 0}\n', "row 1: 'text' must be text, got None"),
        ('{"text": "a", "label": null}\n' * 9, "row 1: the label is missing"),
        ('{"text": "a", "label": 1}\n' * 9, "the labels are 1, and must count from 0 without gaps"),
        ('{"text": "a", "label": 0}\n' * 9, "all rows have label '0'; a classifier needs two classes"),
        (
            '{"text": "a", "label": 0}\n{"text": "a", "label": 1}\n',
            "2 rows of 2 classes are too few to cut 1 off for test",
        ),
    ],
)
def test_bad_json_lines_are_refused_with_their_place(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "a.jsonl").write_text(content)
    with pytest.raises(DataError, match=words):
        load(tmp_path / "a.jsonl")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.jsonl.gz", b"plain", "damaged gzip file"),
        ("a.jsonl.gz", gzip.compress(b'{"text": "a", "label": 0}\n' * 99, mtime=0)[:-9], "damaged gzip file"),
        ("a.csv", b"text,label\na,b,0\n", "line 2: 3 cells for 2 columns. Quote the text"),
        ("a.csv", b'text,label\n"a"b,0\n', "line 2: not CSV"),
        ("a.csv", b"text,label\n\xff,0\n", "not UTF-8"),
        ("a.json", b'[{"text": 1,]', "line 1: not JSON"),
        ("a.parquet", b"PAR?", "no Parquet file"),
        ("a.txt", b"x", "unknown format. Known are .jsonl"),
        ("a.npz", b"x", "holds images, and the task is text-classification"),
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=words):
        load(tmp_path / name)


def test_a_missing_file_is_named_with_its_neighbour(tmp_path: Path) -> None:
    tiny_text_data(tmp_path, name="train.jsonl")
    with pytest.raises(DataError, match=r"trian.jsonl is missing .* Did you mean .*train.jsonl"):
        load(tmp_path / "trian.jsonl")
    with pytest.raises(DataError, match=r"There is no folder .*nowhere either"):
        load(tmp_path / "nowhere" / "train.jsonl")


def test_a_label_that_the_model_lacks_is_named_with_its_row(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", [*ROWS, {"text": "x", "label": 7}])
    with pytest.raises(DataError, match=r"row 41: label '7' does not fit the 2 classes of the model; allowed: 0, 1"):
        load(path, names=("neg", "pos"))
    with pytest.raises(DataError, match=r"row 1: label '0' does not fit .* allowed: pos, neg|3 label names"):
        load(path, names=("neg", "pos"), labels=("a", "b", "c"))


def test_the_same_rows_cannot_be_train_and_test(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", ROWS)
    (tmp_path / "b.jsonl").symlink_to(path)
    with pytest.raises(DataError, match=r"used as another split too"):
        load(path, test=str(tmp_path / "b.jsonl"))


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"x_train": np.full((4, 2, 2), np.nan), "y_train": np.zeros(4)}, "NaN or infinite pixels, first in row 1"),
        ({"x_train": np.zeros((4, 2, 2)), "y_train": np.zeros(3)}, r"4 images, but labels of shape \[3\]"),
        ({"x_train": np.zeros((4, 2)), "y_train": np.zeros(4)}, r"x_train has shape \[4, 2\]"),
        ({"x": np.zeros((4, 2, 2))}, "no arrays x_train and y_train; it has x. Rename"),
        ({"x_train": np.zeros((0, 2, 2)), "y_train": np.zeros(0)}, "is empty: x_train needs at least one image"),
    ],
)
def test_bad_arrays_are_refused(tmp_path: Path, arrays: dict[str, np.ndarray], words: str) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataError, match=words):
        load(tmp_path / "a.npz", IMAGE)


def test_a_damaged_npz_and_an_empty_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(tiny_image_data(tmp_path / "whole").read_bytes()[:-40])
    with pytest.raises(DataError, match=r"no .npz file"):
        load(tmp_path / "a.npz", IMAGE)
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match=r"is empty: it needs one subfolder a class"):
        load(tmp_path / "none", IMAGE)
