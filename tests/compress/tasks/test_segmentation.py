"""Pictures with masks: read as hostile, resized together, learned and distilled pixel by pixel."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgepress.benchmarks.metrics.base import IGNORED
from edgepress.compress.cli.init import recipe_template
from edgepress.compress.data.rows import Rows
from edgepress.compress.data.splits import data_digest, digest_of_test
from edgepress.compress.data.truths import mask_files
from edgepress.compress.data.truths.mask_files import decode_mask
from edgepress.compress.data.truths.masks import masks_of
from edgepress.compress.methods.distill.terms.soft_targets import distillation_loss
from edgepress.compress.methods.prune.options import Prune
from edgepress.compress.methods.prune.structured import apply_pruning, plan_pruning
from edgepress.compress.methods.student import derive_student
from edgepress.compress.model.model import Model, network_from_config
from edgepress.compress.recipe.data import Columns, Data
from edgepress.compress.recipe.recipe import Recipe, Student
from edgepress.compress.release.package import few_pixels
from edgepress.compress.tasks import load_task
from edgepress.compress.tasks.inference import logits_of, metric_of
from edgepress.compress.tasks.inputs.masked import MaskedInputs
from edgepress.compress.tasks.outputs.pixels import PixelClasses
from edgepress.targets.errors import DataError, ModelError
from edgepress.targets.preprocess.pixels import Preprocessing
from tests.compress.rows import lines, load
from tests.compress.tiny import tiny_image_teacher, tiny_scenes, tiny_segmenter_config

Image: Any = pytest.importorskip("PIL.Image", reason="needs Pillow")

TASK = "image-segmentation"
COLUMNS = Columns(label="mask")
NUMBERS = np.array([[0, 1, 2], [3, 255, 0]], np.uint8)
PLAIN = Preprocessing(1, (32, 32), rescale=1 / 255, mean=(0.0,), std=(1.0,))


def encoded(image: Any, kind: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def palette(numbers: np.ndarray) -> Any:
    image = Image.fromarray(numbers, "P")
    image.putpalette([*range(256)] * 3)
    return image


def rows_of(folder: Path, changes: dict[str, Any] | None = None, rows: int = 40) -> Path:
    """A table of scenes whose last row is changed."""
    path = tiny_scenes(folder, rows=rows)
    found = [json.loads(line) for line in path.read_text().splitlines()]
    found[-1] |= changes or {}
    return lines(path, found)


@pytest.mark.filterwarnings("ignore:'mode' parameter is deprecated")
def test_a_mask_is_its_numbers_whatever_colours_a_palette_gives_them() -> None:
    for image in (Image.fromarray(NUMBERS), palette(NUMBERS)):
        assert decode_mask(encoded(image), "a mask").tolist() == NUMBERS.tolist()
    assert decode_mask(encoded(palette(NUMBERS % 4), bits=2), "a mask").tolist() == (NUMBERS % 4).tolist()
    assert decode_mask(encoded(Image.fromarray(NUMBERS > 1)), "a mask").tolist() == (NUMBERS > 1).astype(int).tolist()


def test_grey_of_few_bits_is_not_spread_over_all_greys() -> None:
    import struct
    import zlib

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", 4, 1, 2, 0, 0, 0, 0)  # 4 x 1 pixels of 2 bits: 0, 1, 2, 3
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0\x1b")) + chunk(b"IEND", b"")
    assert decode_mask(png, "a mask").tolist() == [[0, 1, 2, 3]]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (encoded(Image.new("RGB", (3, 2))), "mode RGB, and a mask has one number of 8 bits a pixel. Save it as a grey"),
        (encoded(Image.fromarray(NUMBERS.astype(np.uint16))), "mode I;16, and a mask has one number of 8 bits a pixel"),
        (encoded(Image.fromarray(NUMBERS), "JPEG"), "is no readable image .*Mend or remove it"),
        (encoded(Image.fromarray(NUMBERS))[:45], "is no readable image"),
        (b"PNG", "is no readable image"),
    ],
)
def test_what_is_no_mask_is_refused(content: bytes, words: str) -> None:
    with pytest.raises(DataError, match=f"m.png:? .*{words}|m.png: its pixels are of {words}"):
        decode_mask(content, "m.png")


def test_a_mask_of_too_many_pixels_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mask_files, "MOST_PIXELS", 5)
    with pytest.raises(DataError, match=r"m\.png has 3 x 2 pixels; masks of 5 at most are read"):
        decode_mask(encoded(Image.fromarray(NUMBERS)), "m.png")


def test_rows_come_as_files_and_as_arrays(tmp_path: Path) -> None:
    splits = load(tiny_scenes(tmp_path), TASK, columns=COLUMNS)
    assert splits.label_names == ("0", "1", "2") and splits.train.content == "masked images"
    mask = splits.train.labels[0]
    assert mask.shape == (32, 32) and set(np.unique(mask)) == {IGNORED, 0, 1, 2}
    pictures, masks = np.zeros((40, 4, 4, 3), np.uint8), np.tile(np.uint8([[0, 1], [255, 1]]), (40, 2, 2))
    np.savez(tmp_path / "a.npz", x_train=pictures, y_train=masks)
    found = load(tmp_path / "a.npz", TASK, labels=("sky", "sea"))
    assert found.label_names == ("sky", "sea") and found.train.labels[0][1].tolist() == [IGNORED, 1, IGNORED, 1]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"mask": "train/none.png"}, "none.png is missing. Image paths are relative"),
        ({"image": "train/none.png"}, "none.png is missing"),
        ({"mask": 7}, "the mask column must hold paths or encoded masks, got 7"),
        ({"mask": "small.png"}, r"row 40: the picture has 32 x 32 pixels and its mask 3 x 2; a mask has a number for "),
        ({"mask": "train/0-image.png"}, "number 250 at pixel|number 120 at pixel"),
    ],
)
def test_a_row_that_is_none_is_named(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    Image.fromarray(NUMBERS).save(tmp_path / "small.png")
    with pytest.raises(DataError, match=words):
        load(rows_of(tmp_path, changes), TASK, columns=COLUMNS, labels=("black", "bright", "dim"))


def test_a_number_that_is_no_class_is_named_with_its_pixel(tmp_path: Path) -> None:
    words = (
        r"row 1: the mask has the number 2 at pixel \(\d+, \d+\), counted from 0, which is none of the model's 2 "
        r"classes; allowed: 0, 1, and 255 where nothing is judged. Mend the mask, or name all classes in data.labels"
    )
    with pytest.raises(DataError, match=words):
        load(tiny_scenes(tmp_path), TASK, columns=COLUMNS, labels=("black", "bright"))
    with pytest.raises(DataError, match=r"the labels are 0, 2, and must count from 0 without gaps. Renumber them, or"):
        masks_of([np.uint8([[0, 2]])], "mine", None, None, False)
    with pytest.raises(DataError, match="mine: 256 classes; masks of 8 bits tell 255 at most apart"):
        masks_of([np.uint8([[0, 1]])], "mine", tuple(map(str, range(256))), None, False)


def test_masks_of_arrays_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    for masks in (np.zeros((40, 2, 4), np.uint8), np.zeros((40, 4, 4)), np.full((40, 4, 4), 256), np.zeros(40, int)):
        np.savez(tmp_path / "a.npz", x_train=np.zeros((40, 4, 4), np.uint8), y_train=masks)
        with pytest.raises(DataError, match=r"masks of x_train must be whole numbers of 0 to 255, shaped \[40, 4, 4\]"):
            load(tmp_path / "a.npz", TASK)


def test_pixels_of_one_class_teach_nothing(tmp_path: Path) -> None:
    for number, words in ((0, "of the class '0'"), (255, "255, which is not judged")):
        masks = np.full((40, 4, 4), number, np.uint8)
        np.savez(tmp_path / "a.npz", x_train=np.zeros((40, 4, 4), np.uint8), y_train=masks)
        with pytest.raises(DataError, match=f"all pixels are {words}; there is nothing to learn. Add rows"):
            load(tmp_path / "a.npz", TASK)


def test_each_split_has_its_share_of_the_rarest_class(tmp_path: Path) -> None:
    masks = np.zeros((100, 4, 4), np.uint8)
    masks[:, 0], masks[::5, 1] = 1, 2
    np.savez(tmp_path / "a.npz", x_train=np.zeros((100, 4, 4), np.uint8), y_train=masks)
    splits = load(tmp_path / "a.npz", TASK, test_fraction=0.2, validation_fraction=0.25)
    for part in (splits.train, splits.validation, splits.test()):
        assert np.mean([2 in mask for mask in part.labels]) == pytest.approx(0.2)


def test_another_mask_is_other_data(tmp_path: Path) -> None:
    path = tiny_scenes(tmp_path)
    data, task = Data(train=str(path), test=str(path), columns=COLUMNS), load_task(TASK)
    before = data_digest(data, task), digest_of_test(data, task)
    Image.fromarray(np.ones((32, 32), np.uint8)).save(tmp_path / "train/0-mask.png")
    assert data_digest(data, task) != before[0] and digest_of_test(data, task) != before[1]


def test_masks_are_resized_and_cropped_with_their_pictures() -> None:
    mask = np.arange(8, dtype=np.int16).reshape(1, 8).repeat(4, 0)
    assert Preprocessing(1, (2, 4)).placed(mask).tolist() == [[1, 3, 5, 7]] * 2
    cropped = Preprocessing(1, 2, crop=(2, 2)).placed(mask)  # the shorter edge 2, of four columns the middle ones
    assert cropped.tolist() == [[3, 5]] * 2 and cropped.dtype == np.int16
    rows = Rows(np.array([mask, None], object)[:1], "mine", images=np.zeros((1, 4, 8, 1), np.uint8))
    fitted = Preprocessing(1, (2, 4), rescale=1.0, mean=(0.0,), std=(1.0,))
    found = MaskedInputs().features(rows, fitted, Data(train="unused"))
    assert found.labels.shape == (1, 2, 4) and found.batch([0])["pixel_values"].shape == (1, 1, 2, 4)


def test_a_teacher_that_counts_its_masks_from_1_is_refused(tmp_path: Path) -> None:
    folder = tiny_image_teacher(tmp_path / "teacher")
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"do_reduce_labels": True}))
    with pytest.raises(ModelError, match=r"counts the classes of masks from 1 .* and set do_reduce_labels to false"):
        MaskedInputs().load_processor(str(folder), "AutoModelForSemanticSegmentation")


def test_the_losses_are_means_over_judged_pixels_of_logits_brought_to_their_size() -> None:
    """Of two places' logits 0 and ln 9 the four pixels' are 0, ln 9 / 4, 3 ln 9 / 4, ln 9; the second is not judged."""
    logits = torch.tensor([[[[0.0, 0.0]], [[0.0, math.log(9)]]]], requires_grad=True)
    labels = torch.tensor([[[0, IGNORED, 1, 1]]], dtype=torch.int16)
    third = 9**0.75
    loss = PixelClasses().loss({"logits": logits}, labels)
    wanted = -(math.log(0.5) + math.log(third / (1 + third)) + math.log(0.9)) / 3
    assert loss.item() == pytest.approx(wanted, rel=1e-5)
    teacher = torch.zeros(1, 2, 1, 1)  # a grid of its own; (1/2, 1/2) everywhere
    kl = sum(math.log(0.5) - 0.5 * math.log(p * (1 - p)) for p in (0.5, third / (1 + third), 0.9)) / 3
    found = distillation_loss(logits, teacher, labels, temperature=1.0, alpha=1.0, kind=PixelClasses())
    assert found.item() == pytest.approx(kl, rel=1e-5)
    none = distillation_loss(logits, teacher, torch.full((1, 1, 4), IGNORED), 1.0, 0.5, PixelClasses())
    none.backward()
    assert none.item() == 0 and logits.grad is not None and not logits.grad.any()


@pytest.mark.parametrize("architecture", ["segformer", "mobilenet_v2", "mobilevit"])
def test_segmenters_of_transformers_are_told_by_their_logits(architecture: str) -> None:
    task, data = load_task(TASK), Data(train="unused")
    torch.manual_seed(0)
    network = network_from_config(tiny_segmenter_config(architecture), TASK)
    signature = task.signature(network, PLAIN, data)
    assert signature.outputs[0].shape[:2] == ("batch", 3) and signature.outputs[0].channels == 3
    model = Model(network.eval(), TASK, signature)
    masks = np.zeros((2, 32, 32), np.int16)
    rows = Rows(np.array([*masks, None], object)[:2], "mine", images=np.full((2, 32, 32, 1), 7, np.uint8))
    features = task.features(rows, PLAIN, data)
    assert logits_of(model, features).shape == (2, *signature.outputs[0].shape[1:])
    assert 0 <= metric_of(model, features, "pixel-accuracy") <= 1


def test_channels_and_heads_are_cut_by_the_loss_of_pixels() -> None:
    task, data = load_task(TASK), Data(train="unused")
    torch.manual_seed(0)
    random = np.random.default_rng(0)
    feeds = [{"pixel_values": random.standard_normal((2, 1, 32, 32)).astype(np.float32)}]
    labels = [random.integers(0, 3, (2, 32, 32)).astype(np.int16)]
    for architecture, options in (
        ("segformer", Prune(heads=0.5, importance="taylor")),
        ("mobilevit", Prune(channels=0.25, importance="taylor", round_to=4)),
    ):
        network = network_from_config(tiny_segmenter_config(architecture), TASK).eval()
        model = Model(network, TASK, task.signature(network, PLAIN, data))
        cut = apply_pruning(model, plan_pruning(model, options, feeds, labels))
        weights, left = (sum(value.numel() for value in one.network.parameters()) for one in (model, cut))
        with torch.no_grad():
            logits = cut.module(torch.from_numpy(feeds[0]["pixel_values"]))
        assert left < weights and tuple(logits.shape[1:]) == model.signature.outputs[0].shape[1:]


def test_a_network_that_is_no_segmenter_is_told() -> None:
    network = nn.Linear(1, 1)
    network.config = SimpleNamespace(num_labels=3)
    words = r"Linear gives logits of shape \[2, 3\], not \[batch, 3, height, width\]: it is no semantic segmenter"
    with pytest.raises(ModelError, match=words):
        PixelClasses().specs(network, {"logits": torch.zeros(2, 3)}, rows=2)


def test_a_student_may_have_a_grid_of_its_own() -> None:
    task, data = load_task(TASK), Data(train="unused")
    torch.manual_seed(0)
    network = network_from_config(tiny_segmenter_config(), TASK).eval()
    teacher = Model(network, TASK, task.signature(network, PLAIN, data))
    feeds = [{"pixel_values": np.zeros((2, 1, 32, 32), np.float32)}]
    config = tiny_segmenter_config("mobilevit").to_diff_dict()
    student = derive_student(teacher, Student(config=config), 0, feeds, [np.zeros((2, 32, 32), np.int16)])
    assert (teacher.signature.outputs[0].shape[2:], student.signature.outputs[0].shape[2:]) == ((8, 8), (1, 1))


def test_a_template_finds_the_columns_of_a_file(tmp_path: Path) -> None:
    path = rows_of(tmp_path)
    lines(path, [{"id": n, "label": "x", **json.loads(line)} for n, line in enumerate(path.read_text().splitlines())])
    (tmp_path / "recipe.yaml").write_text(recipe_template(TASK, str(path)))
    recipe = Recipe.load(tmp_path / "recipe.yaml")
    assert (recipe.data.columns.image, recipe.data.columns.label) == ("image", "mask")
    assert recipe.gates.metric_keys == ("mean-iou",)


def test_a_device_compares_pixels_spread_over_each_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgepress.compress.release.package.MOST_LABELS", 6)
    masks = np.array([[[1, 2], [3, IGNORED]], [[IGNORED, IGNORED], [IGNORED, 5]]], np.int16)
    assert few_pixels(masks).tolist() == masks.tolist()
    monkeypatch.setattr("edgepress.compress.release.package.MOST_LABELS", 4)
    assert few_pixels(masks).tolist() == [[[1, IGNORED], [3, IGNORED]], [[IGNORED, IGNORED], [IGNORED, 5]]]
