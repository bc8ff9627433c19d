"""What every test may rely on: no network, few threads, the path of the real data."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from filelock import FileLock

# Before anything imports transformers or torch; `make test` sets the same.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
# Two workers of pytest-xdist on two cores: a thread each is fastest.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell that starts the tests in the background has them, and all they start, ignore Ctrl-C, which some tests press.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    with suppress(ValueError):  # a worker's import outside of its main thread
        signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parent.parent


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--data",
        default=os.environ.get("EDGEPRESS_DATA", "../shared/data"),
        help="folder with text/, vision/ and models/ (default: $EDGEPRESS_DATA or ../shared/data, from the repository)",
    )
    parser.addoption("--recipes", default="1000", help="how many hostile recipes to try (default: 1000; a soak: 10000)")
    parser.addoption(
        "--tamper", default="200", help="how many bits of a bundle are flipped (default: 200; a soak: 2000)"
    )
    parser.addoption("--kills", default="10", help="how often a run is killed at random (default: 10; a soak: 100)")
    parser.addoption("--kill-seed", default="0", help="of the moments at which runs are killed (default: 0)")


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data(request: pytest.FixtureRequest) -> Path:
    """Real data and weights; tests that want them are skipped where they are missing."""
    folder = (ROOT / str(request.config.getoption("--data"))).resolve()
    if not folder.is_dir():
        pytest.skip(f"real data is missing: {folder} is no folder; name it with --data or EDGEPRESS_DATA")
    return folder


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """One folder for all workers of this test session."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "shared"
    folder.mkdir(exist_ok=True)
    return folder


def made_once(folder: Path, make: Callable[[Path], object]) -> Path:
    """`folder`, filled by the first worker that wants it."""
    made = folder.with_name(f"{folder.name}.made")
    with FileLock(folder.with_name(f"{folder.name}.lock")):
        if not made.is_file():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            made.touch()
    return folder


@pytest.fixture
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is the current one during the test."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def is_alive(pid: int) -> bool:
    """Whether a process runs; the file of one that ends meanwhile may be gone."""
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (ProcessLookupError, FileNotFoundError):
        return False
    return state != "Z"  # a zombie that nobody has reaped is dead too
