"""An artifact is opened again by `targets.of(artifact)`: by its target's name alone it would lose its options."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.architecture.test_house_rules import sources


def loaded_by_name(tree: ast.AST) -> Iterator[int]:
    """Lines of `load(artifact.target)`, also as `targets.load(...)`."""
    for node in ast.walk(tree):
        loads = isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == "load"
        if loads and node.args and ast.unparse(node.args[0]).endswith("artifact.target"):
            yield node.lineno


def test_no_artifact_is_opened_by_the_name_of_its_target(root: Path) -> None:
    found = [
        f"{path.relative_to(root)}:{line} loads by name: write targets.of(artifact)"
        for path in (*sources(root), *sorted((root / "examples").glob("*.py")))
        if path.relative_to(root).as_posix() != "targets/__init__.py"
        for line in loaded_by_name(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert found == []


def test_the_check_sees_both_forms() -> None:
    code = "load(artifact.target)\ntargets.load(self.artifact.target, {})\ntargets.of(artifact)\nload(name, given)\n"
    assert list(loaded_by_name(ast.parse(code))) == [1, 2]
