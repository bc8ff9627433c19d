"""Students: cut from the teacher's weights, or of another architecture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from edgepress.compress.methods.student import check_rebuild, derive_student, kept_layers
from edgepress.compress.model.model import Model
from edgepress.compress.network.blocks import residual_group
from edgepress.compress.network.probing import probe_logits
from edgepress.compress.recipe.recipe import Student
from edgepress.targets.errors import ModelError
from tests.compress.tiny_models import CONFIGS, feeds_of, labels_of, tiny


def student_of(teacher: Model, seed: int = 0, **options: Any) -> Model:
    feeds = feeds_of(teacher)
    return derive_student(teacher, Student(**options), seed, feeds, labels_of(feeds))


def test_without_options_the_student_is_a_copy_of_the_teacher() -> None:
    teacher = tiny("bert")
    student = student_of(teacher)
    feeds = feeds_of(teacher)[0]
    assert student.network is not teacher.network
    assert torch.equal(probe_logits(student.network, feeds), probe_logits(teacher.network, feeds))


@pytest.mark.parametrize(
    ("count", "layers", "kept"),
    [(6, 3, (1, 3, 5)), (12, 4, (2, 5, 8, 11)), (6, 6, (0, 1, 2, 3, 4, 5)), (6, 1, (5,)), (7, 3, (1, 3, 6))],
)
def test_a_count_keeps_the_last_layer_of_each_span(count: int, layers: int, kept: tuple[int, ...]) -> None:
    assert kept_layers(count, layers) == kept


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (7, "7 layers asked for, the teacher has 6"),
        ((0, 6), r"give rising indices from 0 to 5, got \[0, 6\]"),
        ((3, 1), r"give rising indices from 0 to 5, got \[3, 1\]"),
        ((), r"give rising indices from 0 to 5, got \[\]"),
    ],
)
def test_layers_that_the_teacher_lacks_are_refused(layers: int | tuple[int, ...], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        kept_layers(6, layers)


@pytest.mark.parametrize("name", ["bert", "distilbert", "electra", "vit", "llama"])
def test_the_kept_layers_hold_the_teachers_weights(name: str, tmp_path: Path) -> None:
    kind = {"distilbert": "n_layers"}.get(name, "num_hidden_layers")
    teacher = tiny(name, **{kind: 4})
    student = student_of(teacher, layers=(1, 3))
    student.save(tmp_path)
    loaded = Model.load(tmp_path)
    assert loaded.network.config.num_hidden_layers == 2  # type: ignore[union-attr]
    assert teacher.network.config.num_hidden_layers == 4  # type: ignore[union-attr]
    theirs, ours = teacher.network.state_dict(), loaded.network.state_dict()
    places = [
        ("layer.1.", "layer.0."),
        ("layer.3.", "layer.1."),
        ("layers.1.", "layers.0."),
        ("layers.3.", "layers.1."),
    ]
    pairs = [(full, full.replace(old, new)) for full in theirs for old, new in places if f".{old}" in full]
    assert len(pairs) > 10
    assert all(torch.equal(theirs[full], ours[mine]) for full, mine in pairs)


@pytest.mark.parametrize("name", ["bert", "distilbert", "electra", "llama"])
def test_all_sizes_together_make_a_smaller_student_that_loads(name: str, tmp_path: Path) -> None:
    teacher = tiny(name)
    student = student_of(teacher, layers=1, heads=2, ffn=21, hidden=22, embedding_rank=5)
    student.save(tmp_path)
    feeds = feeds_of(teacher)[0]
    assert student.parameters < teacher.parameters / 3
    assert torch.equal(probe_logits(Model.load(tmp_path).network, feeds), probe_logits(student.network, feeds))
    assert [step.stage for step in student.lineage] == ["student"] * 5


def test_a_vision_student_can_be_narrower(tmp_path: Path) -> None:
    teacher = tiny("vit")
    student = student_of(teacher, hidden=20)
    student.save(tmp_path)
    embeddings: Any = Model.load(tmp_path).network.get_submodule("vit.embeddings")
    assert embeddings.cls_token.shape == (1, 1, 20)
    assert embeddings.position_embeddings.shape == (1, 5, 20)
    assert embeddings.patch_embeddings.projection.out_channels == 20


@pytest.mark.parametrize("name", ["bert", "distilbert", "electra", "vit", "llama"])
def test_the_residual_dimensions_that_carry_nothing_leave_first(name: str) -> None:
    teacher = tiny(name)
    group = residual_group(teacher.network)
    dead, alive = [3, 17], [i for i in range(32) if i not in (3, 17)]
    with torch.no_grad():
        for member in group.members:
            if isinstance(norm := dict(teacher.network.named_modules()).get(member.module), nn.LayerNorm):
                norm.weight[dead] = 0
                norm.bias[dead] = 0
        for parameter, value in teacher.network.named_parameters():
            if name == "llama" and "norm" in parameter:
                value[dead] = 0
    student = student_of(teacher, hidden=30)
    readers = [member.module for member in group.readers()]
    assert len(readers) >= 9
    for reader in readers:
        source, cut = (model.network.get_submodule(reader).weight for model in (teacher, student))
        assert torch.equal(cut, source[: len(cut), alive])  # type: ignore[arg-type, index]


def test_a_teacher_already_edited_keeps_its_edits_under_the_new_numbers(tmp_path: Path) -> None:
    teacher = student_of(tiny("bert", num_hidden_layers=4), ffn=20)
    student = student_of(teacher, layers=(3,))
    student.save(tmp_path)
    feeds = feeds_of(teacher)[0]
    assert torch.equal(probe_logits(Model.load(tmp_path).network, feeds), probe_logits(student.network, feeds))
    assert {edit.module for edit in student.edits} == {
        "bert.encoder.layer.0.intermediate.dense",
        "bert.encoder.layer.0.output.dense",
    }


def test_only_the_word_table_gets_the_embedding_rank() -> None:
    student = student_of(tiny("bert"), embedding_rank=4)
    assert [(edit.module, edit.sizes) for edit in student.edits] == [("bert.embeddings.word_embeddings", {"rank": 4})]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "resnet",
            {"layers": 1},
            "ResNetForImageClassification has no list of equal blocks.*`student.config`",
        ),
        ("resnet", {"hidden": 8}, "has no list of attention blocks, so its width cannot be cut.*`student.config`"),
        ("resnet", {"heads": 2}, "student.heads: ResNetForImageClassification has no heads that can be told apart"),
        ("bert", {"heads": 5}, "student.heads: 5 asked for, bert.encoder.layer.0.attention.self of the teacher has 4"),
        ("bert", {"ffn": 64}, "student.ffn: 64 asked for, .* has 48"),
        ("bert", {"hidden": 33}, "student.hidden: 33 asked for, the teacher has 32"),
        ("bert", {"embedding_rank": 30}, "30 would not make bert.embeddings.word_embeddings smaller; use at most 19"),
        ("vit", {"embedding_rank": 3}, "student.embedding_rank: ViTForImageClassification has no embedding table"),
        ("llama", {"heads": 3}, "shares keys and values between 2 heads; ask for a multiple of 2, got 3"),
    ],
)
def test_sizes_that_do_not_fit_the_teacher_are_refused(name: str, options: dict[str, int], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        student_of(tiny(name), **options)


def test_a_structure_that_its_configuration_does_not_give_is_refused() -> None:
    model = tiny("bert")
    model.network.config.num_hidden_layers = 3  # type: ignore[union-attr]
    with pytest.raises(ModelError, match=r"cannot be rebuilt at this size: 'bert.encoder.layer.2.*give a smaller arch"):
        check_rebuild(model)


def test_another_architecture_takes_the_teachers_classes_and_signature(tmp_path: Path) -> None:
    teacher = tiny("bert")
    teacher.network.config.id2label = {0: "bad", 1: "good"}  # type: ignore[union-attr]
    student = student_of(teacher, config={"model_type": "distilbert"} | CONFIGS["distilbert"])
    student.save(tmp_path)
    config: Any = Model.load(tmp_path).network.config
    assert (config.model_type, config.id2label) == ("distilbert", {0: "bad", 1: "good"})
    assert student.signature == teacher.signature


def test_the_seed_decides_the_weights_of_another_architecture() -> None:
    teacher, options = tiny("bert"), {"config": {"model_type": "electra"} | CONFIGS["electra"]}
    weights = [student_of(teacher, seed, **options).network.state_dict() for seed in (1, 1, 2)]
    name = "electra.encoder.layer.0.intermediate.dense.weight"
    assert torch.equal(weights[0][name], weights[1][name])
    assert not torch.equal(weights[0][name], weights[2][name])


def test_another_pretrained_model_keeps_its_weights_and_gets_the_teachers_classes(tmp_path: Path) -> None:
    source: Any = tiny("electra", seed=5, num_labels=7).network
    source.save_pretrained(tmp_path)
    student = student_of(tiny("bert"), model=str(tmp_path))
    name = "electra.encoder.layer.0.intermediate.dense.weight"
    assert torch.equal(student.network.state_dict()[name], source.state_dict()[name])
    assert student.network.config.num_labels == 2  # type: ignore[union-attr]
    assert student.lineage[-1].summary == str(tmp_path)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"hidden_size": 16}, "student.config: 'model_type' is missing"),
        ({"model_type": "no_such"}, "student.config: .*no_such"),
        ({"model_type": "bert", "hidden_size": "wide"}, "student.config: .*hidden_size"),
        ({"model_type": "vit"}, "ViTConfig is no text-classification model"),
        (
            {"model_type": "bert"} | CONFIGS["bert"] | {"vocab_size": 49},
            "vocab_size is 49, the teacher's tokenizer has 50",
        ),
        (
            {"model_type": "bert"} | CONFIGS["bert"] | {"max_position_embeddings": 3},
            "does not run on the teacher's inputs",
        ),
    ],
)
def test_an_architecture_that_does_not_fit_is_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        student_of(tiny("bert"), config=config)
