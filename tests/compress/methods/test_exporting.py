from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from edgepress import targets
from edgepress.benchmarks.measure import settings as exporting
from edgepress.benchmarks.measure.cases import shapes_of, write_cases
from edgepress.benchmarks.measure.jobs import SubjectResult
from edgepress.benchmarks.measure.settings import choose_settings, geometric_mean
from edgepress.benchmarks.records.report import Measurement, Shape
from edgepress.compress.methods.desk import desk_of
from edgepress.compress.recipe.sections import Benchmark
from edgepress.targets.records import Artifact
from tests.compress.fakes import tiny_bert, write_artifact

BOUNDS = {"batch": (1, 64), "sequence": (2, 32)}
MODEL = tiny_bert()


def timing(*samples: float) -> Measurement:
    return Measurement(metric="latency", unit="ms", samples=samples, shape=Shape(batch=1, sequence=None, threads=1))


def test_every_combination_within_the_bounds_is_timed_once() -> None:
    benchmark = Benchmark(batches=(1, 8), sequences=(16, 64, 128), threads=(1, 2))
    shapes = [(shape.batch, shape.sequence, shape.threads) for shape in shapes_of(benchmark, True, BOUNDS)]
    # 64 and 128 are both cut to the 32 positions that there are.
    assert shapes == [(b, s, t) for t in (1, 2) for b in (1, 8) for s in (16, 32)]


def test_models_without_a_sequence_are_timed_by_batch_alone() -> None:
    shapes = shapes_of(Benchmark(batches=(1, 4), sequences=(16, 32)), False, {"batch": (1, 64)})
    assert [(shape.batch, shape.sequence) for shape in shapes] == [(1, None), (4, None)]


def test_no_shape_outweighs_another_in_the_mean() -> None:
    assert geometric_mean([timing(1.0, 2.0, 9.0), timing(8.0)]) == pytest.approx(4.0)


def test_cases_are_real_rows_in_each_shape(measuring: Any, tmp_path: Path) -> None:
    cases = write_cases(desk_of(measuring), MODEL.signature, tmp_path)
    assert [Path(case.feeds).name for case in cases] == [
        "batch1-sequence8.safetensors", "batch1-sequence32.safetensors",
        "batch2-sequence8.safetensors", "batch2-sequence32.safetensors",
    ]  # fmt: skip
    feeds = load_file(cases[2].feeds)
    np.testing.assert_array_equal(feeds["input_ids"], measuring.data.calibration.batch([0, 1], 32)["input_ids"][:, :8])


def test_the_fastest_settings_are_recorded(measuring: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_artifact(tmp_path / "a")
    settings = [{"number": 0}, {"number": 1}]
    monkeypatch.setattr(targets, "of", lambda artifact: SimpleNamespace(session_settings=lambda: settings))
    times = {"x#0": 3.0, "x#1": 2.0}
    monkeypatch.setattr(
        exporting,
        "measure_latency",
        lambda subjects, *_, **__: {s.key: SubjectResult(measurements=(timing(times[s.key]),)) for s in subjects},
    )
    choose_settings({"x": tmp_path / "a"}, [], desk_of(measuring))
    assert Artifact.read(tmp_path / "a/artifact.json").settings == {"number": 1}


def test_settings_that_fail_are_not_taken(measuring: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_artifact(tmp_path / "a")
    settings = [{"number": 0}, {"number": 1}]
    monkeypatch.setattr(targets, "of", lambda artifact: SimpleNamespace(session_settings=lambda: settings))
    found = {"x#0": SubjectResult(measurements=(timing(3.0),)), "x#1": SubjectResult(failure="broken")}
    monkeypatch.setattr(exporting, "measure_latency", lambda *_, **__: found)
    choose_settings({"x": tmp_path / "a"}, [], desk_of(measuring))
    assert Artifact.read(tmp_path / "a/artifact.json").settings == {"number": 0}


def test_one_choice_of_settings_is_not_measured(
    measuring: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_artifact(tmp_path / "a", "pytorch")
    monkeypatch.setattr(exporting, "measure_latency", lambda *_, **__: pytest.fail("measured"))
    choose_settings({"x": tmp_path / "a"}, [], desk_of(measuring))
