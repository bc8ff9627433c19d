"""Faults that were put in on purpose must be found by what a run checks. Slowness is planted in examples/trust.py."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from edgepress.benchmarks.judge.answers import artifact_logits
from edgepress.benchmarks.judge.fidelity import judge
from edgepress.benchmarks.judge.gates import judge_gates
from edgepress.benchmarks.measure.jobs import Case, Opened, Subject
from edgepress.benchmarks.measure.latency import measure_latency
from edgepress.benchmarks.records.report import Row, Shape
from edgepress.compress.cli.console import Console
from edgepress.compress.model.loading import load_network
from edgepress.compress.model.model import Model
from edgepress.compress.recipe.recipe import Recipe
from edgepress.compress.recipe.sections import Benchmark
from edgepress.compress.tasks.inference import logits_of
from edgepress.compress.tasks.workspace import Workspace
from edgepress.targets import load
from edgepress.targets.errors import BenchmarkError
from tests.compress.fakes import TokenFeatures, tiny_bert


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    """A tiny BERT for ONNX Runtime, on which two sessions with other settings give the same answers."""
    model, target = tiny_bert(), load("onnxruntime-cpu")
    feeds = TokenFeatures(4).batch(range(4))
    target.export(model, [feeds], target.candidates(model, "fp32")[0], tmp_path / "fp32")
    save_file({name: value[:1] for name, value in feeds.items()}, tmp_path / "case.safetensors")
    return tmp_path / "fp32"


def timed(artifact: Path, settings: dict[str, Any] | None) -> Opened:
    feeds = str(artifact.parent / "case.safetensors")
    case = Case(shape=Shape(batch=1, sequence=None, threads=1), feeds=feeds)
    subject = Subject(key="a", folder=str(artifact), settings=settings)
    result = measure_latency([subject], [case], samples=1, warmup=0, enough_s=0)["a"]
    assert result.failure is None and result.opened is not None
    return result.opened


def answers(artifact: Path, opened: Opened) -> np.ndarray:
    desk: Any = SimpleNamespace(options=Benchmark(), task=Console("silent").task)
    return artifact_logits(artifact, TokenFeatures(8), desk, "testing", opened=opened)


def test_a_session_with_other_settings_for_accuracy_than_for_timing_is_found(artifact: Path) -> None:
    other = {"disabled_optimizers": ["SkipLayerNormFusion"]}
    with pytest.raises(BenchmarkError, match="accuracy and latency of 'fp32' are not of one session"):
        answers(artifact, timed(artifact, other))
    assert answers(artifact, timed(artifact, None)).shape == (8, 2)


def test_a_file_that_is_changed_between_timing_and_testing_is_found(artifact: Path) -> None:
    opened = timed(artifact, None)
    model, target = tiny_bert(seed=1), load("onnxruntime-cpu")
    candidate = target.candidates(model, "fp32")[0]
    target.export(model, [TokenFeatures(4).batch(range(4))], candidate, artifact.parent / "other")
    (artifact.parent / "other").rename(artifact.parent / "fp32-new")
    with pytest.raises(BenchmarkError, match="files, settings or threads are not those that were timed"):
        answers(artifact.parent / "fp32-new", opened)


def shifted(network: Any, by: float) -> Any:
    """The classifier leans towards one class."""
    network.classifier.bias.data[1] += by
    return network


@pytest.mark.slow
def test_a_candidate_that_is_2_points_less_accurate_on_real_sentences_is_found(
    shared_data: Path, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATA", str(shared_data))
    workspace = Workspace(Recipe.load(root / "examples" / "sst2.yaml"), Console("silent"))
    recipe, test = workspace.recipe, workspace.test()
    network = load_network(str(recipe.teacher.model), "text-classification", trust_remote_code=False)
    signature = workspace.task.signature(network, workspace.processor, recipe.data)
    reference = logits_of(Model(network, "text-classification", signature), test)
    accuracy = float((reference.argmax(-1) == test.labels).mean())

    def leaning(by: float) -> np.ndarray:
        return reference + np.array([0.0, by], np.float32)

    by = next(by for by in np.arange(0, 9, 0.05) if (leaning(by).argmax(-1) == test.labels).mean() <= accuracy - 0.02)
    planted = Model(shifted(network, float(by)), "text-classification", signature)
    target = load("onnxruntime-cpu")
    calibration = [workspace.calibration.batch(range(8))]
    target.export(planted, calibration, target.candidates(planted, "fp32")[0], tmp_path / "planted")
    desk: Any = SimpleNamespace(options=Benchmark(), task=Console("silent").task)
    logits = artifact_logits(tmp_path / "planted", test, desk, "testing")

    metrics = judge(["accuracy", "agreement"], test.labels, reference, logits)
    own = judge(["accuracy", "agreement"], test.labels, reference, reference, is_teacher=True)
    assert own[0].value == pytest.approx(accuracy)
    common = {"target": "onnxruntime-cpu", "precision": "fp32", "status": "measured"}
    teacher = Row.model_validate({**common, "name": "teacher", "metrics": own})
    row = Row.model_validate({**common, "name": "planted", "metrics": metrics})
    figure = row.primary
    assert figure is not None and figure.difference == pytest.approx(-0.02, abs=0.002)
    assert figure.p is not None and figure.p < 0.05
    assert figure.difference_high is not None and figure.difference_high < 0
    gates = {"max_accuracy_drop": 0.02, "min_accuracy_ratio": 0.98}
    assert [one.passed for one in judge_gates(gates, teacher, row)] == [False, False]
