"""Every extra brings what it promises, in the versions that were tested: pip goes back to old ones without a word."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.conftest import ROOT

# Modules whose name is not that of their distribution.
MODULES = {
    "cyclonedx-python-lib": "cyclonedx",
    "pillow": "PIL",
    "pre-commit": "pre_commit",
    "pytest-xdist": "xdist",
    "pyyaml": "yaml",
    "scikit-learn": "sklearn",
    "tensorrt-rtx-cu13": "tensorrt_rtx",
}
BROUGHT = {("jax", "tpu"): ["libtpu"]}  # by the extras of others
NO_MODULE = {"ruff", "types-pyyaml"}  # a program, and stubs
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS: dict[str, list[str]] = {"": PROJECT["dependencies"], **PROJECT["optional-dependencies"]}


def requirements(extra: str) -> dict[str, Requirement]:
    """Distribution → what the extra asks of it on this machine, with those of the extras that it is made of."""
    found: dict[str, Requirement] = {}
    for requirement in map(Requirement, EXTRAS[extra]):
        if requirement.marker is not None and not requirement.marker.evaluate():
            continue
        name = canonicalize_name(requirement.name)
        if name == "edgepress":
            for part in requirement.extras:
                found |= requirements(part)
        else:
            found[name] = requirement
            found |= {
                other: Requirement(other) for part in requirement.extras for other in BROUGHT.get((name, part), ())
            }
    return found


def _parts(text: str) -> set[str]:
    """The extras of its own that a line of an extra stands for."""
    requirement = Requirement(text)
    return requirement.extras if requirement.name == "edgepress" else set()


def pins() -> dict[str, Version]:
    """Distribution → its version in constraints.txt."""
    lines = (line.partition("#")[0].strip() for line in (ROOT / "constraints.txt").read_text().splitlines())
    pairs = (line.split("==") for line in lines if line)
    return {canonicalize_name(name): Version(version) for name, version in pairs}


def installed(name: str) -> Version | None:
    """Without a local part: `2.13.0+cpu` is 2.13.0."""
    try:
        return Version(Version(metadata.version(name)).public)
    except metadata.PackageNotFoundError:
        return None


def wanted(extra: str) -> dict[str, Requirement]:
    """The requirements of an extra that is installed whole; skips the test where it is not."""
    asked = requirements(extra)
    if missing := [name for name in asked if installed(name) is None]:
        pytest.skip(f"the extra {extra or 'of none'} is not installed: {', '.join(missing)} is missing")
    return asked


@pytest.mark.parametrize("extra", EXTRAS)
def test_an_extra_resolved_to_the_versions_that_were_tested(extra: str) -> None:
    versions = pins()
    differ = {name: (installed(name), versions[name]) for name in wanted(extra) if installed(name) != versions[name]}
    assert differ == {}


def test_whatever_is_installed_beside_them_is_as_tested_too() -> None:
    differ = {name: (found, version) for name, version in pins().items() if (found := installed(name)) != version}
    assert {name: pair for name, pair in differ.items() if pair[0] is not None} == {}


@pytest.mark.slow
@pytest.mark.parametrize("extra", [extra for extra in EXTRAS if extra != "all"])  # which is made of the others
def test_what_an_extra_brings_can_be_imported(extra: str, tmp_path: Path) -> None:
    others = {name for text in EXTRAS[extra] for part in _parts(text) for name in requirements(part)}
    names = [name for name in wanted(extra) if name not in others | NO_MODULE]
    modules = [MODULES.get(name, name.replace("-", "_")) for name in names]
    assert modules
    code = "import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(name)"
    told = subprocess.run([sys.executable, "-c", code, *modules], cwd=tmp_path, capture_output=True, text=True)
    assert told.returncode == 0, told.stderr[-2000:]


def test_no_installed_distribution_lacks_or_contradicts_another() -> None:
    told = subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True, text=True)
    assert told.returncode == 0, told.stdout
