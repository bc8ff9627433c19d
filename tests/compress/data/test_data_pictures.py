"""Image files as people have them: depths, orientation tags, links, other tools' leftovers, damage."""

from __future__ import annotations

import io
import os
import shutil
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepress.compress.data.images import read_folder
from edgepress.compress.data.splits import data_digest
from edgepress.compress.recipe.recipe import Data
from edgepress.compress.tasks import load_task
from edgepress.targets.errors import DataError
from edgepress.targets.preprocess.pictures import decode_image
from tests.compress.rows import IMAGE, load

Image: Any = pytest.importorskip("PIL.Image", reason="needs Pillow")

GREY = np.array([[0, 100, 255], [7, 200, 31]], np.uint8)


def encoded(image: Any, kind: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def decoded(image: Any, kind: str = "PNG", **options: Any) -> np.ndarray:
    return decode_image(encoded(image, kind, **options), "a picture")


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_16_bit_grey_has_the_pixels_of_8_bit_grey(kind: str) -> None:
    deep = Image.fromarray(GREY.astype(np.uint16) * 257)
    assert decoded(deep, kind)[..., 0].tolist() == GREY.tolist()
    assert decoded(Image.fromarray(np.array([[128, 129, 65535]], np.uint16)), kind).ravel().tolist() == [0, 1, 255]


@pytest.mark.parametrize(
    ("mode", "words"),
    [("F", r"floating-point numbers \(mode F\)"), ("I", r"32-bit integers \(mode I\)")],
)
def test_pixels_without_a_known_white_are_refused_with_file_and_mode(tmp_path: Path, mode: str, words: str) -> None:
    Image.fromarray(GREY).convert(mode).save(tmp_path / "deep.tif")
    with pytest.raises(DataError, match=rf"deep.tif: its pixels are {words}, .* Save it with 8 or 16 bits"):
        decode_image(tmp_path / "deep.tif", str(tmp_path / "deep.tif"))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_an_orientation_tag_is_followed(kind: str) -> None:
    upright = np.zeros((16, 32, 3), np.uint8)
    upright[:8] = 240  # bright above
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90 degrees clockwise
    turned = decoded(Image.fromarray(np.rot90(upright)), kind, exif=exif)
    assert turned.shape == (16, 32, 3) and turned[:6].min() > 200 and turned[10:].max() < 50


def test_every_way_to_store_a_picture_gives_its_pixels() -> None:
    colour = Image.new("RGB", (4, 3), (200, 30, 60))
    grey = Image.fromarray(GREY)
    assert decoded(grey.convert("LA"))[..., 0].tolist() == GREY.tolist()
    assert decoded(grey.convert("1", dither=Image.Dither.NONE)).ravel().tolist() == [0, 0, 255, 0, 255, 0]
    for picture in (colour, colour.quantize(), colour.convert("RGBA"), colour.convert("CMYK")):
        kind = "TIFF" if picture.mode == "CMYK" else "PNG"
        assert np.abs(decoded(picture, kind).astype(int) - (200, 30, 60)).max() <= 3
    seen_through = colour.quantize()
    assert decoded(seen_through, transparency=bytes(range(256))).shape == (3, 4, 3)
    second = Image.new("RGB", (4, 3), (0, 0, 0))
    for kind in ("GIF", "WEBP", "TIFF", "PNG"):  # of several pictures it is the first one
        many = decoded(colour, kind, save_all=True, append_images=[second])
        assert np.abs(many.astype(int) - (200, 30, 60)).max() <= 12


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


PNG = b"\x89PNG\r\n\x1a\n"
WHOLE = encoded(Image.fromarray(np.arange(3072, dtype=np.uint8).reshape(32, 32, 3)))
BROKEN = {
    "a broken chunk": WHOLE[:40] + b"\xff" * 8 + WHOLE[48:],
    "a short header": PNG + chunk(b"IHDR", b"\0\0\0"),
    "no end": WHOLE[:-60],
    "a bomb": PNG + chunk(b"IHDR", struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)) + chunk(b"IDAT", b""),
    "nothing": b"",
    "text": b"GIF89a is how it begins",
    "a page of PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n",
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_damaged_picture_is_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.png").write_bytes(BROKEN[name])
    with pytest.raises(DataError) as told:
        decode_image(tmp_path / "a.png", "left/a.png")
    assert str(told.value).startswith("left/a.png is no readable image (")
    assert str(told.value).endswith("). Mend or remove it.") and "\n" not in str(told.value)


@pytest.mark.parametrize("kind", ["ICO", "PCX", "TGA", "SGI"])
def test_a_format_that_is_not_named_is_not_opened(kind: str) -> None:
    with pytest.raises(DataError, match="is no readable image"):
        decoded(Image.new("RGB", (16, 16)), kind)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name in ("left", "top"):
        (tmp_path / "photos" / name / "more").mkdir(parents=True)
        for number in range(6):
            place = tmp_path / "photos" / name / ("more" if number % 2 else "") / f"{number}.png"
            Image.fromarray(GREY + number).save(place)
    return tmp_path / "photos"


def test_what_editors_and_archives_leave_is_no_class_and_no_picture(photos: Path) -> None:
    for leftover in (".ipynb_checkpoints/0.png", "__MACOSX/left/0.png", "left/.thumbs/0.png", "left/._0.png"):
        (photos / leftover).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(photos / "left" / "0.png", photos / leftover)
    images, names = read_folder(photos)
    assert (len(images), sorted(set(names))) == (12, ["left", "top"])
    assert load(photos, IMAGE).label_names == ("left", "top")


def test_a_class_folder_without_a_picture_is_told(photos: Path) -> None:
    (photos / "right").mkdir()
    (photos / "right" / "0.heic").write_bytes(b"x")
    splits = load(photos, IMAGE)
    assert splits.label_names == ("left", "top")
    assert splits.notes[0] == f"{photos} has no pictures of a known kind in right: no class is made of it"


def test_a_class_may_be_called_train(photos: Path) -> None:
    (photos / "top").rename(photos / "train")
    shutil.rmtree(photos / "train" / "more")
    assert load(photos, IMAGE).label_names == ("left", "train")


def test_links_to_folders_are_followed_once(photos: Path, tmp_path: Path) -> None:
    shutil.move(photos / "top", tmp_path / "elsewhere")
    (photos / "top").symlink_to(tmp_path / "elsewhere")
    shutil.move(photos / "left" / "more", tmp_path / "more")
    (photos / "left" / "more").symlink_to(tmp_path / "more")
    (photos / "left" / "again").symlink_to(photos / "left")
    images, names = read_folder(photos)
    assert (len(images), names.count("left"), names.count("top")) == (12, 6, 6)


def test_file_and_folder_names_need_not_be_utf_8(photos: Path) -> None:
    try:
        (photos / "top").rename(photos / os.fsdecode(b"caf\xe9"))
        (photos / "left" / "0.png").rename(photos / "left" / os.fsdecode(b"\xff.png"))
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    splits = load(photos, IMAGE)
    assert splits.label_names == ("caf\ufffd", "left")
    assert len(data_digest(Data(train=str(photos)), load_task(IMAGE))) == 64


def save(path: Path, images: np.ndarray) -> np.ndarray:
    np.savez(path, x_train=images, y_train=np.arange(len(images)) % 2)
    read = load(path, IMAGE, test_fraction=0.1, validation_fraction=0.1).train.images
    assert isinstance(read, np.ndarray)
    return read


def test_arrays_of_every_depth_count_as_bytes_do(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (20, 3, 3, 1), dtype=np.uint8)
    images[:, 0, 0] = 255
    plain = save(tmp_path / "a.npz", images)
    assert plain.dtype == np.uint8
    for other in (images.astype(np.uint16) * 257, images / 255, images.astype(np.int64), images.astype(np.float16)):
        np.testing.assert_allclose(save(tmp_path / "b.npz", other), plain, atol=1e-3)


@pytest.mark.parametrize("images", [np.full((20, 2, 2), 70_000), np.full((20, 2, 2), -1, np.int16)])
def test_arrays_without_a_known_white_are_refused(tmp_path: Path, images: np.ndarray) -> None:
    with pytest.raises(DataError, match=r"x_train is of type int\d+ with values from -?\d+ to -?\d+, and nothing says"):
        save(tmp_path / "a.npz", images)
