"""Whole runs, made once for all tests and all workers, and copied by those that change them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import made_once
from tests.end_to_end.recipes import (
    IMAGE,
    PLAIN,
    TEXT,
    edgepress,
    write_image_inputs,
    write_recipe,
    write_text_inputs,
)


def finish(recipe: dict[str, Any], inputs: Callable[[Path], Path], *options: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        inputs(folder)
        write_recipe(folder, recipe)
        done = edgepress(folder, "run", "recipe.yaml", *options)
        (folder / "stdout").write_text(done.stdout)
        (folder / "stderr").write_text(done.stderr)
        assert done.returncode == 0, done.stderr

    return make


@pytest.fixture(scope="session")
def text_run(shared_folder: Path) -> Path:
    """A folder with recipe.yaml, its inputs and `runs/text`, finished; not to be changed."""
    return made_once(shared_folder / "text", finish(TEXT, write_text_inputs))


@pytest.fixture(scope="session")
def image_run(shared_folder: Path) -> Path:
    """The same for images: `runs/image`."""
    return made_once(shared_folder / "image", finish(IMAGE, write_image_inputs))


@pytest.fixture(scope="session")
def plain_run(shared_folder: Path) -> Path:
    """The smallest run, its log as JSON: `runs/plain`."""
    return made_once(shared_folder / "plain", finish(PLAIN, write_text_inputs, "--json"))


@pytest.fixture(scope="session")
def text_inputs(shared_folder: Path) -> Path:
    """Only a teacher and data."""
    return made_once(shared_folder / "inputs", write_text_inputs)


def _copied(source: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(source, place, dirs_exist_ok=True)
    monkeypatch.chdir(place)
    return place


@pytest.fixture
def text_copy(text_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return _copied(text_run, tmp_path, monkeypatch)


@pytest.fixture
def plain_copy(plain_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return _copied(plain_run, tmp_path, monkeypatch)


@pytest.fixture
def inputs(text_inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with teacher and data of its own; the current one."""
    return _copied(text_inputs, tmp_path, monkeypatch)
