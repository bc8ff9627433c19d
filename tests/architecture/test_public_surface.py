from __future__ import annotations

import tomllib
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path

import pytest


def test_recipe_and_run_are_what_a_user_imports() -> None:
    from edgepress import Recipe, run

    assert isinstance(Recipe, type) and callable(run)


def test_edgepress_exports_exactly_its_public_names() -> None:
    import edgepress

    assert sorted(edgepress.__all__) == ["Model", "Recipe", "Result", "Splits", "run"]
    assert all(getattr(edgepress, name) is not None for name in edgepress.__all__)


def test_an_unknown_public_name_lists_those_there_are() -> None:
    import edgepress

    with pytest.raises(AttributeError, match=r"has no attribute 'Recipes'; it has Model, Recipe, Result, Splits, run"):
        _ = edgepress.Recipes


def test_every_target_in_the_registry_can_be_loaded_and_carries_its_name() -> None:
    from edgepress.targets import TARGETS, load

    assert {name: load(name).name for name in TARGETS} == {name: name for name in TARGETS}


def test_the_version_is_the_one_of_the_distribution(root: Path) -> None:
    import edgepress

    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    assert edgepress.__version__ == project["version"]


def test_the_command_points_at_something_callable(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    module, attribute = project["scripts"]["edgepress"].split(":")
    assert callable(getattr(import_module(module), attribute))
    assert [point.value for point in entry_points(group="console_scripts", name="edgepress")] == [
        f"{module}:{attribute}"
    ]


def test_every_pinned_version_satisfies_the_range_of_the_distribution(root: Path) -> None:
    from packaging.requirements import Requirement

    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    lines = [line for line in (root / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    pins = {name.lower().replace("_", "-"): version for name, version in (line.split("==") for line in lines)}
    wanted = [*project["dependencies"], *(r for extra in project["optional-dependencies"].values() for r in extra)]
    requirements = [Requirement(text) for text in wanted if not text.startswith("edgepress[")]
    missing = [r.name for r in requirements if r.name.lower() not in pins]
    assert missing == []
    assert [str(r) for r in requirements if pins[r.name.lower()] not in r.specifier] == []
