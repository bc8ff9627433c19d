"""Questions through a run, and answered without torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgepress import targets
from edgepress.targets import open_bundle
from edgepress.targets.errors import DataError
from tests.compress.rows import lines
from tests.compress.tiny import tiny_questions, tiny_reader
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
    "name": "questions",
    "task": "question-answering",
    "data": {"train": "train.jsonl", "test": "test.jsonl", "columns": {"label": "answers"}, "max_length": 12,
             "stride": 4, "calibration": 8, "validation_fraction": 0.2},
    "teacher": {"model": "teacher", "training": {"epochs": 8, "batch_size": 16, "learning_rate": 3e-3}},
    "stages": [
        {"distill": {"training": TRAINING}},
        {"quantize": {"min_int8_share": 0.05, "candidates": ["int8-static"], "max_drop": 1.0}},
    ],
    "targets": TARGETS,
    "benchmark": BENCHMARK,
}  # fmt: skip
LONG = {"question": "actor", "context": "good film " * 30 + "actor scene " + "poor plot " * 30}
ALONE = """
import json, sys
sys.modules["torch"] = sys.modules["transformers"] = None
from edgepress.targets import open_bundle
answers = open_bundle(sys.argv[1]).predict(json.loads(sys.argv[2]), batch=4)
print(json.dumps([[answer.label, [vars(span) for span in answer.spans]] for answer in answers]))
"""


def write_inputs(folder: Path) -> Path:
    tiny_reader(folder / "teacher")
    lines(folder / "train.jsonl", tiny_questions(160))
    lines(folder / "test.jsonl", tiny_questions(40, longest=30))  # several windows each
    return folder


@pytest.fixture(scope="session")
def run(shared_folder: Path) -> Path:
    """A folder with `runs/questions`, finished; not to be changed."""
    return made_once(shared_folder / "questions", finish(RECIPE, write_inputs)) / "runs/questions"


def test_the_run_ends_with_an_int8_artifact_judged_by_answers(run: Path) -> None:
    report = json.loads((run / "report/report.json").read_text())
    chosen = {row["target"]: row for row in report["candidates"] if row["chosen"]}
    assert list(chosen) == TARGETS and {row["precision"] for row in chosen.values()} == {"int8"}
    found = {one["key"]: one for one in chosen["onnxruntime-cpu"]["metrics"]}
    assert found["qa-f1"]["primary"] and 0 < found["qa-f1"]["low"] < found["qa-f1"]["value"]
    assert found["qa-f1"]["difference_low"] < found["qa-f1"]["difference_high"]
    exact = found["qa-exact-match"]["value"] * 40  # of documents, not of windows
    assert exact == pytest.approx(round(exact)) and found["qa-exact-match"]["value"] <= found["qa-f1"]["value"]
    assert found["span-agreement"]["value"] > 0.5 and found["sqnr"]["value"] > 5


def test_answers_are_given_without_torch_and_transformers(run: Path) -> None:
    rows = [LONG, ["scene", "good scene bad"], {"question": "actor", "context": ""}]
    done = subprocess.run(
        [sys.executable, "-c", ALONE, str(run / "release"), json.dumps(rows)],
        env=environment(), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    long, pair, empty = json.loads(done.stdout)
    for (label, (span,)), context in ((long, LONG["context"]), (pair, rows[1][1])):
        assert span["text"] == label == context[span["start"] : span["end"]] != ""
        assert 0 < span["score"] <= 1
    assert empty == ["", []]


def test_what_is_no_question_is_told(run: Path) -> None:
    with open_bundle(run / "release") as bundle:
        with pytest.raises(DataError, match=r'a mapping \{"question": text, "context": text\} is asked for, got 7'):
            bundle.predict([7])
        with pytest.raises(
            DataError, match="the question leaves room for 1 tokens of the context, and windows of 12 s"
        ):
            bundle({"question": "good " * 8, "context": "bad"})


def test_packaging_says_why_no_rows_travel(run: Path, tmp_path: Path) -> None:
    import shutil

    folder = shutil.copytree(run.parents[1], tmp_path / "copy")
    done = edgepress(folder, "package", "runs/questions")
    assert done.returncode == 0, done.stderr
    told = " ".join((done.stdout + done.stderr).split())
    assert "a device compares classes or vectors, and question-answering has none. It measures latency alone." in told
