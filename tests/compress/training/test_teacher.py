"""A teacher that is fine-tuned in the run: what of it starts fresh, what is kept, and which classes it has."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from edgepress.compress.cli.console import Console
from edgepress.compress.data.classes import classes_of
from edgepress.compress.methods.data import Data, Run
from edgepress.compress.model.loading import _is_head, load_network, load_to_train
from edgepress.compress.model.model import Model
from edgepress.compress.pipeline.stages.base import Work
from edgepress.compress.pipeline.stages.teacher import make_teacher, stages_of
from edgepress.compress.recipe.recipe import Recipe, parse_recipe
from edgepress.compress.tasks.workspace import Workspace
from edgepress.compress.training.output_store import OutputStore
from edgepress.targets.errors import DataError, ModelError
from tests.compress.tiny import WORDS, tiny_image_data, tiny_image_teacher, tiny_text_teacher

TEXT, IMAGE = "text-classification", "image-classification"
TRAINING = {"epochs": 1, "batch_size": 16, "learning_rate": 1e-3}


def only_backbone(folder: Path, prefix: str) -> Path:
    """What `AutoModel` saves: the weights of the backbone, under names without its prefix."""
    weights = load_file(folder / "model.safetensors")
    inner = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
    save_file(inner, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def drop(folder: Path, *parts: str) -> Path:
    """The folder without the weights that have one of `parts` in their names."""
    weights = load_file(folder / "model.safetensors")
    kept = {name: value for name, value in weights.items() if not any(part in name for part in parts)}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def text_rows(folder: Path, names: tuple[Any, ...]) -> Path:
    """JSON lines in which one word decides the label."""
    rows = [{"text": f"the {WORDS[n % len(names)]} plot", "label": names[n % len(names)]} for n in range(60)]
    path = folder / "rows.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def text_recipe(folder: Path, teacher: Path, names: tuple[Any, ...] = ("a", "b", "c"), **training: Any) -> Recipe:
    data = {"train": str(text_rows(folder, names)), "max_length": 32, "calibration": 8, "validation_fraction": 0.2}
    teachers = {"model": str(teacher), "training": TRAINING | training}
    benchmark = {"sequences": [8]}
    recipe = {"name": "t", "task": TEXT, "data": data, "teacher": teachers, "benchmark": benchmark}
    return parse_recipe(recipe, "recipe")


def made(recipe: Recipe, folder: Path, log: io.StringIO | None = None) -> Model:
    """What the teacher's stage makes of the recipe."""
    console = Console("plain", err=log) if log is not None else Console("silent")
    data = Data(Workspace(recipe, console), folder / "teacher", OutputStore(folder / "cache", None, console))
    run = Run("teacher", recipe.seed, folder / "scratch", console)
    work = Work(folder, (), data, run, measuring=None)  # type: ignore[arg-type]  # it measures nothing
    (stage,) = stages_of(recipe)
    return make_teacher(stage, work)


def test_a_backbone_without_a_head_is_trained_on_the_datas_classes(tmp_path: Path) -> None:
    source = only_backbone(tiny_text_teacher(tmp_path / "teacher"), "bert.")
    log = io.StringIO()
    teacher = made(text_recipe(tmp_path, source), tmp_path, log)
    config: Any = teacher.network.config
    assert config.id2label == {0: "a", 1: "b", 2: "c"} and config.label2id == {"a": 0, "b": 1, "c": 2}
    assert teacher.signature.outputs[0].shape == ("batch", 3)
    told = "a fresh head (classifier.bias, classifier.weight)"
    assert f"teacher {source} starts with {told}" in log.getvalue()
    assert teacher.lineage[0].summary == f"started from {source} with {told}, for 3 classes (a, b, c)"
    assert teacher.lineage[1].summary.startswith("trained 3 steps, validation accuracy ")


