"""The worked example of a target in docs/extending keeps the contract of every target, by three hooks."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = "docs/extending/my_target.py"


def test_a_target_is_three_hooks_in_at_most_sixty_lines(root: Path) -> None:
    text = (root / EXAMPLE).read_text(encoding="utf-8")
    (target,) = (node for node in ast.parse(text).body if isinstance(node, ast.ClassDef))
    hooks = [node.name for node in target.body if isinstance(node, ast.FunctionDef)]
    assert hooks == ["_prepare", "_export", "_session"]
    assert len(text.splitlines()) <= 60


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_example_passes_the_contract_of_every_target(root: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.targets.third_party", "-p", "no:cacheprovider", "-n0"]
    contract = [*command, "tests/targets/contract/test_contract.py", "-k", "packed-pytorch", "-m", "not slow"]
    done = subprocess.run(contract, cwd=root, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed and int(passed[1]) >= 40, done.stdout
