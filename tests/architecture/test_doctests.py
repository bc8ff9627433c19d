"""Worked examples in docstrings give what they say."""

from __future__ import annotations

import doctest
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


def with_examples() -> list[str]:
    """Import names of the source files that hold a doctest."""
    return [
        "edgepress." + ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for folder in ("compress", "targets", "benchmarks")
        for path in sorted((ROOT / folder).rglob("*.py"))
        if ">>> " in path.read_text(encoding="utf-8")
    ]


@pytest.mark.parametrize("module", with_examples())
def test_examples_in_docstrings_are_true(module: str) -> None:
    result = doctest.testmod(import_module(module), optionflags=FLAGS)
    assert result.attempted > 0 and result.failed == 0, result