def test_only_the_weights_of_another_size_start_fresh(tmp_path: Path) -> None:
    source = tiny_text_teacher(tmp_path / "teacher", "distilbert", labels=5)
    loaded = load_to_train(str(source), TEXT, False, num_labels=3)
    assert loaded.fresh == ("classifier.bias", "classifier.weight")
    saved, state = load_file(source / "model.safetensors"), loaded.network.state_dict()
    kept = [name for name in state if name not in loaded.fresh]
    assert "pre_classifier.weight" in kept and all(torch.equal(state[name], saved[name]) for name in kept)
    assert state["classifier.weight"].shape == (3, 16)


def test_a_head_that_fits_is_kept_with_its_order_of_the_classes(tmp_path: Path) -> None:
    source = tiny_text_teacher(tmp_path / "teacher", labels=3)
    config = json.loads((source / "config.json").read_text())
    config |= {"id2label": {"0": "c", "1": "a", "2": "b"}, "label2id": {"c": 0, "a": 1, "b": 2}}
    (source / "config.json").write_text(json.dumps(config))
    loaded = load_to_train(str(source), TEXT, False, num_labels=3)
    saved = load_file(source / "model.safetensors")
    assert loaded.fresh == () and torch.equal(
        loaded.network.state_dict()["classifier.weight"], saved["classifier.weight"]
    )
    # So small a rate moves nothing that fp32 could tell from the head that came with it.
    teacher = made(text_recipe(tmp_path, source, learning_rate=1e-12), tmp_path)
    assert teacher.description.labels == ("c", "a", "b")
    assert torch.allclose(teacher.network.state_dict()["classifier.weight"], saved["classifier.weight"], atol=1e-8)
    assert "with the head that came with it, for 3 classes (c, a, b)" in teacher.lineage[0].summary


def test_a_backbone_of_a_language_model_needs_no_pooler(tmp_path: Path) -> None:
    source = drop(tiny_text_teacher(tmp_path / "teacher"), "pooler", "classifier")
    fresh = ("bert.pooler.dense.bias", "bert.pooler.dense.weight", "classifier.bias", "classifier.weight")
    assert load_to_train(str(source), TEXT, False, num_labels=2).fresh == fresh


def test_a_classifier_within_the_backbone_is_its_head_too() -> None:
    network = torch.nn.Module()
    network.base_model_prefix = "timm_model"  # type: ignore[assignment]
    inner = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 3))
    inner.get_classifier = lambda: inner[1]  # type: ignore[assignment]  # as timm's models have it
    network.timm_model = inner
    assert [name for name in network.state_dict() if _is_head(network, name)] == [
        "timm_model.1.weight",
        "timm_model.1.bias",
    ]


def test_a_backbone_that_lacks_weights_of_its_own_is_refused(tmp_path: Path) -> None:
    source = drop(tiny_text_teacher(tmp_path / "teacher"), "layer.1.output.dense", "classifier")
    with pytest.raises(
        ModelError,
        match=r"lacks 2 weights .* first 'bert.encoder.layer.1.*be random. Only its head may start fresh; mend",
    ):
        load_to_train(str(source), TEXT, False, num_labels=2)


@pytest.mark.parametrize(
    ("architecture", "prefix"), [("resnet", "resnet."), ("mobilenet_v2", "mobilenet_v2."), ("vit", "vit.")]
)
def test_an_image_backbone_gets_a_fresh_head(tmp_path: Path, architecture: str, prefix: str) -> None:
    source = only_backbone(tiny_image_teacher(tmp_path / "teacher", architecture, labels=10), prefix)
    recipe = parse_recipe(
        {
            "name": "t",
            "task": IMAGE,
            "data": {"train": str(tiny_image_data(tmp_path, 40)), "calibration": 8, "validation_fraction": 0.2},
            "teacher": {"model": str(source), "training": TRAINING},
        },
        "recipe",
    )
    teacher = made(recipe, tmp_path)
    assert teacher.description.labels == ("0", "1") and teacher.signature.outputs[0].shape == ("batch", 2)
    assert "with a fresh head (classifier" in teacher.lineage[0].summary


