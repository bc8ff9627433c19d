"""Numbers through every stage on four targets, and several labels on one: nothing there asks which task it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepress import targets
from tests.compress.rows import lines
from tests.compress.tiny import WORDS, tiny_text_teacher
from tests.end_to_end.conftest import made_once
from tests.end_to_end.recipes import BENCHMARK, TEXT, TRAINING, changed, edgepress, write_recipe
from tests.end_to_end.test_four_targets import FOUR

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        any(found.state == "missing" for found in targets.probe_all().values()), reason="a target's extra is missing"
    ),
]

STUDENT = {"layers": [1], "ffn": 16}
STAGES = [
    {"distill": {"hidden": 1.0, "training": TRAINING}},
    {"prune": {"heads": 0.5, "importance": "taylor", "max_drop": 2.0}},
    {"quantize": {"min_int8_share": 0.05, "candidates": ["int8-static", "int8"], "max_drop": 2.0}},
]
REGRESSION = changed(
    TEXT, name="numbers", task="text-regression", student=STUDENT, stages=STAGES, targets=FOUR, benchmark=BENCHMARK,
    data={"train": "numbers.jsonl", "test": None, "labels": None, "columns": {"text_pair": "pair", "label": "good"}},
    teacher={"model": "teacher", "training": {"epochs": 20, "batch_size": 16, "learning_rate": 3e-3}},
    gates={"metrics": {"spearman": {"min": -1.0, "max_drop": 2.0}}},
)  # fmt: skip
SEVERAL = changed(
    REGRESSION, name="several", task="text-labels", targets=FOUR[:1],
    data={"train": "several.jsonl", "columns": {"text_pair": "pair", "label": "words"}},
    gates={"metrics": {"label-macro-f1": {"min": 0.0, "max_drop": 1.0}}},
)  # fmt: skip


def write_rows(folder: Path) -> None:
    """Texts of a few words; how many of them are good ones is the number, which of three there are the labels."""
    random = np.random.default_rng(0)
    tiny_text_teacher(folder / "teacher")
    said = [list(random.choice(WORDS, int(random.integers(2, 12)))) for _ in range(160)]
    pairs = [{"text": " ".join(words), "pair": "the film"} for words in said]
    numbers = [
        row | {"good": words.count("good") + words.count("fine") / 2} for row, words in zip(pairs, said, strict=True)
    ]
    several = [
        row | {"words": sorted({"good", "bad", "actor"} & set(words))} for row, words in zip(pairs, said, strict=True)
    ]
    lines(folder / "numbers.jsonl", numbers)
    lines(folder / "several.jsonl", several)


@pytest.fixture(scope="session", params=[REGRESSION, SEVERAL], ids=["numbers", "several"])
def run(request: pytest.FixtureRequest, shared_folder: Path) -> Path:
    """The folder of a finished run."""
    recipe: dict[str, Any] = request.param

    def make(folder: Path) -> None:
        write_rows(folder)
        done = edgepress(folder, "run", str(write_recipe(folder, recipe)), timeout=280)
        assert done.returncode == 0, done.stderr
        (folder / "stdout").write_text(done.stdout)

    return made_once(shared_folder / f"task-{recipe['name']}", make) / "runs" / recipe["name"]


def test_every_target_has_an_int8_artifact_judged_by_the_tasks_own_metric(run: Path) -> None:
    report = json.loads((run / "report/report.json").read_text())
    primary = {"numbers": "spearman", "several": "label-macro-f1"}[run.name]
    chosen = {row["target"]: row for row in report["candidates"] if row["chosen"]}
    assert list(chosen) == {"numbers": FOUR, "several": FOUR[:1]}[run.name]
    assert {row["precision"] for row in chosen.values()} == {"int8"}
    for row in chosen.values():
        found = {one["key"]: one for one in row["metrics"]}
        assert found[primary]["primary"] and found[primary]["low"] < found[primary]["value"] < found[primary]["high"]
        assert "sqnr" in found and "accuracy" not in found


def test_the_terminal_and_the_page_speak_of_that_metric(run: Path) -> None:
    name = {"numbers": "Spearman", "several": "macro F1"}[run.name]
    told, page = (run.parents[1] / "stdout").read_text(), (run / "report/report.html").read_text()
    assert name in told and name in page


def test_the_release_says_what_its_outputs_are(run: Path) -> None:
    config = json.loads((run / "release/onnxruntime-cpu/config.json").read_text())
    kind, names = {
        "numbers": ("regression", ["good"]),
        "several": ("multi_label_classification", ["actor", "bad", "good"]),
    }[run.name]
    assert (config["problem_type"], list(config["id2label"].values())) == (kind, names)
