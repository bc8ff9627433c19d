"""What is shipped: one package and its data, which run away from the source tree."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from tests.architecture.test_readme import blocks
from tests.benchmarks.tiny_release import run_bare, seal, tiny_release

pytestmark = pytest.mark.slow
PACKAGES = ("compress", "benchmarks", "targets")
DATA = (".j2", ".json", ".yaml", ".html", ".css", ".js", ".typed")
SOURCES = ("pyproject.toml", "setup.py", "LICENSE", "README.md", *PACKAGES, "tests", "examples")


@pytest.fixture(scope="module")
def wheel(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that the build leaves nothing in the source tree."""
    copy = tmp_path_factory.mktemp("source")
    for name in SOURCES:
        if (root / name).is_dir():
            shutil.copytree(root / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(root / name, copy / name)
    _call([sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(copy / "dist"), str(copy)], copy)
    (built,) = (copy / "dist").glob("edgepress-*-py3-none-any.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of an environment that has the wheel, and this one's libraries through a path file."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check"]
    _call([*pip, "install", "--no-deps", "--no-index", str(wheel)], folder)
    libraries = sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)})
    places = [place for place in sys.path if place.endswith("site-packages")]
    (Path(libraries) / "libraries.pth").write_text("\n".join(places) + "\n")
    return python.parent


def _call(command: list[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_wheel_holds_one_top_level_package_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {"edgepress", "edgepress-0.1.0.dist-info"}
    assert [name for name in names if "test" in name.split("/")[0] or name.endswith(".pyc")] == []


def test_the_wheel_holds_every_source_and_data_file(wheel: Path, root: Path) -> None:
    wanted = {
        "edgepress/" + path.relative_to(root).as_posix().replace("compress/face/", "")
        for package in PACKAGES
        for path in (root / package).rglob("*")
        if path.suffix in (".py", *DATA) or path.name == "py.typed"
    }
    assert sorted(wanted - set(zipfile.ZipFile(wheel).namelist())) == []


def test_the_wheel_carries_the_licence(wheel: Path, root: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    text = archive.read("edgepress-0.1.0.dist-info/licenses/LICENSE").decode()
    assert text == (root / "LICENSE").read_text() and "Apache License" in text
    assert "License-Expression: Apache-2.0" in archive.read("edgepress-0.1.0.dist-info/METADATA").decode()


def test_the_command_runs_away_from_the_source_tree(installed: Path, tmp_path: Path) -> None:
    assert "run" in _call([str(installed / "edgepress"), "--help"], tmp_path)


OF_THE_USER = ("benchmarks", "targets", "compress")


@pytest.fixture
def users_folder(tmp_path: Path) -> Path:
    """A project of a user's own that has folders of our folders' names, one of them a package."""
    for name in OF_THE_USER:
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine.py").write_text("VALUE = 1\n")
    (tmp_path / "compress" / "__init__.py").write_text("")
    return tmp_path


def test_folders_of_the_user_with_our_names_are_in_nobodys_way(installed: Path, users_folder: Path) -> None:
    code = "from edgepress import Recipe, run; import compress.mine, targets.mine, benchmarks.mine as m; print(m.VALUE)"
    python = str(installed / "python")
    assert _call([python, "-c", code], users_folder) == "1\n"
    assert "run" in _call([python, "-m", "edgepress", "--help"], users_folder)


def test_the_quick_start_runs_there_with_its_child_processes(installed: Path, users_folder: Path, root: Path) -> None:
    """Students are timed in a process of its own, which finds the wheel and not the user's folders."""
    shutil.copytree(root / "examples", users_folder / "examples")
    (code,) = [
        block for block in blocks((root / "README.md").read_text(), "python") if "from edgepress import" in block
    ]
    told = _call([str(installed / "python"), "-c", code], users_folder)
    assert "['teacher', 'student']" in told


def test_the_runner_of_the_wheel_runs_on_a_device(installed: Path, users_folder: Path) -> None:
    release = tiny_release(users_folder / "release")
    shutil.rmtree(release / "edgepress_device")
    imports = "import sys, pathlib; from edgepress.compress.release.package import add_runner"
    code = f"{imports}; add_runner(pathlib.Path(sys.argv[1]))"
    _call([str(installed / "python"), "-c", code, str(release)], users_folder)
    seal(release)
    done = run_bare(release, "--samples", "1")
    assert (done.returncode, done.stderr) == (0, "") and "accuracy 0.7500" in done.stdout


def test_the_packages_are_imported_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    names = ("edgepress", "edgepress.compress", "edgepress.targets", "edgepress.benchmarks")
    code = f"import {', '.join(names)}; print({', '.join(f'{name}.__file__' for name in names)})"
    places = _call([str(installed / "python"), "-c", code], tmp_path).split()
    assert all(place.startswith(str(installed.parent)) for place in places), places
