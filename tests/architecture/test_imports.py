"""Imports point one way, compress → benchmarks → targets, and nothing heavy is loaded before it is used."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

PACKAGES = ("compress", "benchmarks", "targets")
MAY_IMPORT = {
    "compress": {"compress", "benchmarks", "targets"},
    "benchmarks": {"benchmarks", "targets"},
    "targets": {"targets"},
}
# Where each backend's package may be imported; anything else asks the target.
BACKENDS = {
    "onnx": "targets/onnx*/*.py",
    "onnxruntime": "targets/onnx*/*.py",
    "onnxscript": "targets/onnx*/*.py",
    "onnxslim": "targets/onnx*/*.py",
    "onnx_ir": "targets/onnx*/*.py",
    "tensorrt": "targets/tensorrt_gpu/*.py",
    "tensorrt_rtx": "targets/tensorrt_gpu/*.py",
    "jax": "targets/xla_tpu/*.py",
    "litert_torch": "targets/tflite_mobile/*.py",
    "ai_edge_quantizer": "targets/tflite_mobile/*.py",
    "onnxconverter_common": "targets/onnx_graph/*.py",
    "ai_edge_litert": "targets/tflite_mobile/*.py",
    "torch_pruning": "compress/network/*.py",
    "datasets": "compress/data/*.py",
    "sklearn": "compress/data/*.py",
    "transformers": "compress/*.py",
}
# fmt: off
HEAVY = [
    "torch", "transformers", "datasets", "onnx", "onnxruntime", "onnxscript", "onnxslim", "jax", "tensorrt",
    "sklearn", "scipy", "pandas", "pyarrow", "plotly", "accelerate", "torch_pruning", "timm", "PIL",
]
LIGHT = [
    "edgepress", "edgepress.compress.cli.app", "edgepress.compress.recipe.recipe",
    "edgepress.compress.cli.console", "edgepress.compress.pipeline.store",
    "targets", "edgepress.targets.records", "benchmarks", "edgepress.benchmarks.records.report",
]
# fmt: on


def imports(path: Path, root: Path) -> Iterator[tuple[str, int, bool]]:
    """(module, line, only for types) of every import in a file, also inside functions and through import_module()."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
        for statement in node.body
        for inner in ast.walk(statement)
    }
    package = path.relative_to(root).parent.parts
    for node in ast.walk(tree):
        for name in _modules(node, package):
            yield name, getattr(node, "lineno", 0), id(node) in typing_only


def _modules(node: ast.AST, package: tuple[str, ...]) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name.removeprefix("edgepress.") for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        if node.level == 0:
            return [(node.module or "").removeprefix("edgepress.")]
        base = ".".join(package[: len(package) - node.level + 1])
        return [f"{base}.{node.module}" if node.module else base]
    if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
        called = ast.unparse(node.func).rpartition(".")[2]
        if called in ("import_module", "__import__") and isinstance(node.args[0].value, str):
            return [node.args[0].value]
    return []


def sources(root: Path) -> list[Path]:
    return [path for package in PACKAGES for path in sorted((root / package).rglob("*.py"))]


def test_the_three_packages_import_downwards_only(root: Path) -> None:
    wrong = []
    for path in sources(root):
        package = path.relative_to(root).parts[0]
        for module, line, _ in imports(path, root):
            top = module.split(".")[0]
            if top in PACKAGES and top not in MAY_IMPORT[package]:
                wrong.append(f"{path.relative_to(root)}:{line} imports {module}")
    assert wrong == []


def test_a_backend_is_imported_in_its_own_files_only(root: Path) -> None:
    wrong = []
    for path in sources(root):
        place = path.relative_to(root).as_posix()
        for module, line, typing_only in imports(path, root):
            allowed = BACKENDS.get(module.split(".")[0])
            if allowed is not None and not typing_only and not fnmatch(place, allowed):
                wrong.append(f"{place}:{line} imports {module}, which belongs into {allowed}")
    assert wrong == []


def test_benchmarks_knows_no_framework(root: Path) -> None:
    found = [
        f"{path.relative_to(root)}:{line} imports {module}"
        for path in sorted((root / "benchmarks").rglob("*.py"))
        for module, line, typing_only in imports(path, root)
        if not typing_only and module.split(".")[0] in ("torch", "transformers", *BACKENDS)
    ]
    assert found == []


def test_the_checker_sees_imports_of_every_form(tmp_path: Path) -> None:
    code = """
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    import torch
def f():
    import edgepress.compress.recipe
    from ..benchmarks import clock
    from . import base
    import_module("onnx")
"""
    path = tmp_path / "targets" / "sub" / "x.py"
    path.parent.mkdir(parents=True)
    path.write_text(code)
    assert [(name, types) for name, _, types in imports(path, tmp_path)][1:] == [
        ("torch", True),
        ("compress.recipe", False),
        ("targets.benchmarks", False),
        ("targets.sub", False),
        ("onnx", False),
    ]


@pytest.mark.parametrize("module", LIGHT)
def test_importing_loads_nothing_heavy(module: str, root: Path) -> None:
    code = f"import sys, {module}; print(*sorted(set({HEAVY!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr


def test_help_loads_nothing_heavy(root: Path) -> None:
    code = f"""
import sys
from edgepress.compress.cli.app import app
sys.argv = ["edgepress", "--help"]
try:
    app()
except SystemExit as end:
    assert end.code in (0, None), end.code
print("loaded:", *sorted(set({HEAVY!r}) & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert done.stdout.rstrip().endswith("loaded:"), done.stdout + done.stderr
