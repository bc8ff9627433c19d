"""Rows prepared without torch and transformers are those that the model was trained on."""

from __future__ import annotations

import io
import json
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepress.compress.recipe.data import Data
from edgepress.compress.tasks.inputs.text import TextInputs
from edgepress.targets.errors import DataError, ModelError
from edgepress.targets.preprocess.sounds import PcmWindows, read_extractor, read_wav
from edgepress.targets.preprocess.tokens import Tokens
from edgepress.targets.text import whole_text
from tests.compress.tiny import tiny_tokenizer

LONGEST = 8
TEXTS = ["good", "the film is very very good and not bad at all", "", "a \ud83d plot"]
PAIRS = [("good", "bad"), ("the film is very good a the plot", "not bad"), ("a", "the the the the the the the the the")]


def saved(folder: Path, **settings: Any) -> Any:
    from transformers import AutoTokenizer

    tiny_tokenizer().save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))
    return AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("cut", ["right", "left"])
def test_tokens_are_those_of_transformers(tmp_path: Path, side: str, cut: str) -> None:
    tokenizer = saved(tmp_path, padding_side=side, truncation_side=cut)
    mine = Tokens(tmp_path, ["input_ids", "attention_mask", "token_type_ids"], 2, LONGEST)
    for rows, raw in (
        (TEXTS, (list(map(whole_text, TEXTS)), None)),
        (PAIRS, tuple(map(list, zip(*PAIRS, strict=True)))),
    ):
        wanted = TextInputs().apply(raw, tokenizer, Data(train="unused", max_length=LONGEST))  # type: ignore[arg-type]
        found = mine.apply(rows)  # type: ignore[arg-type]
        assert list(found) == list(wanted)
        for name in wanted:
            assert found[name].dtype == wanted[name].dtype
            np.testing.assert_array_equal(found[name], wanted[name], err_msg=name)


def test_the_model_gets_the_inputs_that_it_takes(tmp_path: Path) -> None:
    saved(tmp_path)
    assert list(Tokens(tmp_path, ["input_ids", "attention_mask"], 2, LONGEST).apply(["good"])) == [
        "input_ids",
        "attention_mask",
    ]


@pytest.mark.parametrize("row", [7, ("a", 7), ("a", "b", "c"), None, [], {"text": "a"}])
def test_what_is_no_text_is_told(tmp_path: Path, row: Any) -> None:
    saved(tmp_path)
    with pytest.raises(DataError, match=r"a text, or a pair of two, is asked for, got "):
        Tokens(tmp_path, ["input_ids"], 2, LONGEST).apply([row])


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("tokenizer.json", "{}", r"tokenizer.json is no tokenizer \("),
        ("tokenizer_config.json", "[", r"tokenizer_config.json is no JSON mapping"),
        ("tokenizer_config.json", "{}", "tokenizer_config.json names no padding token. Fetch the release again."),
        ("tokenizer_config.json", '{"pad_token": "[PAD]", "truncation_side": 7}', "cannot be used"),
    ],
)
def test_damaged_files_are_one_line(tmp_path: Path, name: str, content: str, words: str) -> None:
    saved(tmp_path)
    (tmp_path / name).write_text(content)
    with pytest.raises(ModelError, match=words) as told:
        Tokens(tmp_path, ["input_ids"], 2, LONGEST)
    assert "\n" not in str(told.value)


def wav(samples: np.ndarray, rate: int = 16_000, width: int = 2) -> bytes:
    """`samples` are `[frames, channels]`."""
    with wave.open(file := io.BytesIO(), "wb") as out:
        out.setnchannels(samples.shape[1])
        out.setsampwidth(width)
        out.setframerate(rate)
        out.writeframes(samples.astype("<i2").tobytes())
    return file.getvalue()


def test_a_wav_file_is_read_and_its_channels_averaged() -> None:
    stereo = np.array([[16384, 0], [-32768, -32768]])
    assert read_wav(wav(stereo), "a.wav", 16_000).tolist() == [0.25, -1.0]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"RIFF", r"a.wav is no readable .wav file \("),
        (wav(np.zeros((4, 1)), rate=8000), "a.wav has 16 bits, 8000 samples a second and 4 frames; 16 bits and 16000"),
        (wav(np.zeros((4, 1)), width=1), "a.wav has 8 bits"),
    ],
)
def test_another_recording_is_told(content: bytes, words: str) -> None:
    with pytest.raises(DataError, match=words):
        read_wav(content, "a.wav", 16_000)


def test_windows_are_those_of_the_extractor() -> None:
    from transformers import Wav2Vec2FeatureExtractor

    rows = list(np.random.default_rng(0).standard_normal((3, 400)).astype(np.float32))
    for normalise in (True, False):
        extractor = Wav2Vec2FeatureExtractor(do_normalize=normalise, return_attention_mask=False)
        mine = read_extractor(extractor.to_dict(), "p.json", "input_values", 400)
        wanted = extractor(rows, sampling_rate=16_000, return_tensors="np")["input_values"]
        np.testing.assert_allclose(mine.apply(rows)["input_values"], wanted, atol=1e-5)
    assert PcmWindows("x", 8, 3).apply([np.ones(1, np.float32)])["x"].tolist() == [[0.0, 1.0, 0.0]]


def test_spectrograms_are_refused_with_the_way_out() -> None:
    with pytest.raises(ModelError, match=r"p.json: 'ASTFeatureExtractor' makes spectrograms .* with Bundle.infer"):
        read_extractor({"feature_extractor_type": "ASTFeatureExtractor"}, "p.json", "x", 400)
    settings = json.loads('{"feature_extractor_type": "Wav2Vec2FeatureExtractor"}')
    with pytest.raises(ModelError, match=r"p.json cannot be used \(.*sampling_rate.*\). Fetch the release again"):
        read_extractor(settings, "p.json", "x", 400)
