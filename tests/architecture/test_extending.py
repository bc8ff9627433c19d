"""The examples of docs/extending work as they stand outside of this tree, which is not wired to what it has."""

from __future__ import annotations

import ast
import importlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
import yaml

from edgepress.benchmarks.metrics.base import value_of
from edgepress.compress.recipe.recipe import Recipe
from edgepress.compress.recipe.sections import Gates
from edgepress.compress.tasks import TASKS, load_task
from edgepress.compress.tasks.metrics import metrics_of
from tests.architecture.test_imports import sources
from tests.compress.tiny import tiny_text_data, tiny_text_teacher
from tests.conftest import ROOT

FOLDER = ROOT / "docs" / "extending"
LONGEST = 60
RECIPE = """
name: pairs
task: text-pairs
data: {train: train.jsonl, calibration: 8, max_length: 16, columns: {text_pair: pair}}
teacher: {model: teacher}
student: {layers: 1}
"""


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.name)
def test_an_example_is_short_and_its_page_refers_to_it(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST
    assert f"]({path.name})" in (FOLDER / "README.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_task_of_existing_parts_makes_a_student(tmp_path: Path) -> None:
    shutil.copy(FOLDER / "my_task.py", tmp_path)
    tiny_text_data(tmp_path, pairs=True)
    tiny_text_teacher(tmp_path / "teacher")
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    command = [sys.executable, "my_task.py", "recipe.yaml", "student"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout.split(" in ")[0]) == (0, "teacher student"), done.stderr
    (student,) = [path for path in (tmp_path / "runs/pairs").rglob("model.json") if "student" in str(path)]
    model = json.loads(student.read_text())
    assert model["task"] == "text-pairs"
    assert [spec["name"] for spec in model["signature"]["inputs"]][-1] == "token_type_ids"
    assert model["signature"]["outputs"][0]["shape"] == ["batch", 2]


def of_the_user(monkeypatch: pytest.MonkeyPatch, name: str) -> ModuleType:
    """A file of docs/extending, imported as a user does who has it on the path."""
    monkeypatch.syspath_prepend(FOLDER)
    monkeypatch.delitem(sys.modules, name, raising=False)
    return importlib.import_module(name)


def test_a_metric_of_ones_own_has_its_figure_and_its_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    from edgepress.benchmarks import metrics

    before = set(metrics.METRICS)
    of_the_user(monkeypatch, "my_metric")
    try:
        own = metrics.metric("top-3")
        logits = np.array([[4.0, 3, 2, 1], [1, 2, 3, 4], [4, 3, 2, 1], [4, 3, 2, 1]])
        counts = own.counts(np.array([2, 0, 3, 0]), logits)  # the labels' ranks are 3, 4, 4 and 1
        assert counts.tolist() == [[1.0], [0.0], [0.0], [1.0]] and value_of(own, counts) == 0.5
        assert Gates.model_validate({"metrics": {"top-3": {"min": 0.4}}}).metrics["top-3"].min == 0.4
        recipe = Recipe.model_validate(yaml.safe_load(RECIPE) | {"task": "text-classification", "metric": "top-3"})
        assert metrics_of(load_task(recipe.task), recipe)[0] == "top-3"
    finally:
        for key in set(metrics.METRICS) - before:
            del metrics.METRICS[key]


def test_a_term_of_ones_own_is_one_file_and_has_the_loss_that_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    from edgepress.compress.methods.distill.options import Distill
    from edgepress.compress.methods.distill.terms import TERMS
    from edgepress.compress.methods.distill.terms.base import Batch, Compared

    kept = dict(TERMS)
    module = of_the_user(monkeypatch, "my_term")
    try:
        assert TERMS["ranking"] == "my_term:Ranking"
        term = module.Ranking(Distill(terms={"ranking": 0.5}), Compared())
        student = SimpleNamespace(logits=torch.tensor([[0.0, 0.5]]))
        batch = Batch(torch.tensor([0]), None)
        # The teacher prefers class 0; the student's lead there is -0.5, so 1 - (-0.5) is missing to the margin.
        assert term.loss(student, {"logits": torch.tensor([[2.0, 1.0]])}, batch).item() == 1.5
        assert term.loss(student, {"logits": torch.tensor([[1.0, 2.0]])}, batch).item() == 0.5
    finally:
        TERMS.clear()
        TERMS.update(kept)


def test_no_code_outside_of_its_registry_asks_for_a_task_by_name(root: Path) -> None:
    found = [
        f"{path.relative_to(root)}:{node.lineno}"
        for path in sources(root)
        if path != root / "compress/tasks/__init__.py"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value in TASKS
    ]
    assert found == []
