"""A foreign exception gets into a message by `errors.told` alone: others forget that it may have no text, or lines."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgepress.targets import errors
from edgepress.targets.errors import DataError, told
from tests.architecture.test_house_rules import sources

OWN = {name for name, kind in vars(errors).items() if isinstance(kind, type)} | {"ChildCrash", "ChildHang"}
EXCEPTION = re.compile(r"\b(Base)?Exception$|\b(Runtime|Value|OS|Type|Key|Index|Import)Error$")
# They search the text for what it names, and do not show it.
READS_THE_TEXT = {
    "targets/graph/export.py": "_explain",
    "targets/tflite_mobile/convert.py": "convert",
    "compress/model/model.py": "network_from_config",
    "compress/training/processes.py": "_is_loss",
}


def shown(tree: ast.AST, own: set[str] = OWN) -> Iterator[tuple[int, str]]:
    """(line, function) of every `str(fault)` and `{fault}` of an exception that may be another's."""
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef):
            arguments = (*function.args.args, *function.args.kwonlyargs)
            foreign = {one.arg for one in arguments if EXCEPTION.search(ast.unparse(one.annotation or one))}
            yield from ((line, function.name) for line in _uses(function.body, foreign))
            for node in ast.walk(function):
                if isinstance(node, ast.ExceptHandler) and node.name and _is_foreign(node.type, own):
                    yield from ((line, function.name) for line in _uses(node.body, {node.name}))


def _is_foreign(kind: ast.expr | None, own: set[str]) -> bool:
    """Whether an except clause, or an annotation of an exception, has one in it that is none of our own."""
    parts = kind.elts if isinstance(kind, ast.Tuple) else [kind] if kind is not None else []
    return any(ast.unparse(part).rpartition(".")[2] not in own for part in parts)


def _uses(body: list[ast.stmt], names: set[str]) -> Iterator[int]:
    for statement in body:
        for node in ast.walk(statement):
            text = isinstance(node, ast.Call) and ast.unparse(node.func) in ("str", "repr") and node.args
            value = text[0] if text else node.value if isinstance(node, ast.FormattedValue) else None
            if isinstance(value, ast.Name) and value.id in names:
                yield node.lineno


def test_a_foreign_exception_is_folded_by_told_alone(root: Path) -> None:
    found = [
        f"{place}:{line} in {function}: write told(fault)"
        for path in sources(root)
        for place in [path.relative_to(root).as_posix()]
        if place != "targets/errors.py"
        for line, function in shown(ast.parse(path.read_text(encoding="utf-8")))
        if READS_THE_TEXT.get(place) != function
    ]
    assert found == []


def test_the_check_sees_each_form_and_leaves_our_own_errors_alone() -> None:
    code = """
def f(cause: Exception, mine: TargetError, n: int):
    try: g()
    except (ValueError, TargetError) as fault:
        raise DataError(f"{path}: {fault}")
    except Exception as fault:
        raise DataError(str(fault).splitlines()[0])
    except TargetError as fault:
        notes.append(str(fault))
    except OSError as fault:
        raise DataError(f"{path}: {told(fault)}, {fault.strerror}, {n}")
    return str(cause) + str(mine)
"""
    assert sorted(shown(ast.parse(code))) == [(5, "f"), (7, "f"), (12, "f")]


@pytest.mark.parametrize(
    ("fault", "line"),
    [
        (IndexError(), "IndexError"),
        (ValueError("two\n\n  lines."), "ValueError: two lines"),
        (RuntimeError("\x1b[31mred\x1b[0m"), "RuntimeError: red"),
        (DataError("a.csv is empty. Fill it."), "a.csv is empty. Fill it."),
        (OSError("x" * 600), f"OSError: {'x' * 500}…"),
    ],
)
def test_told_gives_one_line_whatever_the_exception_says(fault: Exception, line: str) -> None:
    assert told(fault) == line
