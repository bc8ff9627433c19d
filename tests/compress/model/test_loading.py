"""Loading teachers: what is taken, and what is refused in which words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from edgepress.compress.model.loading import label_names, load_network
from edgepress.targets.errors import ModelError
from tests.compress.tiny import tiny_text_teacher

TEXT = "text-classification"


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    return tiny_text_teacher(tmp_path / "teacher")


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
    (
        pickle_weights,
        r"pickled weights \(pytorch_model.bin\), .* refused. .* python -c \"from tran",
    ),
    (cut_weights, "the weights are damaged"),
    (
        lambda folder: spoil_config(folder, auto_map={"AutoModel": "x.Y"}),
        "code of its own .* teacher.trust_remote",
    ),
    (lambda folder: spoil_config(folder, model_type="resnet"), "is no text-classification model"),
    (lambda folder: spoil_config(folder, model_type="nonesuch"), "is no text-classification model"),
    (lambda folder: spoil_config(folder, num_hidden_layers=3), r"lacks 16 weights .* first 'bert.encoder.layer.2"),
    (lambda folder: spoil_config(folder, num_hidden_layers=1), "config.json builds only 1 such layers"),
    (lambda folder: spoil_config(folder, intermediate_size=64), "do not fit config.json|lacks 6 weights"),
    (
        lambda folder: spoil_config(folder, intermediate_size=64),
        "do not fit config.json: some have other sizes than it gives them; check its sizes, and that num_labels counts",
    ),
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
    with pytest.raises(ModelError, match=r"knows 2 classes and the data has 3. Name the model's classes in"):
        load_network(str(teacher), TEXT, trust_remote_code=False, num_labels=3)
    network: Any = load_network(str(teacher), TEXT, trust_remote_code=False, num_labels=3, fresh_head=True)
    assert network.classifier.out_features == 3
    spoil_config(teacher, num_hidden_layers=3)
    with pytest.raises(ModelError, match=r"lacks 16 weights"):
        load_network(str(teacher), TEXT, trust_remote_code=False, num_labels=3, fresh_head=True)


def test_label_names_are_the_models_and_no_code_is_run_for_them(teacher: Path) -> None:
    spoil_config(teacher, id2label={"0": "neg", "1": "pos"})
    assert label_names(str(teacher), TEXT, trust_remote_code=False) == ("neg", "pos")
    spoil_config(teacher, auto_map={"AutoConfig": "x.Y"})
    with pytest.raises(ModelError, match=r"wants to run code of its own"):
        label_names(str(teacher), TEXT, trust_remote_code=False)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"id2label": {"1": "neg", "2": "pos"}}, r"counts 1, 2, and the classes of a model count from 0 to 1. Mend"),
        ({"id2label": {"0": "neg", "2": "pos"}}, r"counts 0, 2, and the classes of a model count from 0 to 1"),
        ({"id2label": {"neg": 0, "pos": 1}}, "config.json cannot be used: ValueError: invalid literal"),
        ({"id2label": ["neg", "pos"]}, "config.json cannot be used"),
        ({"id2label": {"0": "score"}}, "has one output and tells no classes apart: it is a regression model"),
        ({"problem_type": "regression"}, "it is a regression model. Give a classifier as teacher"),
        ({"num_labels": 1}, "it is a regression model"),
    ],
)
def test_a_config_whose_classes_cannot_be_counted_is_refused_in_one_line(
    teacher: Path, changes: dict[str, Any], words: str
) -> None:
    spoil_config(teacher, **changes)
    with pytest.raises(ModelError, match=words) as told:
        label_names(str(teacher), TEXT, trust_remote_code=False)
    assert "\n" not in str(told.value)


def test_what_is_neither_folder_nor_hub_id_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match=r"is no folder \(paths are relative to .*\) and no hub id"):
        load_network(str(tmp_path / "none"), TEXT, trust_remote_code=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelError, match=r"no/where is no folder here, and as a hub id .*`hf download no/where`"):
        load_network("no/where", TEXT, trust_remote_code=False)
