"""A release opened by who received it: three lines, no torch, no transformers, and the answers that were measured."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgepress import targets
from edgepress.compress.tasks.inputs.text import TextInputs
from edgepress.targets import open_bundle
from edgepress.targets.errors import ArtifactError, DataError, TargetUnavailable
from edgepress.targets.records import Artifact
from tests.end_to_end.recipes import environment

pytestmark = pytest.mark.slow

TEXTS = ["the film is good", "a bad plot", "not a very good actor and the scene is poor"]
ALONE = """
import json, sys
sys.modules["torch"] = sys.modules["transformers"] = None
from edgepress.targets import open_bundle
bundle = open_bundle(sys.argv[1])
print(json.dumps([answer.scores for answer in bundle.predict(json.loads(sys.argv[2]))]))
"""


@pytest.fixture(scope="module")
def release(text_run: Path) -> Path:
    return text_run / "runs/text/release"


def alone(place: Path, rows: object) -> list[dict[str, float]]:
    done = subprocess.run(
        [sys.executable, "-c", ALONE, str(place), json.dumps(rows)],
        env=environment(), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def test_texts_are_answered_without_torch_and_transformers(release: Path) -> None:
    from transformers import AutoTokenizer

    folder = release / "onnxruntime-cpu"
    found = alone(release, TEXTS)
    artifact = Artifact.read(folder / Artifact.FILE_NAME)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with targets.open_numbers(artifact, folder) as session:
        for text, scores in zip(TEXTS, found, strict=True):
            from edgepress.compress.recipe.data import Data

            feeds = TextInputs().apply(([text], None), tokenizer, Data(train="unused", max_length=32))
            logits = session.infer(artifact.signature.select(feeds))["logits"][0].astype(np.float64)
            shares = np.exp(logits) / np.exp(logits).sum()
            assert list(scores) == ["LABEL_0", "LABEL_1"]
            assert list(scores.values()) == pytest.approx(shares.tolist())


def test_pictures_are_answered_as_pixels_paths_and_bytes(image_run: Path, tmp_path: Path) -> None:
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 255, (20, 24, 1), np.uint8)
    Image.fromarray(pixels[..., 0]).save(tmp_path / "a.png")
    with open_bundle(image_run / "runs/image/release") as bundle:
        answers = bundle.predict([pixels, tmp_path / "a.png", (tmp_path / "a.png").read_bytes(), pixels[..., 0]])
        assert bundle.labels == ("0", "1") and len({tuple(answer.scores.values()) for answer in answers}) == 1
        with pytest.raises(DataError, match=r"pixels uint8 .* is asked for, got float64 \[2, 2, 1\]"):
            bundle(np.zeros((2, 2)))
        with pytest.raises(DataError, match=r"gone.png is missing"):
            bundle(tmp_path / "gone.png")


def test_batches_and_calls_that_wait_give_the_same_answers(release: Path) -> None:
    bundle = open_bundle(release)
    one_by_one = bundle.predict(TEXTS)
    assert bundle(TEXTS[0]) == one_by_one[0]

    async def together() -> list[object]:
        return await asyncio.gather(*(bundle.predict_async([text]) for text in TEXTS * 4))  # type: ignore[arg-type]

    assert [answers[0] for answers in asyncio.run(together())] == one_by_one * 4  # type: ignore[index]
    for answer, alone in zip(bundle.predict(TEXTS, batch=3), one_by_one, strict=True):
        assert answer.scores == pytest.approx(alone.scores, abs=0.05)  # of int8 with scales of the whole batch
    assert bundle.predict([]) == []
    with pytest.raises(DataError, match=r"batch is 65, and this model takes 1 to 64 rows"):
        bundle.predict(TEXTS, batch=65)


def test_arrays_can_be_fed_too(release: Path) -> None:
    bundle = open_bundle(release / "onnxruntime-cpu")
    feeds = {name: np.ones((2, 5), np.int64) for name in ("input_ids", "attention_mask", "token_type_ids")}
    assert bundle.infer(feeds)["logits"].shape == (2, 2)


@pytest.fixture
def copy(release: Path, tmp_path: Path) -> Path:
    return shutil.copytree(release, tmp_path / "release")


def test_a_release_that_was_touched_is_not_opened(copy: Path) -> None:
    (copy / "onnxruntime-cpu/numpy.py").write_text("raise SystemExit")
    with pytest.raises(ArtifactError, match=r"numpy.py is not of this release: SHA256SUMS does not name it"):
        open_bundle(copy)
    with pytest.raises(ArtifactError, match=r"holds 'numpy.py', which is not of the artifact. It was not opened"):
        open_bundle(copy / "onnxruntime-cpu")
    (copy / "onnxruntime-cpu/numpy.py").unlink()
    tokenizer = copy / "onnxruntime-cpu/tokenizer.json"
    tokenizer.write_text(tokenizer.read_text().replace("good", "baad"))
    with pytest.raises(ArtifactError, match=r"tokenizer.json is not the released file: its sha256 is"):
        open_bundle(copy)
    with pytest.raises(ArtifactError, match=r"tokenizer.json is damaged: its sha256 is not the recorded one"):
        open_bundle(copy / "onnxruntime-cpu")


def test_what_is_not_there_is_told(release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ArtifactError, match=r"holds no artifact. Give a release, or the folder of one target in it"):
        open_bundle(tmp_path)
    with pytest.raises(ArtifactError, match=r"has no artifact of xla-tpu; it has onnxruntime-cpu"):
        open_bundle(release, target="xla-tpu")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(TargetUnavailable, match=r"no artifact of this release runs here \(onnxruntime-cpu: .*stand_in"):
        open_bundle(release)
