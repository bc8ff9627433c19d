"""Each mistake is one clear line on stderr, a non-zero exit code, and nothing lost."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from edgepress.compress.cli.app import app
from tests.end_to_end.recipes import PLAIN, TEXT, changed, stage_hashes, write_recipe


def edgepress(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200"})


def refused(result: Result, exit_code: int, *wording: str) -> None:
    """One line, that code, no traceback, and these words in it."""
    assert result.exit_code == exit_code, (result.stderr, result.exception)
    assert result.exception is None or isinstance(result.exception, SystemExit)
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, result.stderr
    assert result.stderr.splitlines()[-1] == errors[0], "nothing comes after the error"
    assert "Traceback" not in result.stderr
    for words in wording:
        assert words in errors[0]


def run_with(folder: Path, **sections: Any) -> Result:
    write_recipe(folder, changed(PLAIN, **sections))
    return edgepress("run", "recipe.yaml", "--until", "student")


def test_a_missing_recipe(workdir: Path) -> None:
    refused(edgepress("run", "no.yaml"), 2, "no.yaml")


def test_all_faults_of_a_recipe_come_in_one_message(inputs: Path) -> None:
    recipe = changed(PLAIN, task="text-clasification", student={"layers": 0, "head": 2}, data={"max_length": "long"})
    recipe["gates"] = {"min_speedup": -1}
    write_recipe(inputs, recipe)
    told = edgepress("run", "recipe.yaml")
    assert told.exit_code == 2
    assert "Traceback" not in told.stderr
    for words in ("task", "text-classification", "student.layers", "'heads'", "data.max_length", "gates.min_speedup"):
        assert words in told.stderr
    assert not (inputs / "runs").exists()


@pytest.mark.parametrize(
    ("stage", "words"),
    [
        ({"prune": {"heads": 1.0}}, "'heads: 1.0' would prune everything"),
        ({"factorize": {"rank": 0}}, "rank"),
        ({"prune": {}}, "nothing to prune"),
        ({"factorize": {"rank": 4, "energy": 0.9}}, "exactly one of"),
        ({"quantise": {}}, "quantize"),
    ],
    ids=["prunes everything", "rank 0", "prunes nothing", "two rules", "unknown stage"],
)
def test_a_stage_that_cannot_be(inputs: Path, stage: dict[str, Any], words: str) -> None:
    write_recipe(inputs, changed(PLAIN, stages=[stage]))
    told = edgepress("run", "recipe.yaml")
    assert told.exit_code == 2
    assert words in told.stderr
    assert "Traceback" not in told.stderr


def test_quantize_before_another_stage(inputs: Path) -> None:
    write_recipe(inputs, changed(PLAIN, stages=["quantize", {"prune": {"ffn": 0.5}}]))
    told = edgepress("run", "recipe.yaml")
    assert told.exit_code == 2
    assert "stages[0].quantize: must be the last stage" in told.stderr


def test_an_unknown_target_is_refused_before_any_work(inputs: Path) -> None:
    told = run_with(inputs, targets=["onnxruntime-gpu"])
    assert told.exit_code == 2
    assert "onnxruntime-gpu" in told.stderr
    assert "onnxruntime-cpu" in told.stderr
    assert not list(inputs.glob("runs/*/stages/*"))


def test_missing_data(inputs: Path) -> None:
    refused(run_with(inputs, data={"train": "data/no.jsonl"}), 2, "data/no.jsonl")
    refused(run_with(inputs, data={"test": "data/no.jsonl"}), 2, "data/no.jsonl")


def test_empty_data(inputs: Path) -> None:
    (inputs / "data/train.jsonl").write_text("")
    refused(run_with(inputs), 2, "data/train.jsonl", "empty")


def test_a_wrong_column(inputs: Path) -> None:
    refused(run_with(inputs, data={"columns": {"text": "sentence"}}), 2, "'sentence'", "text, label")


def write_labels(folder: Path, *labels: object) -> None:
    rows = [{"text": "good film", "label": labels[number % len(labels)]} for number in range(60)]
    (folder / "data/train.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def test_labels_that_do_not_fit_the_model(inputs: Path) -> None:
    write_labels(inputs, 0, 1, 2)
    refused(run_with(inputs), 2, "row 3", "label '2' does not fit the 2 classes of the model")


def test_one_class_only(inputs: Path) -> None:
    write_labels(inputs, 1)
    refused(run_with(inputs), 2, "all rows have label 'LABEL_1'")


def test_nan_in_the_teachers_weights(inputs: Path) -> None:
    from safetensors.numpy import load_file, save_file

    path = inputs / "teacher/model.safetensors"
    weights = load_file(path)
    weights["classifier.weight"][0, 0] = float("nan")
    save_file(weights, path, {"format": "pt"})
    refused(run_with(inputs), 2, "'classifier.weight' has 1 NaN or infinite values")


def test_pickled_weights_are_refused_with_the_way_to_convert_them(inputs: Path) -> None:
    (inputs / "teacher/model.safetensors").rename(inputs / "teacher/pytorch_model.bin")
    refused(run_with(inputs), 2, "pickled weights (pytorch_model.bin)", "save_pretrained('teacher')")


def test_a_teacher_without_a_folder(inputs: Path) -> None:
    refused(run_with(inputs, teacher={"model": "./nowhere"}), 2, "the model folder ./nowhere does not exist")


def test_remote_code_is_refused(inputs: Path) -> None:
    config = json.loads((inputs / "teacher/config.json").read_text())
    config["auto_map"] = {"AutoModelForSequenceClassification": "modeling.Evil"}
    (inputs / "teacher/config.json").write_text(json.dumps(config))
    (inputs / "teacher/modeling.py").write_text("raise SystemExit('this code was run')\n")
    refused(run_with(inputs), 2, "wants to run code of its own", "teacher.trust_remote_code: true")


def models(stages: dict[str, dict[str, str]]) -> dict[tuple[str, str], str]:
    """Hashes of weights and graphs; what else a stage holds was timed, and is another one each time."""
    return {
        (stage, path): found
        for stage, files in stages.items()
        for path, found in files.items()
        if path.endswith((".safetensors", ".onnx"))
    }


@pytest.mark.slow
def test_a_garbage_test_split_is_found_before_any_work_and_nothing_rests_on_its_rows(plain_copy: Path) -> None:
    test, run = plain_copy / "data/test.jsonl", plain_copy / "runs/plain"
    rows = [json.loads(line) for line in test.read_text().splitlines()]
    made = {name: files for name, files in stage_hashes(run).items() if name != "04-benchmark"}
    shutil.rmtree(run)
    test.write_bytes(b"\x00\xff not json\n" * 9)
    refused(edgepress("run", "recipe.yaml"), 2, "data/test.jsonl")
    assert stage_hashes(run) == {}
    # Made anew beside other test rows, every stage before the benchmark has the same weights and graphs.
    test.write_text("".join(json.dumps(row | {"label": 1 - row["label"]}) + "\n" for row in rows[3:]))
    assert edgepress("run", "recipe.yaml", "--until", "export").exit_code == 0
    again = stage_hashes(run)
    assert list(again) == list(made) == ["01-teacher", "02-student", "03-export"]
    assert models(again) == models(made) and len(models(made)) == 4


@pytest.mark.slow
def test_a_mended_test_file_redoes_the_benchmark_alone(plain_copy: Path) -> None:
    test, run = plain_copy / "data/test.jsonl", plain_copy / "runs/plain"
    whole, before = test.read_text(), stage_hashes(run)
    test.write_text(whole.replace('"label": 1', '"label": "postive"', 1))
    refused(edgepress("run", "recipe.yaml"), 2, "data/test.jsonl, row", "label 'postive' does not fit the 2 classes")
    assert stage_hashes(run) == before
    test.write_text(whole + whole.splitlines()[0] + "\n")
    assert edgepress("run", "recipe.yaml").exit_code == 0
    after = stage_hashes(run)
    assert [name for name in after if after[name] != before[name]] == ["04-benchmark"]


def does_nothing(auto: bool) -> dict[str, Any]:
    return {"prune": {"heads": 0.05, "auto": auto, "max_drop": 1.0}}


@pytest.mark.slow
def test_a_stage_that_changes_nothing_fails(plain_copy: Path) -> None:
    write_recipe(plain_copy, changed(PLAIN, stages=[does_nothing(auto=False)]))
    told = edgepress("run", "recipe.yaml")
    refused(told, 1, "'prune'", "auto: true")
    assert set(stage_hashes(plain_copy / "runs/plain")) >= {"01-teacher", "02-student"}


@pytest.mark.slow
def test_a_stage_that_changes_nothing_is_dropped_where_it_is_auto(plain_copy: Path) -> None:
    write_recipe(plain_copy, changed(PLAIN, stages=[does_nothing(auto=True)]))
    assert edgepress("run", "recipe.yaml").exit_code == 0
    report = json.loads((plain_copy / "runs/plain/report/report.json").read_text())
    (row,) = [row for row in report["stages"] if row["kind"] == "prune"]
    assert row["verdict"] == "dropped"
    assert row["reasons"]


@pytest.mark.slow
def test_a_missed_gate_is_named_and_report_and_release_are_there(plain_copy: Path) -> None:
    write_recipe(plain_copy, changed(PLAIN, gates={"min_shrink": 1000.0, "max_accuracy_drop": 1.0}))
    told = edgepress("run", "recipe.yaml")
    refused(told, 3, "the chosen artifacts miss 1 of 2 gates: min_shrink of onnxruntime-cpu is 1000, measured")
    run = plain_copy / "runs/plain"
    gates = json.loads((run / "report/report.json").read_text())["gates"]
    assert [(gate["gate"], gate["passed"]) for gate in gates] == [("max_accuracy_drop", True), ("min_shrink", False)]
    assert (run / "release/SHA256SUMS").is_file()
    refused(edgepress("run", "recipe.yaml"), 3, "min_shrink")
    refused(edgepress("report", "runs/plain"), 3, "min_shrink")
    refused(edgepress("verify", "runs/plain/release"), 4, "is as it was released, but the chosen artifacts miss 1 of 2")
    refused(edgepress("package", "runs/plain", "--samples", "0"), 3, "Nothing was packaged; --allow-failed-gates")
    assert edgepress("package", "runs/plain", "--samples", "0", "--allow-failed-gates").exit_code == 0
    assert json.loads((run / "release/manifest.json").read_text())["failed_gates_allowed"] is True
    assert edgepress("verify", "runs/plain/release", "--allow-failed-gates").exit_code == 0


def no_space(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.slow
def test_a_full_disk_keeps_finished_stages(inputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_recipe(inputs, PLAIN)
    assert edgepress("run", "recipe.yaml", "--until", "teacher").exit_code == 0
    before = stage_hashes(inputs / "runs/plain")
    monkeypatch.setattr("edgepress.compress.methods.figures.export_fp32", no_space)
    refused(edgepress("run", "recipe.yaml"), 1, "no space left on the disk that holds", "finished stages are kept")
    assert stage_hashes(inputs / "runs/plain") == before
    assert not list(inputs.glob("runs/plain/stages/.*.part"))


@pytest.mark.slow
def test_a_full_disk_while_the_release_is_written(plain_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(plain_copy / "runs/plain/release")
    monkeypatch.setattr("edgepress.compress.pipeline.publish.write_report", no_space)
    refused(edgepress("run", "recipe.yaml"), 1, "no space left on the disk that holds")


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def remove(path: Path) -> None:
    path.unlink()


@pytest.mark.slow
@pytest.mark.parametrize("harm", [truncate, remove])
def test_bench_tells_of_a_damaged_artifact(plain_copy: Path, harm: Callable[[Path], None]) -> None:
    (plain_copy / "alone").mkdir()  # of a release its sums would be told
    folder = (plain_copy / "runs/plain/release/onnxruntime-cpu").rename(plain_copy / "alone/onnxruntime-cpu")
    harm(folder / "model.onnx")
    told = edgepress("bench", str(folder), "--samples", "11", "--sequence", "8")
    refused(told, 1, "no artifact could be timed. onnxruntime-cpu: ", "model.onnx")


def test_bench_and_report_without_anything_to_show(workdir: Path) -> None:
    refused(edgepress("bench", "nowhere"), 1, "nowhere does not exist", "Give a run")
    (workdir / "empty").mkdir()
    refused(edgepress("bench", "empty"), 1, "empty holds no artifact")
    refused(edgepress("report", "nowhere"), 1, "there is no run folder nowhere")
    refused(edgepress("report", "empty"), 1, "empty has no report yet", "edgepress run")
    assert list((workdir / "empty").iterdir()) == []


@pytest.mark.slow
def test_report_on_a_run_without_a_benchmark(inputs: Path) -> None:
    assert run_with(inputs).exit_code == 0
    refused(edgepress("report", "runs/plain"), 1, "its last finished stage is student")


def test_init_of_an_unknown_task(workdir: Path) -> None:
    refused(edgepress("init", "text-to-speech"), 2, "unknown task 'text-to-speech'", "image-classification")


def test_init_overwrites_nothing(workdir: Path) -> None:
    (workdir / "recipe.yaml").write_text("mine")
    refused(edgepress("init", "text-classification"), 2, "recipe.yaml exists already")
    assert (workdir / "recipe.yaml").read_text() == "mine"
    refused(edgepress("init", "text-classification", "-o", "no/where.yaml"), 2, "no/where.yaml cannot be written")


def test_a_set_option_that_is_none(inputs: Path) -> None:
    write_recipe(inputs, PLAIN)
    told = edgepress("run", "recipe.yaml", "--set", "student.layer=3")
    assert told.exit_code == 2
    assert "layers" in told.stderr
    assert yaml.safe_load((inputs / "recipe.yaml").read_text()) == PLAIN


def test_a_name_that_leads_out_of_the_runs_folder(inputs: Path) -> None:
    told = run_with(inputs, name="../elsewhere")
    assert told.exit_code == 2
    assert "name" in told.stderr
    assert not (inputs / "elsewhere").exists()


@pytest.mark.slow
def test_an_unknown_int8_candidate(text_copy: Path) -> None:
    stages = [*TEXT["stages"][:3], {"quantize": {"candidates": ["int8-best"]}}]
    write_recipe(text_copy, changed(TEXT, stages=stages))
    before = stage_hashes(text_copy / "runs/text")
    refused(edgepress("run", "recipe.yaml"), 1, "onnxruntime-cpu makes no 'int8-best'; it makes int8-dynamic")
    assert stage_hashes(text_copy / "runs/text") == before
