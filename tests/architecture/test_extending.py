"""The examples of docs/extending work as they stand outside of this tree, which is not wired to what it has."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgepress.compress.tasks import TASKS
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


def test_no_code_outside_of_its_registry_asks_for_a_task_by_name(root: Path) -> None:
    found = [
        f"{path.relative_to(root)}:{node.lineno}"
        for path in sources(root)
        if path != root / "compress/tasks/__init__.py"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value in TASKS
    ]
    assert found == []