def test_the_same_seed_gives_the_same_fresh_head(tmp_path: Path) -> None:
    source = only_backbone(tiny_text_teacher(tmp_path / "teacher"), "bert.")
    both = [made(text_recipe(tmp_path, source), tmp_path / place) for place in ("one", "two")]
    first, second = (model.network.state_dict() for model in both)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_model_without_a_head_is_refused_with_the_way_to_train_it(tmp_path: Path) -> None:
    source = only_backbone(tiny_text_teacher(tmp_path / "teacher"), "bert.")
    with pytest.raises(
        ModelError,
        match=r"first 'classifier.bias': they would be random. A teacher must be a trained "
        r"BertForSequenceClassification; fine-tune it first, or have it fine-tuned in the run: teacher.training.$",
    ):
        load_network(str(source), TEXT, trust_remote_code=False)


def test_a_text_backbone_without_its_tokenizer_says_so(tmp_path: Path) -> None:
    source = only_backbone(tiny_text_teacher(tmp_path / "teacher"), "bert.")
    (source / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match=r"has no tokenizer: none of tokenizer.json"):
        made(text_recipe(tmp_path, source), tmp_path)


def test_other_labels_than_the_models_are_told_by_their_number_not_by_a_row() -> None:
    with pytest.raises(
        DataError,
        match=r"a.csv: the model knows 2 classes \(neg, pos\), the data has 6 \(a, b, c, d, e, f\); row 1: .* "
        r"or have the model fine-tuned on these classes: teacher.training.",
    ):
        classes_of(list("abcdef"), "a.csv", None, ("neg", "pos"))
    with pytest.raises(
        DataError, match=r"the model knows 2 classes \(neg, pos\), the data has 3 label names .* teacher.training."
    ):
        classes_of([0, 1, 2], "a.csv", ("x", "y", "z"), ("neg", "pos"))


@pytest.mark.parametrize(
    ("values", "file_names", "model_names", "names"),
    [
        (["neg", "pos"], None, ("pos", "neg"), ("pos", "neg")),
        ([0, 1], None, ("pos", "neg"), ("pos", "neg")),
        ([0, 1], None, ("LABEL_0", "LABEL_1"), ("0", "1")),
        ([0, 1], ("neg", "pos"), ("pos", "neg"), ("pos", "neg")),
        ([0, 1], ("spam", "ham"), ("pos", "neg"), ("spam", "ham")),
        (["b", "a", "c"], None, ("a", "b"), ("a", "b", "c")),
        (["a", "b"], None, ("a", "b", "c"), ("a", "b")),
    ],
)
def test_of_a_teacher_to_be_trained_the_data_decide_the_classes(
    values: list[Any], file_names: Any, model_names: Any, names: Any
) -> None:
    assert classes_of(values, "a.csv", file_names, model_names, fine_tuned=True).names == names


def test_numbers_become_the_class_of_the_same_name_in_the_models_order() -> None:
    labels = classes_of([0, 1], "a.csv", ("neg", "pos"), ("pos", "neg"), fine_tuned=True)
    assert labels.encode([0, 1], "a.csv").tolist() == [1, 0]


def test_without_training_a_recipe_loads_its_teacher_as_it_is(tmp_path: Path) -> None:
    source = tiny_text_teacher(tmp_path / "teacher", labels=2)
    recipe = text_recipe(tmp_path, source, names=("LABEL_0", "LABEL_1"))
    plain = recipe.model_copy(update={"teacher": recipe.teacher.model_copy(update={"training": None})})
    teacher = made(plain, tmp_path)
    saved = load_file(source / "model.safetensors")
    assert all(torch.equal(value, saved[name]) for name, value in teacher.network.state_dict().items())
    assert [step.summary for step in teacher.lineage] == [f"loaded from {source}"]
    assert not plain.teacher.fine_tuned and recipe.teacher.fine_tuned


def test_a_label_of_two_lines_is_one_line_of_the_message() -> None:
    with pytest.raises(DataError, match=r"the data has 2 \(a\\nb, c\)") as caught:
        classes_of(["a\nb", "c"], "f.csv", None, ["x", "y"])
    assert "\n" not in str(caught.value)
