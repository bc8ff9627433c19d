"""Data: splits, labels and formats."""

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

from edgepress.compress.data import images as reading
from edgepress.compress.data.splits import Splits, data_digest, load_splits, local_files, stratified
from edgepress.compress.recipe.recipe import Data
from edgepress.compress.tasks import load_task
from edgepress.targets.errors import DataError
from tests.compress.rows import IMAGE, ROWS, TEXT, lines, load


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
    assert [int(text.split()[1]) % 2 for text in texts(splits)["train"]] == splits.train.labels.tolist()


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
    first, again, other = (texts(load_splits(data, load_task(TEXT), seed)) for seed in (0, 0, 1))
    assert first == again != other


def test_test_rows_are_handed_out_by_test_alone_and_their_faults_told_before(tmp_path: Path) -> None:
    train = lines(tmp_path / "a.jsonl", ROWS)
    test = lines(tmp_path / "b.jsonl", [{"text": "x", "label": 7}])
    with pytest.raises(DataError, match=r"b.jsonl, row 1: label '7' does not fit the 2 classes"):
        load(train, test=str(test))
    lines(test, [{"text": "x", "label": 1}])
    splits = load(train, test=str(test))
    assert splits.test_reads == 0
    lines(test, [{"text": "x", "label": 7}])
    with pytest.raises(DataError, match=r"b.jsonl, row 1: label '7' does not fit the 2 classes"):
        splits.test()
    lines(test, [{"text": "x", "label": 0}])
    assert splits.test().labels.tolist() == [0]
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
    monkeypatch.setattr(reading, "decode_image", lambda path, _: decoded.append(path) or fake)
    splits = load(tmp_path, IMAGE)
    assert splits.label_names == ("cat", "dog") and decoded == []
    assert splits.train.images is not None and splits.train.images[0].shape == (2, 3, 1)
    assert len(decoded) == 1


def test_image_files_become_grey_or_rgb(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image", reason="needs Pillow")
    image.new("L", (3, 2), 7).save(tmp_path / "grey.png")
    image.new("RGBA", (3, 2), (1, 2, 3, 0)).save(tmp_path / "colour.png")
    grey = reading.decode_image(tmp_path / "grey.png", "a")
    colour = reading.decode_image(tmp_path / "colour.png", "a")
    assert (grey.shape, int(grey[0, 0, 0])) == ((2, 3, 1), 7)
    assert colour[1, 2].tolist() == [1, 2, 3]
    (tmp_path / "bad.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"is no readable image"):
        reading.decode_image(tmp_path / "bad.png", "bad.png")


def test_tables_name_image_files_beside_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"image": f"{number}.png", "label": "ab"[number % 2]} for number in range(10)]
    seen: list[Any] = []
    monkeypatch.setattr(
        reading,
        "decode_image",
        lambda path, _: seen.append(path) or np.zeros((1, 1, 1), np.uint8),
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
    monkeypatch.setattr(datasets, "get_dataset_split_names", lambda *_, revision: ["train", "validation", "test"])
    monkeypatch.setattr(datasets, "load_dataset", lambda name, config, split, revision: asked.append(split) or table)
    splits = load("some/thing")
    assert asked == ["train", "test", "validation"] and splits.label_names == ("neg", "pos")
    assert splits.test_reads == 0 and len(splits.test()) == 40 and asked[-1] == "test" and len(asked) == 4


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
