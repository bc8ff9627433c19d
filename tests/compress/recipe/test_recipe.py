"""Recipes: what is read, what is refused and in which words."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepress.compress.methods.distill.options import Distill
from edgepress.compress.methods.prune.options import Prune
from edgepress.compress.methods.quantize.options import Quantize
from edgepress.compress.recipe.recipe import Recipe, parse_recipe
from edgepress.compress.recipe.sections import Gates
from edgepress.targets.errors import RecipeError

YAML = """
name: tiny
task: text-classification
data: {train: rows.jsonl}
teacher: {model: teacher}
stages:
  - distill: {training: {learning_rate: 2e-4}}
  - prune: {heads: 0.5}
  - quantize
"""


def mapping(**changes: Any) -> dict[str, Any]:
    start = {"name": "tiny", "task": "text-classification", "data": {"train": "a"}, "teacher": {"model": "b"}}
    return start | changes


def written(folder: Path, text: str = YAML) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(text)
    return path


def faults(**changes: Any) -> str:
    with pytest.raises(RecipeError) as caught:
        parse_recipe(mapping(**changes), "r.yaml")
    return str(caught.value)


def test_each_stage_becomes_the_config_of_its_key(tmp_path: Path) -> None:
    recipe = Recipe.load(written(tmp_path))
    assert [type(stage) for stage in recipe.stages] == [Distill, Prune, Quantize]
    assert recipe.stages[0].training.learning_rate == 2e-4


def test_reading_a_recipe_loads_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from edgepress.compress.recipe.recipe import Recipe; Recipe.load(sys.argv[1]); "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(written(tmp_path))], check=True)


def test_all_faults_come_in_one_message() -> None:
    text = faults(name="a b", gates={"min_speedup": -1}, stages=[{"prune": {"hedas": 0.5}}], targets=["onnxruntime"])
    assert text.startswith("r.yaml has 4 faults:")
    for path in ("name", "gates.min_speedup", "stages[0].prune.hedas", "targets[0]"):
        assert f"\n  {path}: " in text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"taks": 1}, "taks: unknown key. Allowed: name, task, seed, data, teacher, student"),
        (
            {"stages": [{"prune": {"hedas": 0.5}}]},
            "stages[0].prune.hedas: unknown key. Allowed: method, auto, max_drop, recover, heads",
        ),
        ({"stages": [{"prune": {"hedas": 0.5}}]}, "Did you mean 'heads'?"),
        (
            {"stages": [{"prnue": {}}]},
            "stages[0].prnue: unknown stage. Allowed: distill, prune, factorize, qat, quantize. Did",
        ),
        ({"stages": {"prune": {}}}, 'stages: got {"prune": {}}, allowed: a list such as'),
        ({"stages": [{"prune": {}, "quantize": {}}]}, "allowed: a mapping with one key, one of distill, prune"),
        ({"stages": [{"prune": {"heads": 1.0}}]}, "stages[0].prune: 'heads: 1.0' would prune everything"),
        ({"stages": [{"factorize": {"rank": 0}}]}, "stages[0].factorize.rank: got 0, allowed: an integer >= 1."),
        (
            {"stages": [{"distill": {"training": {"precision": "bf61"}}}]},
            'got "bf61", allowed: one of fp32, bf16, auto. Did',
        ),
        ({"stages": ["quantize", {"prune": {"ffn": 0.5}}]}, "stages[0].quantize: must be the last stage"),
        (
            {"stages": ["qat", {"prune": {"ffn": 0.5}}, "quantize"]},
            "stages[0].qat: must be the last stage before quantize: its ranges are of the weights that it leaves, and "
            "prune makes others.",
        ),
        ({"stages": [{"qat": {"method": "learnt"}}]}, 'stages[0].qat.method: got "learnt", allowed: one of observed'),
        ({"stages": [{"qat": {"recover": None}}]}, "stages[0].qat.recover: got null, allowed: "),
        ({"stages": [{"qat": {"momentum": 0}}]}, "stages[0].qat.momentum: got 0, allowed: a number > 0 and < 1."),
        ({"stages": [{"qat": {"method": "learned", "freeze": 0.5}}]}, "stages[0].qat.freeze: unknown"),
        (
            {"targets": ["onnxruntime"]},
            "targets[0]: unknown target 'onnxruntime'. Allowed: pytorch, onnxruntime-cpu, tensorrt-gpu, openvino, "
            "tflite-mobile, xla-tpu. Did",
        ),
        ({"targets": []}, "targets: empty. Allowed: one or more of pytorch"),
        ({"targets": ["pytorch", "pytorch"]}, "targets[1]: 'pytorch' is there twice."),
        (
            {"student": {"layers": "all"}},
            'student.layers: got "all", allowed: an integer >= 1 or a list, each an integer',
        ),
        ({"student": {"heads": True}}, "student.heads: got true, allowed: an integer >= 1."),
        ({"teacher": {}}, "teacher: give one of 'model' (a folder or hub id), 'config'"),
        ({"teacher": {"config": {}}}, "teacher.tokenizer: missing. A text model trained in the run needs"),
        ({"data": None}, "data: got null, allowed: a mapping with the keys train, validation"),
        (
            {"data": {"train": "a", "max_length": 16}, "benchmark": {"sequences": [32, 128]}},
            "benchmark.sequences: got 128, allowed: lengths up to data.max_length",
        ),
        ({"seed": "3"}, 'seed: got "3", allowed: an integer >= 0 and <= 4294967295.'),
        ({"seed": -1}, "seed: got -1, allowed: an integer >= 0 and <= 4294967295."),
        ({"gates": {"min_speedup": float("inf")}}, "gates.min_speedup: got Infinity, allowed: a number > 0."),
    ],
)
def test_a_fault_names_path_value_and_what_is_allowed(changes: dict[str, Any], words: str) -> None:
    assert words in faults(**changes)


def test_missing_parts_are_listed_with_what_they_take() -> None:
    with pytest.raises(RecipeError, match=r"x has 4 faults:\n  name: missing\. Give text matching"):
        parse_recipe({}, "x")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: x\nname: y\n", "line 2, column 1: duplicate key 'name'"),
        ("name: [x\ntask: y\n", r"line 2, column 5: expected ',' or ']'"),
        ("- a\n", "must hold a mapping"),
        ("", "must hold a mapping"),
        ("name: !!python/object/apply:os.getcwd []\n", "could not determine a constructor"),
    ],
)
def test_broken_yaml_is_refused_with_its_place(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        Recipe.load(written(tmp_path, text))


def test_a_missing_recipe_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"is missing. `edgepress init` writes a recipe"):
        Recipe.load(tmp_path / "none.yaml")


def test_overrides_reach_sections_stages_by_kind_and_by_index(tmp_path: Path) -> None:
    sets = ("student.layers=3", "stages.prune.heads=0.3", "stages.0.alpha=1e-1", "stages.0.distill.hidden=1", "seed=7")
    recipe = Recipe.load(written(tmp_path), sets)
    assert (recipe.student.layers, recipe.seed) == (3, 7)
    assert isinstance(recipe.stages[0], Distill) and isinstance(recipe.stages[1], Prune)
    assert (recipe.stages[0].alpha, recipe.stages[0].hidden, recipe.stages[1].heads) == (0.1, 1.0, 0.3)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("student.layer=3", "student.layer: unknown key. .* Did you mean 'layers'"),
        ("stages.prnue.heads=1", "no stage is 'prnue'. Stages: 0 distill, 1 prune, 2 quantize. Did you mean 'prune'"),
        ("stages.7.heads=1", "there are 3 stages, counted from 0"),
        ("name.first=1", 'name is "tiny", which has no key'),
        ("seed", "--set seed: must be key.path=value"),
        ("seed=[", r"--set seed=\[ line 1"),
    ],
)
def test_a_wrong_override_is_a_fault(tmp_path: Path, override: str, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        Recipe.load(written(tmp_path), (override,))


def test_two_stages_of_a_kind_need_an_index(tmp_path: Path) -> None:
    path = written(tmp_path, YAML + "  - prune: {ffn: 0.5}\n")
    with pytest.raises(RecipeError, match=r"2 stages are 'prune'; give the index"):
        Recipe.load(path, ("stages.prune.heads=0.3",))


def test_the_environment_fills_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPRESS_TEST", "there")
    monkeypatch.delenv("EDGEPRESS_NONE", raising=False)
    data = {"train": "${EDGEPRESS_TEST}/a", "test": "${EDGEPRESS_NONE:-here}/b"}
    recipe = parse_recipe(mapping(data=data), "r")
    assert (recipe.data.train, recipe.data.test) == ("there/a", "here/b")
    assert "data.train: ${EDGEPRESS_NONE} is not set" in faults(data={"train": "${EDGEPRESS_NONE}"})


def test_reading_leaves_the_mapping_as_it_was() -> None:
    given = mapping(stages=["quantize", None])
    with pytest.raises(RecipeError, match=r"stages\[1\]: got null"):
        parse_recipe(given, "r")
    assert given["stages"] == ["quantize", None]


def test_the_digest_follows_values_and_not_their_order() -> None:
    given = mapping(seed=3)
    same = dict(reversed(given.items()))
    assert parse_recipe(given, "a").digest == parse_recipe(same, "b").digest
    assert parse_recipe(given, "a").digest != parse_recipe(mapping(seed=4), "a").digest


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=5))
def test_no_value_breaks_the_reader(value: Any) -> None:
    for changes in ({"stages": value}, {"data": value}, {"targets": value}, {"student": {"layers": value}}):
        try:
            parse_recipe(mapping(**changes), "r")
        except RecipeError as fault:
            assert "fault" in str(fault)


def test_a_target_may_carry_options_of_its_own() -> None:
    recipe = parse_recipe(mapping(targets=["onnxruntime-cpu", {"tflite-mobile": {"sequences": [32]}}]), "r")
    assert recipe.targets == ("onnxruntime-cpu", "tflite-mobile")
    assert recipe.target_options == {"tflite-mobile": {"sequences": [32]}}


def test_an_option_that_a_target_does_not_know_is_a_fault_of_the_recipe() -> None:
    words = faults(targets=[{"tensorrt-gpu": {"speed": 9}}])
    assert "targets[0].tensorrt-gpu, option 'speed': Extra inputs are not permitted; tensorrt-gpu takes" in words


def test_the_confidence_of_gates_is_that_of_the_reports_intervals() -> None:
    assert Gates().confidence is None and Gates(confidence=0.95).confidence == 0.95
    with pytest.raises(pydantic.ValidationError, match=r"the report's intervals hold 0.95: give 0.95 or null, not 0.9"):
        Gates(confidence=0.9)


def test_the_limits_of_one_target_replace_the_common_ones_and_null_takes_one_away() -> None:
    own = {"xla-tpu": {"min_shrink": 4, "min_speedup": None}}
    gates = {"min_shrink": 20, "min_speedup": 5, "by_target": own}
    recipe = parse_recipe(mapping(targets=["onnxruntime-cpu", "xla-tpu"], gates=gates), "r.yaml")
    asked = {name: recipe.gates.of(name) for name in recipe.targets}
    assert [(limits["min_shrink"], limits["min_speedup"]) for limits in asked.values()] == [(20.0, 5.0), (4.0, None)]
    assert "by_target" not in asked["xla-tpu"] and "confidence" not in asked["xla-tpu"]


def test_limits_for_a_target_that_the_recipe_has_not_are_refused() -> None:
    words = faults(gates={"by_target": {"xla-tpu": {"min_shrink": 4}}}, targets=["onnxruntime-cpu"])
    assert "gates: " in words and "by_target names 'xla-tpu', which is not in targets: onnxruntime-cpu" in words


def test_an_unknown_limit_of_one_target_is_named_with_its_place() -> None:
    words = faults(gates={"by_target": {"onnxruntime-cpu": {"shrink": 4}}})
    assert "gates.by_target.onnxruntime-cpu.shrink: unknown key. Allowed: max_accuracy_drop" in words
    assert "Did you mean 'min_shrink'?" in words


def test_a_limit_of_one_target_that_is_out_of_range_is_named_with_its_place() -> None:
    words = faults(gates={"by_target": {"onnxruntime-cpu": {"min_shrink": -1}}})
    assert "gates.by_target.onnxruntime-cpu.min_shrink: got -1, allowed: a number > 0." in words


def test_gates_name_any_metric_and_accuracy_has_short_forms() -> None:
    metrics = {"macro-f1": {"min": 0.8, "max_drop": 0.01, "min_ratio": 0.99}, "accuracy": {"min": 0.7}}
    own = {"xla-tpu": {"metrics": {"macro-f1": {"min": None, "max_drop": 0.02}}}}
    gates = {"max_accuracy_drop": 0.02, "metrics": metrics, "by_target": own}
    asked = parse_recipe(mapping(targets=["onnxruntime-cpu", "xla-tpu"], gates=gates), "r.yaml").gates
    known = {name: limit for name, limit in asked.of("onnxruntime-cpu").items() if limit is not None}
    assert known == {
        "max_accuracy_drop": 0.02, "min_accuracy": 0.7,
        "macro-f1.min": 0.8, "macro-f1.max_drop": 0.01, "macro-f1.min_ratio": 0.99,
    }  # fmt: skip
    other = asked.of("xla-tpu")
    assert (other["macro-f1.min"], other["macro-f1.max_drop"], other["macro-f1.min_ratio"]) == (None, 0.02, 0.99)


def test_an_unknown_metric_of_a_gate_is_one_line_with_the_known_ones() -> None:
    words = faults(gates={"metrics": {"macro-f2": {"min": 0.8}}})
    assert "unknown metric 'macro-f2'; there are accuracy, top-5-accuracy, macro-f1" in words
    assert "Did you mean 'macro-f1'?" in words
    words = faults(gates={"metrics": {"macro-f1": {"least": 0.8}}})
    assert "gates.metrics.macro-f1.least: unknown key. Allowed: min, max, max_drop, min_ratio" in words


def test_a_short_form_that_says_another_thing_than_the_long_one_is_refused() -> None:
    words = faults(gates={"min_accuracy": 0.8, "metrics": {"accuracy": {"min": 0.7}}})
    assert "min_accuracy and metrics.accuracy.min say two things: give one of them" in words


def test_the_primary_metric_must_be_known_and_compare_with_labels() -> None:
    assert parse_recipe(mapping(metric="macro-f1"), "r.yaml").metric == "macro-f1"
    assert "unknown metric 'f1'; there are accuracy" in faults(metric="f1")
    assert "'agreement' compares with the teacher; a primary metric compares with labels: accuracy" in faults(
        metric="agreement"
    )


def test_a_metric_that_the_task_does_not_take_is_named_before_any_work() -> None:
    from types import SimpleNamespace

    from edgepress.compress.tasks.metrics import metrics_of

    task: Any = SimpleNamespace(name="text-classification", metrics=("accuracy", "macro-f1", "kl"), generated=())
    recipe = parse_recipe(mapping(), "r.yaml")
    assert metrics_of(task, recipe) == ("accuracy", "macro-f1", "kl")
    assert metrics_of(task, recipe.model_copy(update={"metric": "macro-f1"})) == ("macro-f1", "accuracy", "kl")
    with pytest.raises(RecipeError, match="metric: text-classification does not take 'wer'; it takes accuracy, macro"):
        metrics_of(task, recipe.model_copy(update={"metric": "wer"}))
    assert "gates.metrics: text-classification does not take 'rmse'" in faults(
        gates={"metrics": {"rmse": {"max": 1.0}}}
    )
    assert "metric: text-classification does not take 'rmse'; it takes accuracy, macro-f1" in faults(metric="rmse")


@pytest.mark.parametrize("gates", [{"min_accuracy": 0.8}, {"by_target": {"pytorch": {"max_accuracy_drop": 0.1}}}])
def test_a_gate_on_accuracy_of_a_task_without_it_is_refused_when_the_recipe_is_read(gates: dict[str, Any]) -> None:
    words = faults(task="text-regression", gates=gates, targets=["pytorch"])
    assert (
        "_accuracy" in words and "text-regression does not take 'accuracy'; it takes spearman, pearson, rmse" in words
    )


def test_sequences_that_the_recipe_does_not_name_follow_the_longest_text() -> None:
    for length, sequences in ((16, (16,)), (32, (32,)), (64, (32, 64)), (128, (32, 128)), (512, (32, 128))):
        recipe = parse_recipe(mapping(data={"train": "a", "max_length": length}), "r")
        assert recipe.benchmark.sequences == sequences
    named = parse_recipe(mapping(data={"train": "a", "max_length": 64}, benchmark={"samples": 50}), "r")
    assert (named.benchmark.sequences, named.benchmark.samples) == ((32, 64), 50)


def test_a_tilde_is_the_home_folder_in_every_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    given = mapping(data={"train": "~/a.csv"}, teacher={"model": "~/t", "tokenizer": "~/w"}, student={"model": "~/s"})
    recipe = parse_recipe(given, "r")
    assert (recipe.data.train, recipe.teacher.model) == ("/home/ada/a.csv", "/home/ada/t")
    assert (recipe.teacher.tokenizer, recipe.student.model) == ("/home/ada/w", "/home/ada/s")
    assert parse_recipe(mapping(teacher={"model": "~nobody-here/x"}), "r").teacher.model == "~nobody-here/x"
