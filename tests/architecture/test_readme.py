"""README is part of the product: it is short, its links hold, its code runs."""

from __future__ import annotations

import ast
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EDGEPRESS = [sys.executable, "-c", "from edgepress.compress.cli.app import app; app()"]
QUICK = {"--help", "--version", "targets", "init"}


@pytest.fixture(scope="module")
def readme(root: Path) -> str:
    return (root / "README.md").read_text(encoding="utf-8")


def blocks(readme: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", readme, flags=re.MULTILINE | re.DOTALL)


def commands(readme: str) -> list[str]:
    """The lines of console blocks that a user types, without prompt and comment; `\\` joins two."""
    text = "\n".join(blocks(readme, "console") + blocks(readme, "bash") + blocks(readme, "sh")).replace("\\\n", " ")
    lines = [line.removeprefix("$ ").split(" # ")[0].strip() for line in text.splitlines()]
    return [line for line in lines if line.startswith(("edgepress", "make", "pip", "git", "python"))]


def test_the_readme_fits_into_eight_kilobytes(root: Path) -> None:
    assert (root / "README.md").stat().st_size <= 8192


def test_the_readme_names_the_four_targets_in_its_first_sentence(readme: str) -> None:
    first = readme.split("\n\n")[1]
    assert all(name in first for name in ("ONNX Runtime CPU", "TensorRT GPU", "TFLite mobile", "XLA TPU"))


def test_every_local_link_leads_somewhere(root: Path, readme: str) -> None:
    links = re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", readme)
    assert [link for link in links if not (root / link).exists()] == []


def test_every_make_target_in_the_readme_exists(root: Path, readme: str) -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (root / "Makefile").read_text(), flags=re.MULTILINE))
    used = {match for line in commands(readme) for match in re.findall(r"^make ([a-z0-9-]+)", line)}
    assert used and used <= targets, used - targets


def test_every_edgepress_command_in_the_readme_exists(readme: str) -> None:
    words = {shlex.split(line)[1] for line in commands(readme) if line.startswith("edgepress ")}
    for word in sorted(word for word in words if not word.startswith("-")):
        done = subprocess.run([*EDGEPRESS, word, "--help"], capture_output=True, text=True)
        assert done.returncode == 0, f"README says 'edgepress {word}': {done.stderr}"


@pytest.mark.slow
def test_the_quick_commands_of_the_readme_run(readme: str, root: Path, workdir: Path) -> None:
    shutil.copytree(root / "examples", workdir / "examples")
    quick = [line for line in commands(readme) if line.startswith("edgepress ") and is_quick(shlex.split(line))]
    assert quick
    for line in quick:
        command = [*EDGEPRESS, *shlex.split(line)[1:]]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"


def is_quick(words: list[str]) -> bool:
    """Commands that take seconds and need nothing that was not there before; `<name>` stands for the user's own."""
    return not any("<" in word or ">" in word for word in words) and (words[1] in QUICK or "--dry-run" in words)


def test_every_python_block_of_the_readme_is_python(readme: str) -> None:
    assert blocks(readme, "python")
    for block in blocks(readme, "python"):
        ast.parse(block)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_quick_start_of_the_readme_runs(readme: str, root: Path, workdir: Path) -> None:
    shutil.copytree(root / "examples", workdir / "examples")
    code = blocks(readme, "python")[0]
    assert "from edgepress import" in code
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
