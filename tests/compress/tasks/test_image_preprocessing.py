"""Pixels: computed by hand, and as other tools compute them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepress.compress.data.splits import Rows
from edgepress.compress.recipe.recipe import Data
from edgepress.compress.tasks import load_task
from edgepress.compress.tasks.inputs.pixel_fit import fit
from edgepress.targets.errors import DataError, ModelError
from edgepress.targets.preprocess.image_config import read_config, read_timm
from edgepress.targets.preprocess.pixels import Preprocessing
from tests.compress.tiny import tiny_image_teacher

IMAGE = "image-classification"


def image_rows(images: np.ndarray) -> Rows:
    return Rows(np.zeros(len(images), np.int64), "rows", images=images)


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
    with pytest.raises(DataError, match=r"all of one colour"):
        fit(Preprocessing(), np.ones((4, 2, 2, 1), np.uint8), None)


def test_a_channel_that_is_always_the_same_is_left_at_0() -> None:
    images = np.random.default_rng(0).integers(0, 256, (50, 4, 4, 3), dtype=np.uint8)
    images[..., 2] = 9
    pixels = fit(Preprocessing(), images, None).apply(images, np.arange(50))
    assert np.abs(pixels[:, 2]).max() < 1e-4
    np.testing.assert_allclose(pixels[:, :2].std((0, 2, 3)), 1, atol=1e-4)


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
        ({"size": [16, 12]}, (16, 12), None),
        ({"size": {"shortest_edge": 20}, "do_center_crop": True, "crop_size": [16, 12]}, 20, (16, 12)),
        ({"size": [20, 20], "do_center_crop": True, "crop_size": {"height": 16, "width": 12}}, (20, 20), (16, 12)),
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
        ({"size": [8]}, r"p.json: size \[8\] is not supported; height and width, or shortest_edge, are"),
        ({"size": [8, None]}, r"size \[8, None\] is not supported"),
        ({"size": {"height": 8}}, r"size {'height': 8} is not supported"),
        ({"size": "8x8"}, r"size '8x8' is not supported"),
        ({"size": 8, "do_center_crop": True, "crop_size": {"width": 8}}, r"crop_size {'width': 8} is not supported"),
        ({"size": [0, 8]}, r"sizes must be 1 or more, got size \(0, 8\)"),
        ({"size": 8, "rescale_factor": None}, "p.json holds a setting that cannot be used"),
        ({"size": 8, "image_mean": ["x"] * 3}, "p.json holds a setting that cannot be used"),
        ({"size": 8, "image_mean": [0.5, 0.5]}, "2 image_mean and 3 image_std for 3 channels. Give one each"),
        ({"size": 8, "image_std": [1, 0, 1]}, "image_std not 0. Mend them"),
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
    with pytest.raises(ModelError, match=r"interpolation 'random' is not supported"):
        read_timm(settings | {"interpolation": "random"}, "config.json")
    with pytest.raises(ModelError, match=r"config.json holds a setting that cannot be used"):
        read_timm(settings | {"input_size": 224}, "config.json")


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
