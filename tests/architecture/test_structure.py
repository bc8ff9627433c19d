"""The folders show the idea: none is a corridor, wings are floors too, and nothing imports in a circle."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.architecture.test_imports import PACKAGES, imports, sources

FULLEST = 15
FULLEST_OF_TESTS = 25  # whole runs, which have no wing of their own


def modules(root: Path) -> dict[str, Path]:
    """Dotted name, as `imports` gives it -> file; packages by their own name."""
    found = {}
    for path in sources(root):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def graph(root: Path) -> dict[str, set[str]]:
    """Which module imports which, anywhere in it: imports for type checkers and inside functions count."""
    known = modules(root)
    edges: dict[str, set[str]] = {name: set() for name in known}
    for name, path in known.items():
        for target in imported(path, root, known):
            if target != name:
                edges[name].add(target)
    return edges


def imported(path: Path, root: Path, known: dict[str, Path]) -> set[str]:
    """The modules, not the packages they lie in, that a file's imports name."""
    import ast

    found = set()
    for module, _, _ in imports(path, root):
        if module in known:
            found.add(module)
    # `from package import module` names the module, and not only its package.
    package = path.relative_to(root).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            base = (node.module or "").removeprefix("edgepress").removeprefix(".")
            if node.level:
                base = ".".join([*package[: len(package) - node.level + 1], *filter(None, [node.module])])
            inner = {f"{base}.{alias.name}" for alias in node.names} & set(known)
            if len(inner) == len(node.names):
                found.discard(base)
            found |= inner
    return found


def longest_chain(edges: dict[str, set[str]]) -> list[str]:
    """The longest path of imports in a graph without circles, from the top down."""
    best: dict[str, list[str]] = {}
    for name in TopologicalSorter(edges).static_order():
        below = max((best[other] for other in edges[name]), key=len, default=[])
        best[name] = [name, *below]
    return max(best.values(), key=len)


def test_no_folder_is_a_corridor(root: Path) -> None:
    counts = {
        folder.relative_to(root).as_posix(): len([path for path in folder.glob("*.py") if path.name != "__init__.py"])
        for package in PACKAGES
        for folder in [root / package, *(root / package).rglob("*")]
        if folder.is_dir() and folder.name != "__pycache__"
    }
    assert {name: count for name, count in counts.items() if count > FULLEST} == {}


def test_no_folder_of_tests_is_a_corridor(root: Path) -> None:
    """Tests lie beside their wing: a folder's tests are what its wing promises."""
    folders = [path for path in (root / "tests").rglob("*") if path.is_dir() and path.name != "__pycache__"]
    counts = {path.relative_to(root).as_posix(): len(list(path.glob("test_*.py"))) for path in folders}
    assert {name: count for name, count in counts.items() if count > FULLEST_OF_TESTS} == {}


def test_nothing_imports_in_a_circle(root: Path) -> None:
    try:
        order = tuple(TopologicalSorter(graph(root)).static_order())
    except CycleError as circle:
        pytest.fail(" → ".join(circle.args[1]))
    assert order


def test_the_check_for_circles_sees_one(tmp_path: Path) -> None:
    folder = tmp_path / "targets"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "a.py").write_text("def f():\n    from edgepress.targets import b\n")
    (folder / "b.py").write_text("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .a import f\n")
    edges = graph(tmp_path)
    assert edges["targets.a"] == {"targets.b"} and edges["targets.b"] == {"targets.a"}
    with pytest.raises(CycleError):
        tuple(TopologicalSorter(edges).static_order())


def test_the_tower_of_imports_grows_no_higher(root: Path) -> None:
    """From the command line down to the errors, through every floor; imports inside of functions count."""
    assert len(longest_chain(graph(root))) <= 30
