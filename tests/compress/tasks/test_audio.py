"""Recordings: what is read of them, what is refused, and a spectrogram that is part of the network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from edgepress.compress.cli.init import recipe_template
from edgepress.compress.data import clips
from edgepress.compress.data.clips import Clips, decode_clip, windowed
from edgepress.compress.data.contents import split_content
from edgepress.compress.data.rows import Rows
from edgepress.compress.data.splits import load_splits
from edgepress.compress.model.hub import auto_config, network_class
from edgepress.compress.model.model import Model
from edgepress.compress.recipe.data import Columns, Data
from edgepress.compress.recipe.recipe import Recipe
from edgepress.compress.tasks import load_task
from edgepress.targets import load
from edgepress.targets.errors import DataError, ModelError

TASK = load_task("audio-classification")
RATE = 16_000
TINY = {"model_type": "keyword-cnn", "channels": [8, 8], "strides": [2, 2], "dropout": 0.0}


def tone(hertz: float, seconds: float = 1.0, rate: int = RATE) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def class_folders(root: Path, rows: int = 6) -> Path:
    """Two classes of tones, in all three formats, one of them at 8 kHz and in stereo."""
    for name, hertz in (("low", 300.0), ("high", 2500.0)):
        (root / name).mkdir(parents=True)
        for row in range(rows):
            kind = ("wav", "flac", "ogg")[row % 3]
            rate = 8000 if row == 0 else RATE
            sound = tone(hertz + 20 * row, 0.2, rate)
            soundfile.write(root / name / f"{row}.{kind}", np.stack([sound, sound], 1) if row == 0 else sound, rate)
    (root / "background_noise").mkdir()
    soundfile.write(root / "background_noise" / "hum.wav", tone(50), RATE)
    return root


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return class_folders(tmp_path_factory.mktemp("sounds"))


def network(**options: Any) -> Any:
    torch.manual_seed(0)
    fields: dict[str, Any] = {**TINY, "num_labels": 2, **options}
    config = auto_config().for_model(fields.pop("model_type"), **fields)
    return network_class(TASK.network).from_config(config).eval()


def test_folders_give_windows_at_one_rate_and_background_noise_is_no_class(folder: Path) -> None:
    data = Data(train=str(folder), window_seconds=0.25, validation_fraction=0.2)
    splits = load_splits(data, TASK, seed=0)
    processor = TASK.fit_processor(TASK.begin_processor(TINY), splits.train, data)
    features = TASK.features(splits.train, processor, data)
    assert splits.label_names == ("high", "low") and splits.train.content == "recordings"
    values = features.batch([0, 1])["input_values"]
    assert values.shape == (2, 4000) and values.dtype == np.float32
    assert np.abs(values[:, :300]).max() == 0 and 0.2 < np.abs(values).max() < 0.4  # 0.2 s in the middle of 0.25
    assert split_content(data, "train", TASK) == split_content(data, "train", TASK)


def test_a_recording_is_resampled_to_what_it_would_have_been() -> None:
    found = windowed((tone(300, 1.0, 8000), 8000), RATE, RATE)
    assert found.shape == (RATE,) and np.abs(found - tone(300))[1000:-1000].max() < 1e-3


def test_tables_name_recordings_by_paths(folder: Path, tmp_path: Path) -> None:
    rows = [{"wav": str(path), "label": path.parent.name} for path in sorted(folder.glob("*/*.wav"))]
    rows = [row for row in rows if row["label"] != "background_noise"] * 5
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(recipe_template("audio-classification", str(tmp_path / "a.jsonl")))
    assert Recipe.load(recipe).data.columns.audio == "wav"
    data = Data(train=str(tmp_path / "a.jsonl"), columns=Columns(audio="wav"))
    assert load_splits(data, TASK, seed=0).train.clips is not None


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.write_bytes(b"RIFF" + b"\0" * 60), "is no readable recording"),
        (lambda path: soundfile.write(path, np.zeros(0, np.float32), RATE), "is empty: it has no samples"),
        (lambda path: soundfile.write(path, tone(300), RATE, format="AIFF"), "is of the format AIFF, and wav, flac"),
        (lambda path: soundfile.write(path, np.full(9, np.nan, np.float32), RATE, "FLOAT"), "has NaN or infinite"),
        (lambda path: soundfile.write(path, tone(300), 500), "has 500 samples a second, not 1000 to 768000"),
        (lambda path: None, "is missing. Paths are relative"),
    ],
)
def test_a_bad_recording_is_told_in_one_line(tmp_path: Path, make: Any, message: str) -> None:
    make(path := tmp_path / "a.wav")
    with pytest.raises(DataError, match=message) as caught:
        decode_clip(path, str(path))
    assert "\n" not in str(caught.value)


def test_a_bomb_is_refused_before_it_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    soundfile.write(path := tmp_path / "a.flac", np.zeros((40_000, 2), np.float32), RATE)
    assert path.stat().st_size < 1000  # of 320 kB
    monkeypatch.setattr(clips, "MOST_SAMPLES", 79_999)
    with pytest.raises(DataError, match=r"has 40000 samples in 2 channels, and at most 79999 in all .* Cut it"):
        decode_clip(path, "a.flac")


def test_a_cut_off_recording_is_told(tmp_path: Path) -> None:
    soundfile.write(path := tmp_path / "a.flac", np.random.default_rng(0).normal(size=RATE) * 0.1, RATE)
    path.write_bytes(path.read_bytes()[:9000])
    with pytest.raises(DataError, match=r"a.flac (is cut off|is no readable recording)"):
        decode_clip(path, "a.flac")


@pytest.mark.parametrize(("window", "fft", "high"), [(400, 512, 8000.0), (320, 400, 5000.0)])
def test_the_spectrogram_in_the_graph_is_that_of_transformers(window: int, fft: int, high: float) -> None:
    from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

    sound = (np.random.default_rng(0).normal(size=RATE) * 0.1).astype(np.float32)
    filters = mel_filter_bank(fft // 2 + 1, 32, 20.0, high, RATE, mel_scale="htk")
    hann = window_function(window, "hann", periodic=True)
    want = spectrogram(sound, hann, window, 320, fft, power=2.0, center=False, mel_filters=filters, mel_floor=0.0)
    ours = network(window=window, fft=fft, high=high, mels=32).log_mel(torch.from_numpy(sound)[None])[0, 0]
    np.testing.assert_allclose(ours.detach().numpy(), np.log(want + 1e-5), atol=2e-5)


def test_the_network_is_saved_and_loaded_as_transformers_does(tmp_path: Path) -> None:
    first, sound = network(), torch.from_numpy(tone(500))[None]
    first.save_pretrained(tmp_path)
    again = network_class(TASK.network).from_pretrained(tmp_path).eval()
    assert torch.equal(first(sound).logits, again(sound).logits)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": [8], "strides": [2, 2]}, "channels and strides are of the same length"),
        ({"window": 600}, "1 <= window <= fft"),
        ({"high": 9000.0}, "high <= half of sampling_rate"),
    ],
)
def test_a_configuration_that_cannot_be_is_told(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        network(**options)


AST = {"model_type": "audio-spectrogram-transformer", "hidden_size": 16, "num_hidden_layers": 1, "max_length": 98,
       "num_attention_heads": 2, "intermediate_size": 16, "num_mel_bins": 32}  # fmt: skip
WAV2VEC2 = {"model_type": "wav2vec2", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
            "intermediate_size": 16, "conv_dim": [8, 8], "conv_kernel": [10, 8], "conv_stride": [5, 4],
            "num_feat_extract_layers": 2, "num_conv_pos_embedding_groups": 2, "classifier_proj_size": 8}  # fmt: skip
WHISPER = {"model_type": "whisper", "d_model": 16, "encoder_layers": 1, "encoder_attention_heads": 2,
           "encoder_ffn_dim": 16, "decoder_layers": 1, "decoder_attention_heads": 2, "decoder_ffn_dim": 16,
           "max_source_positions": 50, "classifier_proj_size": 8}  # fmt: skip


@pytest.mark.parametrize(
    ("config", "shape"), [(AST, ("batch", 98, 32)), (WAV2VEC2, ("batch", RATE)), (WHISPER, ("batch", 80, 100))]
)
def test_transformers_audio_classifiers_take_what_their_extractor_gives(
    folder: Path, tmp_path: Path, config: dict[str, Any], shape: tuple[Any, ...]
) -> None:
    data = Data(train=str(folder))
    train = load_splits(data, TASK, seed=0).train
    processor = TASK.fit_processor(TASK.begin_processor(config), train, data)
    fields = {key: value for key, value in config.items() if key != "model_type"}
    model = network_class(TASK.network).from_config(auto_config().for_model(config["model_type"], **fields))
    signature = TASK.signature(model, processor, data)
    assert signature.inputs[0].shape == shape and signature.outputs[0].shape == ("batch", 2)
    TASK.save_processor(processor, tmp_path)
    again = TASK.fit_processor(TASK.load_processor(str(tmp_path)), train, data)
    assert TASK.features(train, again, data).digest == TASK.features(train, processor, data).digest


def test_an_architecture_that_reads_no_sound_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="of 'resnet' it is not known how it reads sound; known are keyword-cnn"):
        TASK.begin_processor({"model_type": "resnet"})
    with pytest.raises(ModelError, match=r"has no preprocessor_config.json: nothing says what becomes of samples"):
        TASK.load_processor(str(tmp_path))


def signature_of(model: Any) -> Any:
    data = Data(train="unused", window_seconds=0.25)
    silent = Rows(np.zeros(1, np.int64), "rows", clips=Clips([], decode_clip, bytes))  # nothing is fitted to rows
    processor = TASK.fit_processor(TASK.begin_processor(TINY), silent, data)
    return TASK.signature(model, processor, data)


def test_the_spectrogram_stays_float_in_every_int8_graph(tmp_path: Path) -> None:
    import onnx

    made = Model(network(), TASK.name, signature_of(network()))
    sounds = [{"input_values": np.stack([tone(hertz, 0.25), tone(3 * hertz, 0.25)])} for hertz in (200.0, 700.0)]
    for target, name in (("onnxruntime-cpu", "int8-static"), ("tflite-mobile", "int8-static"), ("xla-tpu", "int8")):
        chosen = next(each for each in load(target).candidates(made, "int8") if each.name == name)
        artifact = load(target).export(made, sounds, chosen, tmp_path / target)
        opened = load(target).open if target != "xla-tpu" else load(target).open_stand_in
        with opened(artifact, tmp_path / target) as session, torch.no_grad():
            answers = session.infer(sounds[0])["logits"]
            want = made.network(torch.from_numpy(sounds[0]["input_values"])).logits.numpy()
        assert np.abs(answers - want).max() < 0.05 * np.abs(want).max(), target
    graph = onnx.load(tmp_path / "onnxruntime-cpu" / "model.onnx").graph
    floats = {each.name for each in graph.initializer if each.data_type == onnx.TensorProto.FLOAT}
    assert sum("fixed_products" in name for name in floats) == 3


def test_full_int8_is_not_offered_where_pcm_would_be_rounded_before_the_spectrogram() -> None:
    made = Model(network(), TASK.name, signature_of(network()))
    names = [each.name for each in load("tflite-mobile").candidates(made, "int8")]
    assert names == ["int8-static", "int8-dynamic"]
