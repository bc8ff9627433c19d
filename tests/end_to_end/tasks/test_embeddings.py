"""Sentence embeddings through a run without labels, into a release that answers with vectors, onto a 'device'."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepress.benchmarks.devices.record import read_record
from edgepress.targets.errors import ArtifactError
from tests.benchmarks.tiny_release import run_bare, write_sealed
from tests.compress.tiny import tiny_pairs, tiny_sentence_teacher, tiny_text_data
from tests.end_to_end.conftest import finish, made_once
from tests.end_to_end.recipes import BENCHMARK, TRAINING, edgepress, environment

pytestmark = pytest.mark.slow

RECIPE: dict[str, Any] = {
    "name": "vectors",
    "task": "text-embeddings",
    "data": {"train": "train.jsonl", "validation": "dev.jsonl", "test": "test.jsonl", "max_length": 32,
             "columns": {"text_pair": "text_pair", "label": "score"}, "calibration": 8},
    "teacher": {"model": "teacher"},
    "student": {"layers": [1]},
    "stages": [
        {"distill": {"hidden": 1.0, "terms": {"similarities": 1.0}, "training": TRAINING}},
        {"quantize": {"min_int8_share": 0.05, "candidates": ["int8-static"], "max_drop": 2.0}},
    ],
    "targets": ["onnxruntime-cpu"],
    "benchmark": BENCHMARK,
    "gates": {"metrics": {"pair-spearman": {"min": -1.0}, "cosine": {"min": -1.0}}},
}  # fmt: skip
ALONE = """
import json, sys
sys.modules["torch"] = sys.modules["transformers"] = None
from edgepress.targets import open_bundle
print(json.dumps([answer.vector for answer in open_bundle(sys.argv[1]).predict(["good film", "a bad plot"])]))
"""


def write_inputs(folder: Path) -> Path:
    tiny_sentence_teacher(folder / "teacher")
    tiny_text_data(folder, 64)
    for name in ("dev.jsonl", "test.jsonl"):
        tiny_pairs(folder, name, 30)
    return folder


@pytest.fixture(scope="session")
def folder(shared_folder: Path) -> Path:
    """`runs/vectors`, finished and packaged; not to be changed."""

    def make(place: Path) -> None:
        finish(RECIPE, write_inputs)(place)
        done = edgepress(place, "package", "runs/vectors", "--samples", "5")
        assert done.returncode == 0 and "10 test rows travel with it" in done.stdout, done.stderr + done.stdout

    return made_once(shared_folder / "vectors", make)


def test_an_int8_artifact_is_judged_by_pairs_and_by_the_teachers_vectors(folder: Path) -> None:
    report = json.loads((folder / "runs/vectors/report/report.json").read_text())
    (row,) = (row for row in report["candidates"] if row["chosen"])
    found = {one["key"]: one for one in row["metrics"]}
    assert row["precision"] == "int8" and found["pair-spearman"]["primary"]
    assert found["pair-spearman"]["low"] < found["pair-spearman"]["value"] < found["pair-spearman"]["high"]
    assert {"pair-pearson", "recall-at-1", "recall-at-10", "cosine"} <= set(found)
    assert found["pair-spearman"]["difference_low"] is not None and -1 <= found["cosine"]["value"] <= 1
    assert (
        "Spearman rho" in (folder / "stdout").read_text() and [gate["passed"] for gate in report["gates"]] == [True] * 2
    )


def test_a_release_answers_with_vectors_of_length_one_without_torch(folder: Path) -> None:
    release = folder / "runs/vectors/release"
    done = subprocess.run(
        [sys.executable, "-c", ALONE, str(release)], env=environment(), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert np.linalg.norm(json.loads(done.stdout), axis=1) == pytest.approx([1.0, 1.0], abs=1e-3)
    assert np.shape(json.loads(done.stdout)) == (2, 16)


def test_a_device_compares_its_vectors_with_the_teachers(folder: Path, tmp_path: Path) -> None:

    release = shutil.copytree(folder / "runs/vectors/release", tmp_path / "device")
    done = run_bare(release, "--samples", "11")
    assert (done.returncode, done.stderr) == (0, "") and "cosine to the teacher" in done.stdout
    record = read_record(release / "record.json")
    assert record.accuracy is None and record.likeness is not None and record.likeness.rows == 10
    assert record.likeness.value == pytest.approx(np.mean(record.likeness.cosines))
    added = edgepress(folder, "report", "add", "runs/vectors", str(release / "record.json"))
    assert added.returncode == 0, added.stderr
    assert f"cosine {record.likeness.value:.4f}" in (folder / "runs/vectors/devices/devices.md").read_text()
    content = json.loads((release / "record.json").read_text())
    content["likeness"]["value"] = 0.5
    write_sealed(release / "record.json", {name: value for name, value in content.items() if name != "record_sha256"})
    with pytest.raises(ArtifactError, match=r"contradicts its raw values: likeness.value is 0.5, the cosines give"):
        read_record(release / "record.json")
