"""Rules of the house that a machine can check."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGES = ("compress", "benchmarks", "targets")
LONGEST_FUNCTION, LONGEST_FILE = 60, 400
HOME = re.compile(r"(?<![\w.])/(?:home|root|Users|work)/\w")


def sources(root: Path) -> list[Path]:
    return [path for package in PACKAGES for path in sorted((root / package).rglob("*.py"))]


def forbidden(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, what) of everything that runs code out of data."""
    safe = {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and any(ast.unparse(base).endswith("SafeLoader") for base in node.bases)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            if {name.split(".")[0] for name in names} & {
                "pickle",
                "cPickle",
                "cloudpickle",
                "dill",
                "marshal",
                "shelve",
            }:
                yield node.lineno, ast.unparse(node)
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            options = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            if called in (
                "eval",
                "exec",
                "yaml.unsafe_load",
                "yaml.full_load",
                "joblib.load",
                "os.system",
                "torch.jit.load",
                "torch.hub.load",
            ):
                yield node.lineno, called
            if called == "yaml.load" and options.get("Loader") not in safe:
                yield node.lineno, "yaml.load without a SafeLoader"
            if called == "torch.load" and options.get("weights_only") != "True":
                yield node.lineno, "torch.load without weights_only=True"
            if called in ("np.load", "numpy.load") and options.get("allow_pickle", "False") != "False":
                yield node.lineno, "np.load with allow_pickle"
            if options.get("shell", "False") != "False":
                yield node.lineno, "shell=True"


def test_a_function_fits_on_a_page(root: Path) -> None:
    long = [
        f"{path.relative_to(root)}:{node.lineno} {node.name} has {node.end_lineno - node.lineno + 1} lines"
        for path in sources(root)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno + 1 > LONGEST_FUNCTION
    ]
    assert long == []


def test_a_file_is_one_idea(root: Path) -> None:
    sizes = {path.relative_to(root).as_posix(): len(path.read_text().splitlines()) for path in sources(root)}
    assert {name: size for name, size in sizes.items() if size > LONGEST_FILE} == {}


def test_nothing_runs_code_out_of_data(root: Path) -> None:
    found = [
        (path.relative_to(root).as_posix(), what)
        for path in sources(root)
        for _, what in forbidden(ast.parse(path.read_text(encoding="utf-8")))
    ]
    # The one place that runs a file of the user's own, with leave: tests/compress/model/test_own_code.py.
    assert found == [("compress/model/code.py", "exec")]


def test_an_archive_of_torch_export_is_read_only_by_the_child_of_the_process_that_wrote_it(root: Path) -> None:
    """To load one is to run whatever its maker wanted: it comes with the request of a converter, and goes after it."""
    readers = [path.relative_to(root).as_posix() for path in sources(root) if "export.load(" in path.read_text()]
    assert readers == ["targets/tflite_mobile/convert.py", "targets/xla_tpu/convert.py"]


def test_the_check_for_unsafe_code_sees_each_form() -> None:
    code = """
import pickle
from joblib import load
model.eval()
eval("1")
yaml.safe_load(f)
yaml.load(f)
class Mine(yaml.SafeLoader): ...
yaml.load(f, Loader=Mine)
torch.load(f)
torch.load(f, weights_only=True)
np.load(f, allow_pickle=True)
subprocess.run(c, shell=True)
"""
    assert [line for line, _ in sorted(forbidden(ast.parse(code)))] == [2, 5, 7, 10, 12, 13]


def test_no_file_knows_the_machine_it_was_written_on(root: Path) -> None:
    others = ["pyproject.toml", "Makefile", "constraints.txt", ".ci/run", ".gitignore", ".pre-commit-config.yaml"]
    paths = [
        *sources(root),
        *(root / name for name in others),
        *root.glob("*.md"),
        *(root / "examples").rglob("*.yaml"),
    ]
    found = [path.relative_to(root).as_posix() for path in paths if HOME.search(path.read_text(encoding="utf-8"))]
    assert found == []


def test_errors_for_users_are_drawn_in_the_tree_of_their_file() -> None:
    from edgepress.targets import errors

    classes = [name for name, kind in vars(errors).items() if isinstance(kind, type)]
    assert errors.__doc__ is not None
    assert [name for name in classes if not re.search(rf"\b{name}\b", errors.__doc__)] == []


def tracked_links(root: Path) -> list[str]:
    """Paths of links that git holds: one to a machine's own folder breaks every other clone."""
    listed = subprocess.run(["git", "ls-files", "-s"], cwd=root, capture_output=True, text=True, check=True).stdout
    return [line.split("\t")[1] for line in listed.splitlines() if line.startswith("120000 ")]


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not here")
def test_no_link_is_tracked(root: Path, tmp_path: Path) -> None:
    if (root / ".git").exists():
        assert tracked_links(root) == []
    (tmp_path / ".venv-x").symlink_to("/nowhere")
    (tmp_path / "kept").write_text("")
    for command in (["git", "init", "-q"], ["git", "add", "."]):
        subprocess.run(command, cwd=tmp_path, check=True)
    assert tracked_links(tmp_path) == [".venv-x"]
