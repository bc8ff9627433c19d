"""Tags of words through a run, packaged, measured on a device, and answered without torch."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepress import targets
from edgepress.benchmarks.devices.record import read_record
from edgepress.targets import open_bundle
from edgepress.targets.errors import DataError
from tests.benchmarks.tiny_release import run_bare
from tests.compress.rows import lines
from tests.compress.tiny import tiny_tagged_rows, tiny_tagger
from tests.end_to_end.conftest import finish, made_once
from tests.end_to_end.recipes import BENCHMARK, TRAINING, edgepress, environment

TARGETS = ["onnxruntime-cpu"]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        any(targets.probe_all()[name].state == "missing" for name in TARGETS), reason="a target's extra is missing"
    ),
]

RECIPE: dict[str, Any] = {
    "name": "words",
    "task": "token-classification",
    "data": {"train": "train.jsonl", "test": "test.jsonl", "columns": {"label": "tags"}, "max_length": 16,
             "calibration": 8, "validation_fraction": 0.2},
    "teacher": {"model": "teacher", "training": {"epochs": 12, "batch_size": 16, "learning_rate": 3e-3}},
    "stages": [
        {"distill": {"training": TRAINING}},
        {"quantize": {"min_int8_share": 0.05, "candidates": ["int8-static", "int8"], "max_drop": 1.0}},
    ],
    "targets": TARGETS,
    "benchmark": BENCHMARK,
    "gates": {"metrics": {"entity-f1": {"min": 0.5, "max_drop": 0.5}}},
}  # fmt: skip
TEXT = "the  actor good, scene"
ALONE = """
import json, sys
sys.modules["torch"] = sys.modules["transformers"] = None
from edgepress.targets import open_bundle
answers = open_bundle(sys.argv[1]).predict(json.loads(sys.argv[2]), batch=4)
print(json.dumps([[answer.labels, [vars(span) for span in answer.spans], answer.unread] for answer in answers]))
"""


def write_inputs(folder: Path) -> Path:
    tiny_tagger(folder / "teacher")
    lines(folder / "train.jsonl", tiny_tagged_rows(160))
    # Of the last row's 30 words 14 fit between the two special tokens.
    lines(folder / "test.jsonl", [*tiny_tagged_rows(40), {"tokens": ["good"] * 30, "tags": ["O"] * 30}])
    return folder


@pytest.fixture(scope="session")
def run(shared_folder: Path) -> Path:
    """A folder with `runs/words`, finished and packaged; not to be changed."""

    def make(folder: Path) -> None:
        finish(RECIPE, write_inputs)(folder)
        done = edgepress(folder, "package", "runs/words")
        assert done.returncode == 0, done.stderr
        assert "41 test rows travel with it" in done.stdout

    return made_once(shared_folder / "words", make) / "runs/words"


def test_the_run_ends_with_an_int8_artifact_judged_by_entities(run: Path) -> None:
    report = json.loads((run / "report/report.json").read_text())
    chosen = {row["target"]: row for row in report["candidates"] if row["chosen"]}
    assert list(chosen) == TARGETS and {row["precision"] for row in chosen.values()} == {"int8"}
    for row in chosen.values():
        found = {one["key"]: one for one in row["metrics"]}
        assert found["entity-f1"]["primary"] and 0.5 < found["entity-f1"]["low"] < found["entity-f1"]["value"]
        assert found["token-agreement"]["value"] > 0.9 and found["sqnr"]["value"] > 5
    assert chosen["onnxruntime-cpu"]["batch_check"]["agreement"] > 0.9


def test_words_that_were_cut_away_are_told(run: Path) -> None:
    told = (run.parents[1] / "stderr").read_text() + (run.parents[1] / "stdout").read_text()
    assert "test.jsonl: 16 of " in told and "words are not judged: they lie beyond data.max_length (16 tokens)" in told


def test_spans_are_answered_without_torch_and_transformers(run: Path) -> None:
    rows = [TEXT, ["actor", "good", "film-plot", "scene"], "", "good " * 30]
    done = subprocess.run(
        [sys.executable, "-c", ALONE, str(run / "release"), json.dumps(rows)],
        env=environment(), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    text, words, empty, cut = json.loads(done.stdout)
    assert text[0] == ["PER", "LOC"]
    for found, row, starts in ((text[1], TEXT, [5, 17]), (words[1], " ".join(rows[1]), [0, 21])):
        assert [(span["label"], span["start"]) for span in found] == list(zip(("PER", "LOC"), starts, strict=True))
        assert all(span["text"] == row[span["start"] : span["end"]] for span in found)
        assert all(0.4 < span["score"] <= 1 for span in found)
    assert empty == [[], [], 0] and cut[2] == 16


def test_what_is_no_row_of_words_is_told(run: Path) -> None:
    with (
        open_bundle(run / "release") as bundle,
        pytest.raises(DataError, match=r"a text, or a list of its words is asked for, got \['a', 7\]"),
    ):
        bundle(["a", 7])


def test_a_device_compares_the_words_of_the_sample(run: Path, tmp_path: Path) -> None:
    release = shutil.copytree(run / "release", tmp_path / "device")
    done = run_bare(release, "--target", "onnxruntime-cpu", "--samples", "11")
    assert done.returncode == 0, done.stderr
    with np.load(release / "sample.npz") as sample:
        words = int((sample["labels"] != -100).sum())
    assert f" of {words} answers), agreement with the teacher" in done.stdout
    record = read_record(release / "record.json")
    assert record.accuracy is not None and record.accuracy.rows == words
    shutil.copytree(run.parents[1] / "runs", tmp_path / "runs")
    added = edgepress(tmp_path, "report", "add", "runs/words", str(release / "record.json"))
    assert (added.returncode, added.stderr) == (0, "")
