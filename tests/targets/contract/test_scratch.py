"""What killed processes leave in TMPDIR is cleared by the next one; what is in use, or not ours, is not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edgepress.targets.process import scratch
from edgepress.targets.process.scratch import LOCK, clear_left
from tests.conftest import ROOT

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="nothing is cleared on Windows")
HOLDER = """
import sys
from edgepress.targets.process.scratch import scratch
with scratch("test-") as folder:
    (folder / "weights").write_bytes(b"x")
    print(folder, flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder(place: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A process that holds a folder in `place`, and that folder."""
    environment = {**os.environ, "TMPDIR": str(place), "PYTHONPATH": str(ROOT)}
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", HOLDER], stdin=pipe, stdout=pipe, text=True, env=environment) as child:
        assert child.stdout is not None
        yield child, Path(child.stdout.readline().strip()).parent
        child.kill()


def test_a_folder_is_empty_and_goes_with_its_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with scratch.scratch("a-") as folder:
        assert list(folder.iterdir()) == [] and folder.parent.name.startswith("edgepress-a-")
        assert folder.parent.stat().st_mode & 0o077 == 0
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_cleared_and_what_a_living_one_holds_is_not(tmp_path: Path) -> None:
    with holder(tmp_path) as (dead, left), holder(tmp_path) as (_, held):
        dead.send_signal(signal.SIGKILL)
        dead.wait()
        assert (left / "files/weights").is_file()
        assert clear_left(tmp_path) == [left.name]
        assert list(tmp_path.iterdir()) == [held] and (held / "files/weights").is_file()


def test_the_next_process_clears_it_by_itself(tmp_path: Path) -> None:
    with holder(tmp_path) as (dead, left):
        dead.kill()
        dead.wait()
        with holder(tmp_path) as (_, held):
            assert not left.exists() and list(tmp_path.iterdir()) == [held]


def test_a_process_that_ends_well_leaves_nothing(tmp_path: Path) -> None:
    with holder(tmp_path) as (child, _):
        child.communicate("")
        assert child.returncode == 0 and list(tmp_path.iterdir()) == []


def test_what_is_not_known_as_ours_stays(tmp_path: Path) -> None:
    """A folder without a lock is being made, or of another program; a link may lead anywhere; others may write one."""
    mine = tmp_path / "elsewhere"
    mine.mkdir()
    (mine / LOCK).touch()
    (tmp_path / "edgepress-link").symlink_to(mine)
    (tmp_path / "edgepress-new").mkdir()
    (tmp_path / "edgepress-file").touch()
    open_to_all = tmp_path / "edgepress-open"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    (open_to_all / LOCK).touch()
    linked = tmp_path / "edgepress-linked"
    linked.mkdir()
    (linked / LOCK).symlink_to(mine / LOCK)
    before = sorted(tmp_path.iterdir())
    assert clear_left(tmp_path) == []
    assert sorted(tmp_path.iterdir()) == before


def test_a_folder_of_another_user_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "edgepress-a").mkdir(mode=0o700)
    (tmp_path / "edgepress-a" / LOCK).touch()
    user = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: user + 1)
    assert clear_left(tmp_path) == []
    monkeypatch.setattr(os, "getuid", lambda: user)
    assert clear_left(tmp_path) == ["edgepress-a"]
