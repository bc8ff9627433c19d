"""Several targets, and a student that takes fewer inputs than its teacher."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file

from edgepress.benchmarks.measure.jobs import SubjectResult
from edgepress.benchmarks.records.report import LatencyRow, Measurement, Shape
from edgepress.compress.cli.bench import (
    Key,
    Shapes,
    Timed,
    _timed,
    bench,
    common_signature,
    find_artifacts,
    labels,
    latency_texts,
    synthetic_cases,
)
from edgepress.compress.cli.console import Console
from edgepress.targets.errors import BenchmarkError
from edgepress.targets.records import Artifact, Candidate, Comparison, Signature, TensorSpec
from tests.end_to_end.conftest import finish, made_once
from tests.end_to_end.recipes import PLAIN, changed, edgepress, write_recipe, write_text_inputs

DISTILBERT = {"model_type": "distilbert", "dim": 8, "hidden_dim": 16, "n_layers": 1, "n_heads": 2, "vocab_size": 17,
              "max_position_embeddings": 64}  # fmt: skip
SHAPES = Shapes(batches=(1,), sequences=(8,), threads=(1,), samples=11, warmup=1)


@pytest.fixture(scope="session")
def mixed_run(shared_folder: Path) -> Path:
    """A run for two targets, of a DistilBERT under a BERT: `runs/plain`."""
    recipe = changed(PLAIN, targets=["onnxruntime-cpu", "pytorch"])
    recipe["student"] = {"config": DISTILBERT}
    recipe["stages"] = [{"distill": {"training": {"epochs": 1, "learning_rate": 1e-3}}}]
    return made_once(shared_folder / "mixed", finish(recipe, write_text_inputs)) / "runs/plain"


@pytest.fixture
def report(mixed_run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((mixed_run / "report/report.json").read_text())
    return found


@pytest.mark.slow
def test_a_student_may_take_fewer_inputs_than_its_teacher(mixed_run: Path) -> None:
    inputs = {
        name: [spec.name for spec in Artifact.read(folder / "artifact.json").signature.inputs]
        for name, folder in find_artifacts(mixed_run).items()
    }
    assert sorted(inputs[Key("onnxruntime-cpu", "teacher")]) == ["attention_mask", "input_ids", "token_type_ids"]
    assert sorted(inputs[Key("onnxruntime-cpu", "fp32")]) == ["attention_mask", "input_ids"]


@pytest.mark.slow
def test_each_target_has_its_own_teacher_in_the_report(report: dict[str, Any]) -> None:
    rows = [(row["target"], row["chosen"], row["status"]) for row in (report["teacher"], *report["candidates"])]
    assert rows == [
        ("onnxruntime-cpu", False, "measured"),
        ("onnxruntime-cpu", True, "measured"),
        ("pytorch", False, "measured"),
        ("pytorch", True, "measured"),
    ]
    teacher, student = report["candidates"][1:]
    assert (teacher["shrink"], teacher["latency"][0]["speedup"]) == (1.0, 1.0)
    assert student["shrink"] == pytest.approx(teacher["bytes"] / student["bytes"])
    assert student["latency"][0]["speedup"] == pytest.approx(
        teacher["latency"][0]["p50"] / student["latency"][0]["p50"]
    )


@pytest.mark.slow
def test_the_release_has_the_chosen_artifact_of_each_target(mixed_run: Path) -> None:
    found = find_artifacts(mixed_run / "release")
    assert sorted(found) == [(name, name) for name in ("onnxruntime-cpu", "pytorch")]
    assert sorted(labels(found).values()) == ["onnxruntime-cpu", "pytorch"]


@pytest.mark.slow
def test_bench_compares_with_the_teacher_on_the_same_target(mixed_run: Path) -> None:
    timed = {item.name: item for item in bench(mixed_run, SHAPES, Console("silent"))}
    assert set(timed) == {
        f"{target}/{name}" for target in ("onnxruntime-cpu", "pytorch") for name in ("teacher", "fp32")
    }
    for target in ("onnxruntime-cpu", "pytorch"):
        teacher, student = timed[f"{target}/teacher"].rows[0], timed[f"{target}/fp32"].rows[0]
        assert teacher.speedup == 1.0
        assert student.speedup == pytest.approx(teacher.p50 / student.p50)


@pytest.mark.slow
def test_another_primary_metric_is_what_choices_gates_and_tables_go_by(shared_folder: Path) -> None:
    gates = {"metrics": {"macro-f1": {"min": 0.0, "max_drop": 1.0}, "log-loss": {"max": 0.0001}}}
    recipe = changed(PLAIN, gates=gates) | {"metric": "macro-f1"}
    folder = shared_folder / "macro"
    folder.mkdir()
    write_text_inputs(folder)
    write_recipe(folder, recipe)
    done = edgepress(folder, "run", "recipe.yaml")
    assert done.returncode == 3 and "log-loss.max of onnxruntime-cpu is 0.0001" in done.stderr
    found = json.loads((folder / "runs/plain/report/report.json").read_text())
    for row in (found["teacher"], *found["candidates"]):
        assert [one["key"] for one in row["metrics"] if one["primary"]] == ["macro-f1"]
        assert row["metrics"][0]["key"] == "macro-f1" and row["metrics"][0]["low"] is not None
    verdicts = [(gate["gate"], gate["passed"]) for gate in found["gates"]]
    assert verdicts == [("macro-f1.min", True), ("macro-f1.max_drop", True), ("log-loss.max", False)]
    page = (folder / "runs/plain/report/report.html").read_text()
    assert "Macro F1 against p50 at" in page and "Macro F1, latency and size" in page
    assert "macro F1 [95 %]" in (folder / "runs/plain/report/report.md").read_text()


def artifact(names: tuple[str, ...], **bounds: tuple[int, int]) -> Artifact:
    specs = tuple(TensorSpec(name=name, dtype="int64", shape=("batch", "sequence")) for name in names)
    return Artifact(
        name="a", target="t", candidate=Candidate(name="fp32", precision="fp32"), precision="fp32", files=(),
        signature=Signature(inputs=specs, outputs=(), bounds=bounds), parameters=1, int8_mac_share=0.0,
        comparison=Comparison(samples=1, max_abs_diff=0, agreement=1, sqnr_db=None),
    )  # fmt: skip


def test_shapes_are_those_that_every_artifact_takes_and_inputs_those_that_any_takes() -> None:
    wide = artifact(("ids", "mask", "token_type_ids"), batch=(1, 64), sequence=(2, 128))
    narrow = artifact(("ids",), batch=(1, 1), sequence=(4, 512))
    found = common_signature([narrow, wide])
    assert [spec.name for spec in found.inputs] == ["ids", "mask", "token_type_ids"]
    assert found.bounds == {"batch": (1, 1), "sequence": (4, 128)}


def test_names_alone_tell_artifacts_apart_until_two_targets_have_the_same_one() -> None:
    one = [Key("pytorch", "teacher"), Key("pytorch", "a/b")]
    assert list(labels(one).values()) == ["teacher", "a/b"]
    two = [*one, Key("xla-tpu", "teacher")]
    assert list(labels(two).values()) == ["pytorch/teacher", "pytorch/a/b", "xla-tpu/teacher"]


def timed_at(ms: float) -> SubjectResult:
    shape = Shape(batch=1, sequence=8, threads=1)
    return SubjectResult(measurements=(Measurement(metric="latency", unit="ms", samples=(ms,) * 11, shape=shape),))


def test_the_teacher_of_an_artifact_is_the_one_of_its_target() -> None:
    """5 and 8 ms against 2 ms each, also where a name holds a slash."""
    keys = [Key("a", "teacher"), Key("a", "x/y"), Key("b", "teacher"), Key("b", "x/y"), Key("c", "x/y")]
    names = labels(keys)
    results = {names[key]: timed_at(ms) for key, ms in zip(keys, (5.0, 2.0, 8.0, 2.0, 2.0), strict=True)}
    found = [_timed(key, names, results).rows[0].speedup for key in keys]
    assert found == [1.0, 2.5, 1.0, 4.0, None]


def test_synthetic_inputs_are_full_sequences_of_one_segment(tmp_path: Path) -> None:
    signature = artifact(("input_ids", "attention_mask", "token_type_ids"), batch=(1, 2), sequence=(2, 9)).signature
    shapes = Shapes(batches=(2,), sequences=(8,))
    (case,) = synthetic_cases(signature, shapes, tmp_path, Console("silent"))
    feeds = load_file(case.feeds)
    assert {name: value.shape for name, value in feeds.items()} == dict.fromkeys(feeds, (2, 8))
    assert feeds["attention_mask"].all()
    assert not feeds["token_type_ids"].any()


def test_no_shape_within_the_bounds_is_an_error_that_tells_them(tmp_path: Path) -> None:
    signature = artifact(("ids",), batch=(1, 1), sequence=(2, 9)).signature
    with pytest.raises(
        BenchmarkError, match=r"no shape to time fits; these artifacts take batch 1 to 1, sequence 2 to 9"
    ):
        synthetic_cases(signature, Shapes(batches=(4,)), tmp_path, Console("silent"))


def test_a_timed_row_is_told_with_its_intervals_and_what_it_lacks() -> None:
    row = LatencyRow(
        batch=1, sequence=None, threads=1, p50=2.567, p90=3.26, samples=30, speedup=10.8, p50_low=2.55, p50_high=2.6,
        speedup_low=10.6, speedup_high=11.0, cv=0.012, robust_cv=0.01,
    )  # fmt: skip
    assert latency_texts(row) == ("2.57 [2.55, 2.60]", "needs 64, has 30", "10.8x [10.6, 11.0]", "CV 1.2 %")


def test_an_artifact_whose_hardware_is_not_here_has_not_failed() -> None:
    timed = Timed("xla-tpu/bf16", "xla-tpu", (), "built, not run: no TPU here", absent=True)
    assert timed.remark == "built, not run: no TPU here"
    assert Timed("a", "pytorch", (), "signal 11").remark == "failed: signal 11"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "unit"),
    [
        (("offline", "--seconds", "0.2", "--batch", "2"), "samples/s"),
        (("sustained", "--seconds", "0.5"), "x"),
        (("server", "--latency-bound", "1000"), "queries/s"),
    ],
    ids=["offline", "sustained", "server"],
)
def test_a_scenario_gives_a_figure_for_each_artifact_of_a_run(
    plain_run: Path, options: tuple[str, ...], unit: str
) -> None:
    scenario, *rest = options
    done = edgepress(plain_run, "bench", "runs/plain", "--scenario", scenario, "--sequence", "8", *rest)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if f" {unit} " in line]
    assert [name for name in ("teacher", "fp32") if not any(name in line for line in lines)] == []


@pytest.mark.slow
def test_a_scenario_that_is_unknown_or_lacks_its_bound_is_one_line(plain_run: Path) -> None:
    unknown = edgepress(plain_run, "bench", "runs/plain", "--scenario", "turbo")
    assert unknown.returncode != 0
    assert "unknown scenario 'turbo'; there are multi-stream, offline, server, sustained" in unknown.stderr
    boundless = edgepress(plain_run, "bench", "runs/plain", "--scenario", "server")
    assert boundless.returncode != 0
    assert "the scenario 'server' needs a latency bound in ms: give --latency-bound" in boundless.stderr
