"""Weights that fit another shape: which tensor is made of which, what is sliced and how, and how it is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from edgepress.compress.cli.app import app
from edgepress.compress.methods.student import derive_student
from edgepress.compress.model.model import Model
from edgepress.compress.network.adapt import Fit, adapt, fits
from edgepress.compress.network.probing import probe_logits
from edgepress.compress.recipe.recipe import Student
from edgepress.targets.errors import ModelError
from tests.compress.tiny import tiny_text_teacher
from tests.compress.tiny_models import feeds_of, labels_of, tiny

WIDE = {"num_hidden_layers": 4, "hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4}


def config_of(model: Model, **changes: Any) -> dict[str, Any]:
    fields: dict[str, Any] = model.network.config.to_dict()  # type: ignore[operator,union-attr]
    names = ("model_type", "vocab_size", "max_position_embeddings", "hidden_size", "intermediate_size")
    known = {name: fields[name] for name in (*names, "num_hidden_layers", "num_attention_heads") if name in fields}
    return known | changes


def student_of(teacher: Model, tell: Any = lambda _: None, **options: Any) -> Model:
    feeds = feeds_of(teacher)
    return derive_student(teacher, Student(**options), 0, feeds, labels_of(feeds), tell)


def test_a_network_of_the_same_shape_computes_the_same() -> None:
    teacher, feeds = tiny("bert"), feeds_of(tiny("bert"))[0]
    student = student_of(teacher, config=config_of(teacher), init="adapt")
    assert torch.equal(probe_logits(student.network, feeds), probe_logits(teacher.network, feeds))
    assert student.lineage[-1].summary.endswith("copied from the teacher")


def test_a_narrower_and_shallower_one_holds_the_first_units_of_the_layers_that_end_each_span() -> None:
    teacher = tiny("bert", **WIDE)
    heard: list[tuple[Fit, ...]] = []
    config = config_of(teacher, num_hidden_layers=2, hidden_size=16, intermediate_size=24, num_attention_heads=2)
    student = student_of(teacher, heard.append, config=config, init="adapt")
    own, wide = student.network.state_dict(), teacher.network.state_dict()
    for mine, theirs in ((0, 1), (1, 3)):
        name = "bert.encoder.layer.{}.output.dense.weight"
        assert torch.equal(own[name.format(mine)], wide[name.format(theirs)][:16, :24])
    assert torch.equal(own["classifier.bias"], wide["classifier.bias"])
    (found,) = heard
    told = {fit.name: (fit.how, fit.described) for fit in found}
    assert told["bert.encoder.layer.1.output.dense.weight"] == (
        "sliced", "32 x 64 -> 16 x 24 of bert.encoder.layer.3.output.dense.weight"
    )  # fmt: skip
    assert told["classifier.bias"] == ("copied", "2 of classifier.bias")
    assert {fit.how for fit in found} == {"sliced", "copied"}


def test_what_is_wider_than_its_source_keeps_its_random_rest() -> None:
    teacher = tiny("bert", hidden_size=16, intermediate_size=16)
    config = config_of(teacher, intermediate_size=24)
    random = student_of(teacher, config=config).network.state_dict()
    own = student_of(teacher, config=config, init="adapt").network.state_dict()
    name = "bert.encoder.layer.0.intermediate.dense.weight"
    assert torch.equal(own[name][:16], teacher.network.state_dict()[name])
    assert torch.equal(own[name][16:], random[name][16:])


def test_another_kind_of_the_same_build_is_filled_whatever_its_prefix() -> None:
    teacher = tiny("bert")
    config = config_of(teacher, model_type="electra", embedding_size=teacher.network.config.hidden_size)  # type: ignore[union-attr]
    heard: list[tuple[Fit, ...]] = []
    student_of(teacher, heard.append, config=config, init="adapt")
    how = {fit.name: fit.how for fit in heard[0]}
    assert how["electra.encoder.layer.1.attention.self.query.weight"] == "copied"
    assert how["classifier.dense.weight"] == "random"  # BERT's head has no such layer


def test_kernels_are_cut_from_their_middle_and_statistics_go_along() -> None:
    source, narrow = (
        torch.nn.Sequential(torch.nn.Conv2d(1, 4, 5), torch.nn.BatchNorm2d(4)),
        torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2)),
    )
    source[1].running_var.copy_(torch.tensor([2.0, 3.0, 4.0, 5.0]))  # type: ignore[operator,union-attr]
    adapt(narrow, source)
    assert torch.equal(narrow[0].weight, source[0].weight[:2, :, 1:4, 1:4])
    assert narrow[1].running_var.tolist() == [2.0, 3.0]  # type: ignore[union-attr]
    assert [fit.how for fit in fits(narrow, source)] == ["sliced"] * 6


def test_an_architecture_without_a_name_in_common_is_told() -> None:
    teacher = tiny("bert")
    with pytest.raises(
        ModelError, match=r"student.init: no weight of GPT2ForSequenceClassification is called as one of"
    ):
        student_of(teacher, config={"model_type": "gpt2", "vocab_size": 100, "n_embd": 16, "n_layer": 1, "n_head": 2,
                                    "pad_token_id": 0}, init="adapt")  # fmt: skip


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"init": "adapt"}, "'init: adapt' says what a 'config' starts from"),
        ({"config": {"model_type": "bert"}, "init_from": "x"}, "'init_from' names the weights of 'init: adapt'"),
    ],
)
def test_an_init_that_means_nothing_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Student(**options)


def test_the_weights_of_another_model_can_be_taken(tmp_path: Path) -> None:
    teacher, other = tiny("bert"), tiny_text_teacher(tmp_path / "other")
    student = student_of(teacher, config=config_of(teacher), init="adapt", init_from=str(other))
    assert str(other) in student.lineage[-1].summary


def test_inspect_shows_parameters_macs_and_what_another_configuration_would_start_from(workdir: Path) -> None:
    tiny_text_teacher(Path("teacher"))
    shown = CliRunner().invoke(app, ["inspect", "teacher", "--sequence", "8"])
    assert shown.exit_code == 0, shown.output
    assert "bert.pooler.dense.weight" in shown.stdout and "16 x 16" in shown.stdout
    # Two layers of width 16 and 32, 8 tokens: 2 * (4 * 8 * 256 + 2 * 8 * 8 * 16 + 2 * 8 * 512); pooler 256, head 32.
    assert "37,152 MACs for one row: input_ids 1 x 8" in shown.stdout
    Path("small.json").write_text(json.dumps({"model_type": "bert", "hidden_size": 8, "num_attention_heads": 2}))
    fit = CliRunner().invoke(app, ["inspect", "teacher", "--fits", "small.json", "--json"])
    assert fit.exit_code == 0, fit.output
    table, counts = map(json.loads, fit.stdout.splitlines())
    assert ["bert.pooler.dense.weight", "sliced", "16 x 16 -> 8 x 8 of bert.pooler.dense.weight"] in table["rows"]
    assert "copied" in counts["text"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "small.json is no configuration: "),
        ("[" * 100_000, "small.json is no configuration: "),
        ("[1]", 'small.json says no model_type, e.g. {"model_type": "bert"}'),
        ('{"model_type": "nothing"}', "small.json: "),
        ('{"model_type": "bert", "num_attention_heads": 5}', "small.json: "),
    ],
)
def test_a_configuration_that_cannot_be_read_is_one_line(workdir: Path, content: str, message: str) -> None:
    tiny_text_teacher(Path("teacher"))
    Path("small.json").write_text(content)
    told = CliRunner().invoke(app, ["inspect", "teacher", "--fits", "small.json"])
    assert told.exit_code == 2 and told.stderr.startswith(f"error: {message}") and told.stderr.count("\n") == 1


def test_a_folder_without_a_model_is_one_line(workdir: Path) -> None:
    Path("empty").mkdir()
    told = CliRunner().invoke(app, ["inspect", "empty"])
    assert told.exit_code == 2 and told.stderr.startswith("error: empty has no config.json. Give a transformers folder")
