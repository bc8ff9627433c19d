"""Data: splits, labels, formats, and what is said of data that cannot be used."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

import compress.data_images
from compress.data import Splits, data_digest, load_splits, local_files, stratified
from compress.recipe import Data
from targets.errors import DataError
from tests.compress.tiny import tiny_image_data, tiny_text_data

TEXT, IMAGE = "text-classification", "image-classification"
ROWS = [{"text": f"row {number}", "label": number % 2} for number in range(40)]


def lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def load(train: Path | str, task: str = TEXT, names: tuple[str, ...] | None = None, **options: Any) -> Splits:
    return load_splits(Data(train=str(train), **options), task, seed=0, names=names)


def texts(splits: Splits) -> dict[str, list[str]]:
    parts = {"train": splits.train, "validation": splits.validation, "calibration": splits.calibration}
    return {name: rows.texts[0] for name, rows in parts.items() if rows.texts is not None}


def write_csv(path: Path) -> None:
    path.write_text("label,text\n" + "".join(f'{row["label"]},"{row["text"]}"\n' for row in ROWS))


def write_tsv(path: Path) -> None:
    path.write_text("label\ttext\n" + "".join(f"{row['label']}\t{row['text']}\n" for row in ROWS))


def write_gzip(path: Path) -> None:
    path.write_bytes(gzip.compress("\n".join(json.dumps(row) for row in ROWS).encode()))


WRITERS: dict[str, Callable[[Path], Any]] = {
    "a.jsonl": lambda path: lines(path, ROWS),
    "a.jsonl.gz": write_gzip,
    "a.json": lambda path: path.write_text(json.dumps(ROWS, indent=1)),
    "a.csv": write_csv,
    "a.tsv": write_tsv,
    "a.parquet": lambda path: pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), path),
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_same_rows(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path / name)
    splits = load(tmp_path / name)
    assert splits.label_names == ("0", "1")
    assert len(splits.train) + len(splits.validation) + len(splits.test()) == 40
    assert all(
        int(text.split()[1]) % 2 == label
        for text, label in zip(texts(splits)["train"], splits.train.labels, strict=True)
    )


def test_splits_share_no_row_and_calibration_is_of_train(tmp_path: Path) -> None:
    splits = load(lines(tmp_path / "a.jsonl", ROWS), validation_fraction=0.25, calibration=8)
    parts = texts(splits)
    test = splits.test().texts
    assert test is not None
    assert len({*parts["train"], *parts["validation"], *test[0]}) == 40
    assert [len(parts["train"]), len(parts["validation"]), len(test[0])] == [24, 8, 8]
    assert set(parts["calibration"]) < set(parts["train"])
    assert np.bincount(splits.calibration.labels).tolist() == [4, 4]


def test_the_seed_fixes_the_splits(tmp_path: Path) -> None:
    data = Data(train=str(lines(tmp_path / "a.jsonl", ROWS)))
    first, again, other = (texts(load_splits(data, TEXT, seed)) for seed in (0, 0, 1))
    assert first == again != other


def test_the_test_file_is_read_by_test_alone(tmp_path: Path) -> None:
    train = lines(tmp_path / "a.jsonl", ROWS)
    test = lines(tmp_path / "b.jsonl", [{"text": "x", "label": 7}])
    splits = load(train, test=str(test))
    assert splits.test_reads == 0
    with pytest.raises(DataError, match=r"b.jsonl, row 1: label '7' does not fit the 2 classes"):
        splits.test()
    lines(test, [{"text": "x", "label": 1}])
    assert splits.test().labels.tolist() == [1]
    assert splits.test_reads == 2


def test_npz_brings_its_own_test_split(tmp_path: Path) -> None:
    images, labels = np.zeros((20, 4, 4), np.uint8), np.arange(20) % 2
    np.savez(tmp_path / "a.npz", x_train=images, y_train=labels, x_test=images[:3] + 1, y_test=labels[:3])
    splits = load(tmp_path / "a.npz", IMAGE, validation_fraction=0.1)
    test = splits.test().images
    assert isinstance(test, np.ndarray) and test.shape == (3, 4, 4, 1) and test.min() == 1
    assert len(splits.train) == 18


def test_digits_are_bytes_of_all_grey_levels() -> None:
    splits = load("builtin:digits", IMAGE)
    images = splits.train.images
    assert isinstance(images, np.ndarray)
    assert (images.dtype, images.shape[1:], images.min(), images.max()) == (np.uint8, (8, 8, 1), 0, 255)
    assert len(splits.train) + len(splits.validation) + len(splits.test()) == 1797


def test_image_folders_are_decoded_on_access(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("cat", "dog"):
        for number in range(5):
            path = tmp_path / name / f"{number}.png"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"x")
    decoded: list[Any] = []
    fake = np.full((2, 3, 1), 9, np.uint8)
    monkeypatch.setattr(compress.data_images, "decode_image", lambda path, _: decoded.append(path) or fake)
    splits = load(tmp_path, IMAGE)
    assert splits.label_names == ("cat", "dog") and decoded == []
    assert splits.train.images is not None and splits.train.images[0].shape == (2, 3, 1)
    assert len(decoded) == 1


def test_image_files_become_grey_or_rgb(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image", reason="needs Pillow")
    image.new("L", (3, 2), 7).save(tmp_path / "grey.png")
    image.new("RGBA", (3, 2), (1, 2, 3, 0)).save(tmp_path / "colour.png")
    grey = compress.data_images.decode_image(tmp_path / "grey.png", "a")
    colour = compress.data_images.decode_image(tmp_path / "colour.png", "a")
    assert (grey.shape, int(grey[0, 0, 0])) == ((2, 3, 1), 7)
    assert colour[1, 2].tolist() == [1, 2, 3]
    (tmp_path / "bad.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"is no readable image"):
        compress.data_images.decode_image(tmp_path / "bad.png", "bad.png")


def test_tables_name_image_files_beside_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"image": f"{number}.png", "label": "ab"[number % 2]} for number in range(10)]
    seen: list[Any] = []
    monkeypatch.setattr(
        compress.data_images, "decode_image", lambda path, _: seen.append(path) or np.zeros((1, 1, 1), np.uint8)
    )
    splits = load(lines(tmp_path / "a.jsonl", rows), IMAGE)
    assert splits.train.images is not None and splits.train.images[0].shape == (1, 1, 1)
    assert seen[0].parent == tmp_path and splits.label_names == ("a", "b")


def test_names_match_the_teachers_whatever_their_order(tmp_path: Path) -> None:
    rows = [{"text": "x", "label": name} for name in ("neg", "pos") * 10]
    splits = load(lines(tmp_path / "a.jsonl", rows), names=("pos", "neg"))
    assert splits.label_names == ("pos", "neg") and splits.train.labels[0] == 1


def test_numbers_count_the_recipes_names_and_become_the_teachers(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", ROWS)
    swapped = load(path, names=("pos", "neg"), labels=("neg", "pos"))
    assert swapped.train.labels[0] == 1 - load(path).train.labels[0]
    generic = load(path, names=("LABEL_0", "LABEL_1"), labels=("neg", "pos"))
    assert generic.label_names == ("neg", "pos")
    assert generic.train.labels.tolist() == load(path).train.labels.tolist()


def test_limit_keeps_so_many_rows_class_by_class(tmp_path: Path) -> None:
    splits = load(lines(tmp_path / "a.jsonl", ROWS), limit=20)
    assert len(splits.train) + len(splits.validation) + len(splits.test()) == 20


@given(st.lists(st.integers(0, 3), min_size=1, max_size=60), st.data())
def test_stratified_rows_are_distinct_and_in_proportion(labels: list[int], data: st.DataObject) -> None:
    count = data.draw(st.integers(1, len(labels)))
    picked = stratified(np.array(labels), count, np.random.default_rng(0))
    assert len(set(picked.tolist())) == count
    share = np.bincount(labels, minlength=4) * count / len(labels)
    assert (np.abs(np.bincount(np.array(labels)[picked], minlength=4) - share) <= 1).all()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "a.jsonl is empty: 0 bytes"),
        ("\n\n", "a.jsonl is empty: it needs at least one row"),
        ('{"text": "a", "label": 0}\n{"text": \n', r"a.jsonl, line 2: not JSON \(Expecting value, column 10\)"),
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
        ("a.jsonl.gz", gzip.compress(b'{"text": "a", "label": 0}\n' * 99)[:-9], "damaged gzip file"),
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


def test_a_hub_id_without_a_network_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    def offline(*_: Any, **__: Any) -> None:
        raise ConnectionError("Couldn't reach 'no/where' on the Hub")

    monkeypatch.setattr(datasets, "get_dataset_split_names", offline)
    with pytest.raises(
        DataError, match=r"no/where is no path here, and as a hub id .*`hf download --repo-type dataset"
    ):
        load("no/where")


def test_a_hub_data_set_brings_its_splits_and_names(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["neg", "pos"])})
    table = datasets.Dataset.from_list(ROWS, features=features)
    asked: list[str] = []
    monkeypatch.setattr(datasets, "get_dataset_split_names", lambda *_: ["train", "validation", "test"])
    monkeypatch.setattr(datasets, "load_dataset", lambda name, config, split: asked.append(split) or table)
    splits = load("some/thing")
    assert asked == ["train", "validation"] and splits.label_names == ("neg", "pos")
    assert len(splits.test()) == 40 and asked[-1] == "test"


def test_the_digest_follows_content_and_options_and_not_the_path(tmp_path: Path) -> None:
    first, same = lines(tmp_path / "a.jsonl", ROWS), lines(tmp_path / "b.jsonl", ROWS)
    digest = data_digest(Data(train=str(first)))
    assert digest == data_digest(Data(train=str(same)))
    assert digest != data_digest(Data(train=str(first), max_length=64))
    assert digest != data_digest(Data(train=str(first), test=str(same)))
    lines(first, ROWS[1:])
    assert digest != data_digest(Data(train=str(first)))
    assert local_files(Data(train=str(first), test="some/thing")) == (first,)


def test_sst2_is_split_as_the_recipe_says(shared_data: Path) -> None:
    folder = shared_data / "text" / "sst2"
    splits = load(folder / "train.jsonl.gz", test=str(folder / "dev.jsonl.gz"), names=("LABEL_0", "LABEL_1"))
    assert (len(splits.train), len(splits.validation), len(splits.calibration)) == (65329, 2020, 128)
    assert len(splits.test()) == 872
