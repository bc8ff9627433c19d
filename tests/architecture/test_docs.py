"""docs/ is part of the product: generated pages are fresh, links and names hold, every target has its page."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from edgepress.targets import TARGETS
from tests.architecture.test_readme import EDGEPRESS, blocks, commands


def pages(root: Path) -> list[Path]:
    return sorted((root / "docs").rglob("*.md"))


def test_generated_pages_are_fresh(root: Path) -> None:
    """Make them again with `make docs`."""
    done = subprocess.run([sys.executable, root / "docs/generate.py", "--check"], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_every_target_has_a_page_with_its_pitfalls(root: Path) -> None:
    for name in TARGETS:
        text = (root / f"docs/targets/{name}.md").read_text(encoding="utf-8")
        assert text.startswith(f"# {name}\n") and "## Pitfalls\n" in text
    assert {page.stem for page in (root / "docs/targets").glob("*.md")} == set(TARGETS)


def test_every_local_link_of_the_docs_leads_somewhere(root: Path) -> None:
    for page in pages(root):
        text = page.read_text(encoding="utf-8")
        links = re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", text)
        assert [link for link in links if not (page.parent / link).exists()] == [], page.name


def test_every_page_can_be_reached_from_the_readme(root: Path) -> None:
    reached, waiting = set(), [root / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached:
            continue
        reached.add(page)
        links = re.findall(r"\]\((?!https?:|#)([^)#\s]+\.md)\)", page.read_text(encoding="utf-8"))
        waiting += [(page.parent / link).resolve() for link in links]
    assert [page.name for page in pages(root) if page not in reached] == []


def test_every_edgepress_command_in_the_docs_exists(root: Path) -> None:
    lines = [line for page in pages(root) for line in commands(page.read_text(encoding="utf-8"))]
    words = {line.split()[1] for line in lines if line.startswith("edgepress ")}
    for word in sorted(word for word in words if not word.startswith("-")):
        done = subprocess.run([*EDGEPRESS, word, "--help"], capture_output=True, text=True)
        assert done.returncode == 0, f"the docs say 'edgepress {word}': {done.stderr}"


def test_every_python_block_of_the_docs_is_python_and_every_recipe_is_one(root: Path, tmp_path: Path) -> None:
    from edgepress import Recipe
    from edgepress.compress.fleet.config import read_fleet

    for page in [root / "README.md", *pages(root)]:
        text = page.read_text(encoding="utf-8")
        for block in blocks(text, "python"):
            ast.parse(block)
        for number, block in enumerate(blocks(text, "yaml")):
            path = tmp_path / f"{page.stem}-{number}.yaml"
            path.write_text(block, encoding="utf-8")
            is_fleet = re.search(r"^devices:", block, re.MULTILINE)
            assert read_fleet(path).devices if is_fleet else Recipe.load(path).stages, page.name


@pytest.mark.parametrize("folder", ["compress", "targets", "benchmarks"])
def test_the_code_map_names_every_source_file(root: Path, folder: str) -> None:
    text = (root / "docs/architecture.md").read_text(encoding="utf-8")
    files = [path for path in (root / folder).rglob("*.py") if path.name != "__init__.py"]
    assert files and [path.name for path in files if f"`{path.name}`" not in text] == []
