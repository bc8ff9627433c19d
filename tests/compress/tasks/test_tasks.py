"""Tasks: what a model is given, and models and inputs that do not fit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgepress.compress.data.splits import Rows, load_splits
from edgepress.compress.model.loading import load_network
from edgepress.compress.recipe.recipe import Data
from edgepress.compress.tasks import TASKS, load_task
from edgepress.compress.tasks.base import batches
from edgepress.compress.tasks.inputs.pixel_fit import fit
from edgepress.targets.errors import DataError, ModelError, RecipeError
from edgepress.targets.preprocess.pixels import Preprocessing
from tests.compress.tiny import tiny_image_data, tiny_image_teacher, tiny_text_data, tiny_text_teacher, tiny_tokenizer

TEXT, IMAGE = "text-classification", "image-classification"
DATA = Data(train="unused", max_length=8)


def text_features(texts: list[str], second: list[str] | None = None, tokenizer: Any = None, data: Data = DATA) -> Any:
    rows = Rows(np.zeros(len(texts), np.int64), "rows", texts=(texts, second))
    return load_task(TEXT).features(rows, tokenizer or tiny_tokenizer(), data)


def image_rows(images: np.ndarray) -> Rows:
    return Rows(np.zeros(len(images), np.int64), "rows", images=images)


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    return tiny_text_teacher(tmp_path / "teacher")


def test_looking_up_tasks_loads_no_torch() -> None:
    code = (
        "import sys; from edgepress.compress.tasks import TASKS; import edgepress.compress.data.splits; "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert [load_task(name).name for name in TASKS] == list(TASKS)
    with pytest.raises(RecipeError, match=r"unknown task 'x'; there are text-classification, image-classification"):
        load_task("x")


@pytest.mark.parametrize(("architecture", "inputs"), [("bert", 3), ("distilbert", 2), ("electra", 3)])
def test_text_models_take_what_their_features_give(tmp_path: Path, architecture: str, inputs: int) -> None:
    folder = str(tiny_text_teacher(tmp_path / "teacher", architecture))
    data = Data(train=str(tiny_text_data(tmp_path)), max_length=8)
    task, train = load_task(TEXT), load_splits(data, load_task(TEXT), seed=0).train
    network = load_network(folder, TEXT, trust_remote_code=False, num_labels=2)
    processor = task.fit_processor(task.load_processor(folder), train, data)
    features, signature = task.features(train, processor, data), task.signature(network, processor, data)
    assert [spec.name for spec in signature.inputs] == ["input_ids", "attention_mask", "token_type_ids"][:inputs]
    assert signature.bounds == {"batch": (1, 64), "sequence": (2, 8)}
    assert signature.outputs[0].shape == ("batch", 2)
    for indices, feeds in batches(features, 16):
        signature.check(feeds)
        logits = network(**{name: torch.from_numpy(value) for name, value in feeds.items()}).logits
        assert logits.shape == (len(indices), 2)


@pytest.mark.parametrize("architecture", ["resnet", "mobilenet_v2", "vit"])
@pytest.mark.parametrize("channels", [1, 3])
def test_image_models_take_what_their_features_give(tmp_path: Path, architecture: str, channels: int) -> None:
    folder = str(tiny_image_teacher(tmp_path / "teacher", architecture, channels, labels=2))
    data = Data(train=str(tiny_image_data(tmp_path)))
    task, train = load_task(IMAGE), load_splits(data, load_task(IMAGE), seed=0).train
    network = load_network(folder, IMAGE, trust_remote_code=False, num_labels=2)
    processor = task.fit_processor(task.load_processor(folder), train, data)
    features, signature = task.features(train, processor, data), task.signature(network, processor, data)
    assert signature.inputs[0].shape == ("batch", channels, 32, 32)
    indices, feeds = next(batches(features, 4))
    signature.check(feeds)
    assert network(pixel_values=torch.from_numpy(feeds["pixel_values"])).logits.shape == (4, 2)
    assert indices.tolist() == [0, 1, 2, 3]


def test_a_batch_is_padded_to_its_longest_row() -> None:
    feeds = text_features(["good film", "bad"]).batch([0, 1])
    assert feeds["input_ids"].tolist() == [[2, 5, 9, 3], [2, 6, 3, 0]]
    assert feeds["attention_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 1, 0]]
    assert {value.dtype for value in feeds.values()} == {np.dtype(np.int64)}


def test_a_length_pads_or_cuts_and_keeps_the_separator() -> None:
    features = text_features(["good film not bad"])
    assert features.batch([0], 4)["input_ids"].tolist() == [[2, 5, 9, 3]]
    assert features.batch([0], 7)["input_ids"].tolist() == [[2, 5, 9, 13, 6, 3, 0]]


def test_padding_goes_to_the_tokenizers_side() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.padding_side = "left"
    feeds = text_features(["good", "good film"], tokenizer=tokenizer).batch([0, 1])
    assert feeds["input_ids"][0].tolist() == [0, 2, 5, 3]
    assert feeds["attention_mask"][0].tolist() == [0, 1, 1, 1]


def test_pairs_share_one_row_and_differ_in_type() -> None:
    feeds = text_features(["good"], ["film"]).batch([0])
    assert feeds["input_ids"].tolist() == [[2, 5, 3, 9, 3]]
    assert feeds["token_type_ids"].tolist() == [[0, 0, 0, 1, 1]]


def test_texts_are_cut_to_max_length() -> None:
    assert text_features(["good " * 50]).lengths.tolist() == [8]


def test_batches_hold_every_row_once_shortest_first() -> None:
    features = text_features(["good " * count for count in (5, 1, 3, 2)])
    rows = [indices.tolist() for indices, _ in batches(features, 2)]
    assert rows == [[1, 3], [2, 0]]
    assert [len(feeds["input_ids"]) for _, feeds in batches(features, 3, np.array([3, 2, 1, 0]))] == [3, 1]


@pytest.mark.parametrize(("batch", "sequence"), [(1, 2), (3, 5), (7, 8)])
def test_sample_feeds_have_exactly_the_shape_asked_for(batch: int, sequence: int) -> None:
    features = text_features(["good", "good film not bad", "film"])
    feeds = load_task(TEXT).sample_feeds(features, batch, sequence)
    assert {value.shape for value in feeds.values()} == {(batch, sequence)}
    assert feeds["attention_mask"][0].sum() == min(sequence, 6)


def test_the_digest_follows_tokens_and_pixels() -> None:
    assert text_features(["good"]).digest == text_features(["good"]).digest != text_features(["bad"]).digest
    images = np.zeros((2, 4, 4, 1), np.uint8)
    half = Preprocessing(1, (4, 4), rescale=1.0, mean=(0.0,), std=(0.5,))
    digests = [
        load_task(IMAGE).features(image_rows(pixels), processor, DATA).digest
        for pixels, processor in ((images, half), (images + 1, half), (images, fit(half, images, 8)))
    ]
    assert len(set(digests)) == 3


def test_saved_tokenizers_are_read_again(tmp_path: Path, teacher: Path) -> None:
    task = load_task(TEXT)
    task.save_processor(task.load_processor(str(teacher)), tmp_path / "saved")
    tokenizer = task.load_processor(str(tmp_path / "saved"))
    assert text_features(["good film"], tokenizer=tokenizer).batch([0])["input_ids"].tolist() == [[2, 5, 9, 3]]


def test_a_folder_without_a_tokenizer_is_refused(teacher: Path) -> None:
    (teacher / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match=r"has no tokenizer: none of tokenizer.json, vocab.txt"):
        load_task(TEXT).load_processor(str(teacher))


def test_a_tokenizer_without_padding_is_refused(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.pad_token = None
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"has no padding token. Set its pad_token"):
        load_task(TEXT).load_processor(str(tmp_path))


def test_models_that_cannot_take_the_inputs_are_refused(tmp_path: Path, teacher: Path) -> None:
    network = load_network(str(teacher), TEXT, trust_remote_code=False)
    with pytest.raises(ModelError, match=r"fails on input_ids \[1, 65\].* longest sequence is 64; set data.max_length"):
        load_task(TEXT).signature(network, tiny_tokenizer(), Data(train="x", max_length=65))
    grey = Preprocessing(1, (32, 32), rescale=1.0, mean=(0.0,), std=(1.0,))
    resnet = load_network(str(tiny_image_teacher(tmp_path / "b", channels=3)), IMAGE, trust_remote_code=False)
    with pytest.raises(ModelError, match=r"ResNet.* fails on pixel_values \[1, 1, 32, 32\]: .* num_channels 3; match"):
        load_task(IMAGE).signature(resnet, grey, DATA)
    with pytest.raises(ModelError, match=r"takes no input 'pixel_values'"):
        load_task(IMAGE).signature(network, grey, DATA)


def test_a_tokenizer_of_another_model_is_refused(teacher: Path) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens(["new"])
    network = load_network(str(teacher), TEXT, trust_remote_code=False)
    with pytest.raises(ModelError, match=r"the tokenizer has 18 tokens and BertForSequenceClassification only 17"):
        load_task(TEXT).signature(network, tokenizer, DATA)


def test_texts_and_images_are_not_mixed_up() -> None:
    with pytest.raises(DataError, match=r"rows holds images, and the task is text-classification"):
        load_task(TEXT).features(image_rows(np.zeros((1, 2, 2, 1))), tiny_tokenizer(), DATA)
    texts = Rows(np.zeros(1, np.int64), "rows", texts=(["a"], None))
    with pytest.raises(DataError, match=r"rows holds texts, and the task is image-classification"):
        load_task(IMAGE).fit_processor(None, texts, DATA)
    with pytest.raises(ModelError, match=r"needs a tokenizer: set teacher.tokenizer"):
        load_task(TEXT).fit_processor(None, texts, DATA)


def test_a_teacher_trained_in_the_run_gets_the_channels_of_its_config() -> None:
    task = load_task(IMAGE)
    begun = task.begin_processor({"model_type": "resnet", "num_channels": 3})
    grey = image_rows(np.arange(32, dtype=np.uint8).reshape(2, 4, 4, 1))
    processor = task.fit_processor(begun, grey, DATA)
    assert task.features(grey, processor, DATA).batch([0])["pixel_values"].shape == (1, 3, 4, 4)
    with pytest.raises(ModelError, match=r"teacher.config.num_channels is 4, and images have 1 or 3"):
        task.begin_processor({"num_channels": 4})
    assert load_task(TEXT).begin_processor({"num_channels": 4}) is None
