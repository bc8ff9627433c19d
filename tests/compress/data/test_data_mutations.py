"""Damaged data files: whatever a byte becomes, the answer is one line or the rows. Seeded; EDGEPRESS_SOAK=5 makes five
times as many mutations."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from edgepress.compress.data.splits import data_digest, digest_of_test, load_splits
from edgepress.compress.recipe.recipe import Data
from edgepress.compress.tasks import load_task
from edgepress.targets.errors import EdgepressError
from tests.compress.rows import IMAGE, TEXT
from tests.compress.tiny import tiny_tokenizer

Image: Any = pytest.importorskip("PIL.Image", reason="needs Pillow")
MUTATIONS = 300 * int(os.environ.get("EDGEPRESS_SOAK", "1"))
ROWS = [{"text": f"a {'good' if number % 2 else 'bad'} film, {number}", "label": number % 2} for number in range(30)]
PICTURES = [np.random.default_rng(number).integers(0, 256, (9, 8, 3), dtype=np.uint8) for number in range(12)]
# What breaks readers: ends and beginnings of things, other types, numbers too large, other encodings.
PIECES = [
    *(b'"', b",", b"\t", b"\n", b"\r", b"\0", b"{", b"}", b"[", b"]", b"null", b"NaN", b"-1", b"1e999", b"9" * 5000),
    *(b"\\ud83d", b"\xff\xfe", b"\xef\xbb\xbf", b"\xed\xa0\x80", b'"text":', b"\xff" * 4, b"\0" * 8, b"[" * 5000),
    *(b"PK\x03\x04", b"IHDR", b"PAR1"),
]


def csv_of(delimiter: str) -> bytes:
    return "\n".join([f"text{delimiter}label", *(f'"{row["text"]}"{delimiter}{row["label"]}' for row in ROWS)]).encode()


def json_lines() -> bytes:
    return "\n".join(map(json.dumps, ROWS)).encode()


def parquet(**options: Any) -> bytes:
    sink = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), sink, **options)
    return sink.getvalue()


def parquet_of_pictures() -> bytes:
    rows = [{"image": {"bytes": picture("PNG", number), "path": None}, "label": number % 2} for number in range(12)]
    sink = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), sink)
    return sink.getvalue()


def npz(save: Callable[..., None]) -> bytes:
    sink = io.BytesIO()
    save(sink, x_train=np.stack(PICTURES), y_train=np.arange(12) % 2, x_test=np.stack(PICTURES[:3]), y_test=[0, 1, 0])
    return sink.getvalue()


def picture(kind: str, number: int, **options: Any) -> bytes:
    sink = io.BytesIO()
    image = Image.fromarray(PICTURES[number])
    exif = Image.Exif()
    exif[0x0112] = 1 + number % 8
    image = image.quantize() if kind == "GIF" else image
    image.save(sink, kind, exif=exif, **options)
    return sink.getvalue()


TABLES: dict[str, bytes] = {
    "a.csv": csv_of(","),
    "a.tsv": csv_of("\t"),
    "a.jsonl": json_lines(),
    "a.json": json.dumps(ROWS, indent=1).encode(),
    "a.jsonl.gz": gzip.compress(json_lines(), mtime=0),
    "plain.parquet": parquet(compression="NONE", use_dictionary=False),
    "a.parquet": parquet(),
}
IMAGES: dict[str, bytes] = {
    "a.npz": npz(np.savez),
    "compressed.npz": npz(np.savez_compressed),
    "pictures.parquet": parquet_of_pictures(),
}
PICTURE_FILES: dict[str, bytes] = {
    kind: picture(kind, 1, **options)
    for kind, options in {"PNG": {}, "JPEG": {}, "TIFF": {}, "GIF": {}, "WEBP": {"lossless": True}, "BMP": {}}.items()
}
KINDS = [*TABLES, *IMAGES, *PICTURE_FILES]


def mutated(content: bytes, generator: np.random.Generator) -> bytes:
    """One to four changes: bits, pieces put in, cut out, doubled, swapped, or the end gone."""
    data = bytearray(content)
    for _ in range(int(generator.integers(1, 5))):
        start = int(generator.integers(0, len(data) + 1))
        end = min(len(data), start + int(2 ** generator.uniform(0, 7)))
        match int(generator.integers(0, 6)):
            case 0:
                del data[start:end]
            case 1:
                data[start:start] = PIECES[int(generator.integers(0, len(PIECES)))]
            case 2:
                data[start:end] = generator.integers(0, 256, end - start, dtype=np.uint8).tobytes()
            case 3:
                data[start:start] = data[start:end]
            case 4:
                data = data[: start if generator.random() < 0.3 else None]
            case _:
                if start < len(data):
                    data[start] ^= 1 << int(generator.integers(0, 8))
    return bytes(data)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return tiny_tokenizer()


def read_all(path: Path, task: str, tokenizer: Any) -> None:
    """Everything that a run does with rows before it trains."""
    # Pictures that are turned by their tags are of two sizes.
    data = Data(train=str(path), validation_fraction=0.2, max_length=16, image_size=8)
    of_task = load_task(task)
    data_digest(data, of_task)
    digest_of_test(data, of_task)
    splits = load_splits(data, of_task, seed=0)
    processor = of_task.fit_processor(tokenizer if task == TEXT else None, splits.train, data)
    for rows in (splits.train, splits.validation, splits.test()):
        features = of_task.features(rows, processor, data)
        features.batch(np.arange(len(features)))


def place(folder: Path, kind: str, content: bytes) -> tuple[Path, str]:
    """The damaged file where it belongs, and the task of it; a picture lies in a class folder among whole ones."""
    if kind in TABLES:
        (folder / kind).write_bytes(content)
        return folder / kind, TEXT
    if kind in IMAGES:
        (folder / kind).write_bytes(content)
        return folder / kind, IMAGE
    for number, suffix in enumerate(("png", "jpg") * 6):
        path = folder / "photos" / "ab"[number % 2] / f"{number}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if number == 3 else picture("PNG", number))
    return folder / "photos", IMAGE


@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_file_is_read(tmp_path: Path, kind: str, tokenizer: Any) -> None:
    content = (TABLES | IMAGES | PICTURE_FILES)[kind]
    read_all(*place(tmp_path, kind, content), tokenizer)


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_file_gives_its_rows_or_one_line(tmp_path: Path, kind: str, tokenizer: Any) -> None:
    whole = (TABLES | IMAGES | PICTURE_FILES)[kind]
    faults, refused = [], 0
    for number in range(-(-MUTATIONS // len(KINDS))):
        content = mutated(whole, np.random.default_rng([KINDS.index(kind), number]))
        folder = tmp_path / str(number)
        folder.mkdir()
        try:
            read_all(*place(folder, kind, content), tokenizer)
        except EdgepressError as fault:
            refused += 1
            if "\n" in str(fault) or len(str(fault)) > 1000:
                faults.append(f"mutation {number}: not one line: {fault}")
        except Exception:
            faults.append(f"mutation {number}: {traceback.format_exc(limit=-3)}")
        shutil.rmtree(folder)
    assert faults == []
    assert refused > 0, "these mutations damage nothing"
