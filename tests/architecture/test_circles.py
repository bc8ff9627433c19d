"""The ground floor has no import circle, imports for types and inside functions counted."""

from __future__ import annotations

from pathlib import Path

from tests.architecture.test_imports import imports

FLOOR = "targets"


def circles(graph: dict[str, set[str]]) -> set[str]:
    """Modules that reach themselves."""

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        waiting = [*graph[start]]
        while waiting:
            if (name := waiting.pop()) not in seen:
                seen.add(name)
                waiting += graph.get(name, ())
        return seen

    return {name for name in graph if name in reached(name)}


def test_no_file_of_the_ground_floor_imports_itself_by_way_of_others(root: Path) -> None:
    files = {
        ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): path
        for path in sorted((root / FLOOR).rglob("*.py"))
    }
    graph = {name: {module for module, *_ in imports(path, root)} & set(files) for name, path in files.items()}
    assert circles(graph) == set()


def test_the_check_sees_a_circle_of_three() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == {"a", "b", "c"}
