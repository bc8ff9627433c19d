"""Tasks: what a model is given, which models are taken, and which are refused in which words."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from compress.data import Rows, load_splits
from compress.recipe import Data
from compress.tasks import TASKS, load_task
from compress.tasks.base import batches
from compress.tasks.image_preprocessing import Preprocessing, fit, read_config, read_timm
from compress.tasks.loading import load_network
from targets.errors import DataError, ModelError, RecipeError
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
    code = "import sys; from compress.tasks import TASKS; import compress.data; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert [load_task(name).name for name in TASKS] == list(TASKS)
    with pytest.raises(RecipeError, match=r"unknown task 'x'; there are text-classification, image-classification"):
        load_task("x")


@pytest.mark.parametrize(("architecture", "inputs"), [("bert", 3), ("distilbert", 2), ("electra", 3)])
def test_text_models_take_what_their_features_give(tmp_path: Path, architecture: str, inputs: int) -> None:
    folder = str(tiny_text_teacher(tmp_path / "teacher", architecture))
    data = Data(train=str(tiny_text_data(tmp_path)), max_length=8)
    task, train = load_task(TEXT), load_splits(data, TEXT, seed=0).train
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
    task, train = load_task(IMAGE), load_splits(data, IMAGE, seed=0).train
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


def test_loading_is_quiet_and_gives_fp32_with_eager_attention(
    teacher: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    weights = load_file(teacher / "model.safetensors")
    halves = {name: value.half() for name, value in weights.items()}
    save_file(halves, teacher / "model.safetensors", metadata={"format": "pt"})
    capfd.readouterr()
    network: Any = load_network(str(teacher), TEXT, trust_remote_code=False)
    assert {value.dtype for value in network.parameters()} == {torch.float32}
    assert network.config._attn_implementation == "eager" and not network.training
    assert capfd.readouterr() == ("", "")


def spoil_weights(folder: Path, change: Any) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def spoil_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def pickle_weights(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def cut_weights(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-100])


SPOILERS: list[tuple[Any, str]] = [
    (lambda folder: (folder / "config.json").unlink(), "has no config.json: it is no transformers model folder"),
    (lambda folder: (folder / "config.json").write_text("{"), "config.json is no JSON"),
    (lambda folder: (folder / "model.safetensors").unlink(), "has no weights: model.safetensors is missing"),
    (pickle_weights, r"pickled weights \(pytorch_model.bin\), .* refused. .* python -c \"from transformers import AutoM"),
    (cut_weights, "the weights are damaged"),
    (lambda folder: spoil_config(folder, auto_map={"AutoModel": "x.Y"}), "code of its own .* teacher.trust_remote_code"),
    (lambda folder: spoil_config(folder, model_type="resnet"), "is no text-classification model"),
    (lambda folder: spoil_config(folder, model_type="nonesuch"), "is no text-classification model"),
    (lambda folder: spoil_config(folder, num_hidden_layers=3), r"lacks 16 weights .* first 'bert.encoder.layer.2"),
    (lambda folder: spoil_config(folder, num_hidden_layers=1), "config.json builds only 1 such layers"),
    (lambda folder: spoil_config(folder, intermediate_size=64), "do not fit config.json|lacks 6 weights"),
    (
        lambda folder: spoil_weights(folder, lambda state: state.pop("classifier.weight")),
        "lacks 1 weights that config.json asks for, first 'classifier.weight': they would be random",
    ),
    (
        lambda folder: spoil_weights(folder, lambda state: state["classifier.bias"].fill_(float("nan"))),
        "weight 'classifier.bias' has 2 NaN or infinite values of 2",
    ),
]


@pytest.mark.parametrize(("spoil", "words"), SPOILERS, ids=[words[:30] for _, words in SPOILERS])
def test_a_spoiled_teacher_is_refused(teacher: Path, spoil: Any, words: str) -> None:
    spoil(teacher)
    with pytest.raises(ModelError, match=words):
        load_network(str(teacher), TEXT, trust_remote_code=False)


def test_other_numbers_of_classes_are_refused_unless_the_head_is_fresh(teacher: Path) -> None:
    with pytest.raises(ModelError, match=r"knows 2 classes and the data has 3. Name the model's classes in data.labels"):
        load_network(str(teacher), TEXT, trust_remote_code=False, num_labels=3)
    network: Any = load_network(str(teacher), TEXT, trust_remote_code=False, num_labels=3, fresh_head=True)
    assert network.classifier.out_features == 3
    spoil_config(teacher, num_hidden_layers=3)
    with pytest.raises(ModelError, match="lacks 16 weights"):
        load_network(str(teacher), TEXT, trust_remote_code=False, num_labels=3, fresh_head=True)


def test_what_is_neither_folder_nor_hub_id_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match=r"is no folder \(paths are relative to .*\) and no hub id"):
        load_network(str(tmp_path / "none"), TEXT, trust_remote_code=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelError, match="no/where is no folder here, and as a hub id .*`hf download no/where`"):
        load_network("no/where", TEXT, trust_remote_code=False)


def test_a_folder_without_a_tokenizer_is_refused(teacher: Path) -> None:
    (teacher / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match=r"has no tokenizer: none of tokenizer.json, vocab.txt"):
        load_task(TEXT).load_processor(str(teacher))


def test_a_tokenizer_without_padding_is_refused(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.pad_token = None
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="has no padding token. Set its pad_token"):
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
    with pytest.raises(ModelError, match="the tokenizer has 18 tokens and BertForSequenceClassification only 17"):
        load_task(TEXT).signature(network, tokenizer, DATA)


def test_texts_and_images_are_not_mixed_up() -> None:
    with pytest.raises(DataError, match="rows holds images, and the task is text-classification"):
        load_task(TEXT).features(image_rows(np.zeros((1, 2, 2, 1))), tiny_tokenizer(), DATA)
    texts = Rows(np.zeros(1, np.int64), "rows", texts=(["a"], None))
    with pytest.raises(DataError, match="rows holds texts, and the task is image-classification"):
        load_task(IMAGE).fit_processor(None, texts, DATA)
    with pytest.raises(ModelError, match=r"needs a tokenizer: set teacher.tokenizer"):
        load_task(TEXT).fit_processor(None, texts, DATA)


def test_fitted_pixels_have_mean_0_and_deviation_1() -> None:
    images = np.random.default_rng(0).integers(0, 256, (300, 8, 8, 3), dtype=np.uint8)
    pixels = fit(Preprocessing(), images, image_size=None).apply(images, np.arange(300))
    assert pixels.shape == (300, 3, 8, 8) and pixels.dtype == np.float32
    np.testing.assert_allclose(pixels.mean((0, 2, 3)), 0, atol=1e-4)
    np.testing.assert_allclose(pixels.std((0, 2, 3)), 1, atol=1e-4)


def test_floats_up_to_1_are_not_scaled_again() -> None:
    images = np.linspace(0, 1, 16, dtype=np.float32).reshape(1, 4, 4, 1)
    assert fit(Preprocessing(), images, None).rescale == 1.0
    assert fit(Preprocessing(), images * 255, None).rescale == pytest.approx(1 / 255)


def test_images_of_one_colour_teach_nothing() -> None:
    with pytest.raises(DataError, match="all of one colour"):
        fit(Preprocessing(), np.ones((4, 2, 2, 1), np.uint8), None)


def test_resizing_by_hand() -> None:
    plain = Preprocessing(1, (1, 2), rescale=1.0, mean=(0.0,), std=(1.0,))
    # A triangle of twice the width: weights 3/7, 3/7, 1/7 for each half of four pixels.
    row = np.array([0.0, 7.0, 14.0, 0.0], np.float32).reshape(1, 1, 4, 1)
    np.testing.assert_allclose(plain.apply(row, np.array([0])).ravel(), [5.0, 7.0], rtol=1e-6)


def test_bytes_are_rounded_as_pillow_does() -> None:
    image = pytest.importorskip("PIL.Image", reason="needs Pillow")
    pixels = np.random.default_rng(0).integers(0, 256, (1, 40, 30, 3), dtype=np.uint8)
    plain = Preprocessing(3, (16, 24), rescale=1.0, mean=(0.0,) * 3, std=(1.0,) * 3)
    ours = plain.apply(pixels, np.array([0]))[0].transpose(1, 2, 0)
    theirs = np.asarray(image.fromarray(pixels[0]).resize((24, 16), image.Resampling.BILINEAR))
    assert np.abs(ours - theirs).max() <= 1


def test_channels_are_repeated_or_merged() -> None:
    three = Preprocessing(3, (1, 1), rescale=1.0, mean=(0.0,) * 3, std=(1.0,) * 3)
    one = Preprocessing(1, (1, 1), rescale=1.0, mean=(0.0,), std=(1.0,))
    grey, colour = np.full((1, 1, 1, 1), 7, np.uint8), np.array([[[[100, 200, 50]]]], np.uint8)
    assert three.apply(grey, np.array([0])).ravel().tolist() == [7, 7, 7]
    assert one.apply(colour, np.array([0])).ravel().tolist() == [153]  # 29.9 + 117.4 + 5.7


NORMAL = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5], "resample": 3}


@pytest.mark.parametrize(
    ("settings", "resize", "crop"),
    [
        ({"size": {"height": 8, "width": 6}}, (8, 6), None),
        ({"size": 224}, (224, 224), None),
        ({"size": {"shortest_edge": 256}, "do_center_crop": True, "crop_size": 224}, 256, (224, 224)),
        ({"size": {"shortest_edge": 224}, "crop_pct": 0.875}, 256, (224, 224)),
        ({"size": 384, "crop_pct": 1.0}, (384, 384), None),
    ],
)
def test_the_teachers_own_sizes_are_followed(settings: dict[str, Any], resize: Any, crop: Any) -> None:
    read = read_config(NORMAL | settings, "p.json", 3)
    assert (read.resize, read.crop, read.resample) == (resize, crop, 3)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"size": 8, "do_pad": True}, "p.json: do_pad is not supported"),
        ({"size": 8, "resample": 1}, "p.json: resample 1 is not supported; 0, 2, 3 are"),
        ({"size": 8, "image_mean": None}, "p.json lacks 'image_mean'. Save it again"),
        ({"size": {"longest_edge": 8}}, "is not supported; height and width, or shortest_edge, are"),
        ({"size": {"shortest_edge": 8}}, r"give images of various sizes. Set data.image_size"),
    ],
)
def test_settings_that_would_give_other_pixels_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        read_config(NORMAL | {"do_normalize": True} | settings, "p.json", 3)


def test_efficientnets_second_normalisation_is_one_formula() -> None:
    extra = {"size": 1, "rescale_factor": 1 / 127.5, "rescale_offset": True, "include_top": True}
    read = read_config(NORMAL | extra, "p.json", 3)
    pixel = np.full((1, 1, 1, 3), 255, np.uint8)
    assert read.apply(pixel, np.array([0])).ravel().tolist() == pytest.approx([((2 - 1) - 0.5) / 0.5 / 0.5] * 3)


def test_timms_transform_is_followed() -> None:
    settings = {"input_size": [3, 224, 224], "mean": [0.5] * 3, "std": [0.5] * 3, "crop_pct": 0.875}
    read = read_timm(settings, "config.json")
    assert (read.resize, read.crop, read.size, read.resample) == (256, (224, 224), (224, 224), 3)
    with pytest.raises(ModelError, match="interpolation 'random' is not supported"):
        read_timm(settings | {"interpolation": "random"}, "config.json")


def test_saved_pre_processing_is_read_again_and_by_transformers(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (9, 8, 8, 1), dtype=np.uint8)
    task = load_task(IMAGE)
    fitted = task.fit_processor(None, image_rows(images), Data(train="x", image_size=32))
    task.save_processor(fitted, tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "resnet", "num_channels": 1}')
    ours = task.load_processor(str(tmp_path))
    indices = np.arange(3)
    np.testing.assert_array_equal(ours.apply(images, indices), fitted.apply(images, indices))
    pytest.importorskip("PIL", reason="needs Pillow")
    from transformers import AutoImageProcessor

    theirs = AutoImageProcessor.from_pretrained(tmp_path, backend="pil")
    pixels = theirs(list(images[:3]), return_tensors="np", input_data_format="channels_last")["pixel_values"]
    np.testing.assert_allclose(pixels, ours.apply(images, indices), atol=1.1 / 255 / min(fitted.std))


def test_the_teachers_own_file_is_kept_unless_the_size_changes(tmp_path: Path) -> None:
    folder = tiny_image_teacher(tmp_path / "teacher", channels=1)
    task, rows = load_task(IMAGE), image_rows(np.arange(64, dtype=np.uint8).reshape(1, 8, 8, 1))
    for size, expected in ((None, 32), (16, 16)):
        fitted = task.fit_processor(task.load_processor(str(folder)), rows, Data(train="x", image_size=size))
        task.save_processor(fitted, tmp_path / "saved")
        saved = json.loads((tmp_path / "saved" / "preprocessor_config.json").read_text())
        assert saved["size"] == {"height": expected, "width": expected} and saved["image_mean"] == [0.5]
