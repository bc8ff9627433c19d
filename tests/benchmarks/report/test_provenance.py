from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from edgepress.benchmarks.measure.jobs import Opened, identity
from edgepress.benchmarks.measure.provenance import check_same, kept
from edgepress.targets.errors import BenchmarkError
from edgepress.targets.records import Artifact, Candidate, Comparison, Feeds, FileEntry, Signature, TensorSpec

X = TensorSpec(name="x", dtype="float32", shape=("batch", 2))


def artifact(settings: dict[str, object], sha256: str = "ab" * 32) -> Artifact:
    return Artifact(
        name="int8-dynamic",
        target="onnxruntime-cpu",
        candidate=Candidate(name="int8-dynamic", precision="int8"),
        precision="int8",
        files=(FileEntry(path="model.onnx", bytes=1, sha256=sha256),),
        signature=Signature(inputs=(X,), outputs=(), bounds={"batch": (1, 8)}),
        parameters=1,
        int8_mac_share=1,
        comparison=Comparison(samples=1, max_abs_diff=0, agreement=1, sqnr_db=None),
        settings=settings,
    )


class Scaled:
    """A session that gives its input times a factor, plus a little."""

    def __init__(self, factor: float, more: float = 0.0) -> None:
        self.factor, self.more = factor, more

    def infer(self, feeds: Feeds) -> dict[str, np.ndarray]:
        return {"logits": feeds["x"] * self.factor + self.more}


@pytest.fixture
def feeds(tmp_path: Path) -> Path:
    save_file({"x": np.array([[1.0, -2.0]], np.float32), "unused": np.zeros(1)}, tmp_path / "x.safetensors")
    return tmp_path / "x.safetensors"


def opened(feeds: Path, settings: dict[str, object], threads: int = 1) -> Opened:
    return Opened(identity=identity(artifact(settings), threads), feeds=str(feeds), answer=(1.0, -2.0))


def test_the_same_files_settings_threads_and_answers_are_one_session(feeds: Path) -> None:
    check_same(opened(feeds, {"a": 1}), artifact({"a": 1}), 1, Scaled(1.0))
    check_same(opened(feeds, {"a": 1}), artifact({"a": 1}), 1, Scaled(1.0, 1e-6))


@pytest.mark.parametrize(
    ("settings", "sha256", "threads"),
    [({"a": 2}, "ab" * 32, 1), ({"a": 1}, "cd" * 32, 1), ({"a": 1}, "ab" * 32, 2)],
    ids=["settings", "files", "threads"],
)
def test_other_settings_files_or_threads_than_those_that_were_timed_are_found(
    feeds: Path, settings: dict[str, object], sha256: str, threads: int
) -> None:
    with pytest.raises(BenchmarkError, match="its files, settings or threads are not those that were timed"):
        check_same(opened(feeds, {"a": 1}), artifact(settings, sha256), threads, Scaled(1.0))


def test_an_artifact_of_other_options_of_its_target_is_another_session(feeds: Path) -> None:
    other = artifact({}).model_copy(update={"options": {"package": "tensorrt"}})
    with pytest.raises(BenchmarkError, match="not those that were timed"):
        check_same(opened(feeds, {}), other, 1, Scaled(1.0))


def test_another_model_behind_the_same_record_is_found_by_its_answers(feeds: Path) -> None:
    """Off by a tenth of the signal in each number: 10 log10(5 / 0.05) = 20 dB."""
    with pytest.raises(BenchmarkError, match=r"its answers differ, SQNR 20.0 dB, wanted at least 30 dB"):
        check_same(opened(feeds, {}), artifact({}), 1, Scaled(1.1))


def test_another_number_of_outputs_is_found(feeds: Path) -> None:
    more = opened(feeds, {}).model_copy(update={"answer": (1.0, -2.0, 0.0)})
    with pytest.raises(BenchmarkError, match="gives 2 numbers, 3 when it was timed"):
        check_same(more, artifact({}), 1, Scaled(1.0))


def test_of_an_answer_64_numbers_are_kept_and_none_is_nan() -> None:
    assert len(kept({"logits": np.zeros((9, 9), np.float32)})) == 64
    assert kept({"logits": np.array([np.nan, 1.0])}) == (0.0, 1.0)
    assert kept({}) == ()
