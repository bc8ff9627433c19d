"""The folder of teachers' outputs that runs share: computed once, never dropped while it is read."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from edgepress.compress.pipeline.execute import outputs_of
from edgepress.compress.pipeline.store import RunFolder
from edgepress.compress.recipe.recipe import parse_recipe
from edgepress.compress.training.output_store import OutputStore
from edgepress.targets.errors import StoreError
from edgepress.targets.progress import WarningsOnly


class Heard(WarningsOnly):
    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def event(self, kind: str, **fields: object) -> None:
        self.events.append({"kind": kind, **fields})


def store(folder: Path, limit: int | None = None, progress: Heard | None = None) -> OutputStore:
    return OutputStore(folder, limit, progress or Heard())


def use(outputs: OutputStore, name: str, size: int = 100) -> None:
    """Read an entry, filled first with `size` bytes where it is not there."""
    with outputs.hold(name * 24) as place:
        outputs.fill(place, lambda: write(place, size))


def write(place: Path, size: int) -> None:
    (place / "shard").write_bytes(b"x" * size)
    (place / "cache.json").write_text("")


def entries(folder: Path) -> list[str]:
    """The one letter that each is called by."""
    return sorted(path.name[0] for path in folder.iterdir() if path.is_dir() and path.name != "holds")


def test_the_least_recently_used_entry_is_dropped_past_the_limit_and_told(tmp_path: Path) -> None:
    heard = Heard()
    outputs = store(tmp_path, 250, heard)
    for name in ("a", "b", "a", "c"):
        use(outputs, name)
    assert entries(tmp_path) == ["a", "c"]
    assert heard.events == [
        {"kind": "cache", "name": "b" * 24, "state": "dropped", "megabytes": 0.0, "limit_gb": 2.5e-07}
    ]


def test_without_a_limit_everything_stays(tmp_path: Path) -> None:
    for name in "abc":
        use(store(tmp_path), name)
    assert entries(tmp_path) == ["a", "b", "c"]


def test_what_is_read_stays_whatever_the_limit_and_goes_when_it_is_not_read_any_more(tmp_path: Path) -> None:
    outputs, other = store(tmp_path, 50), store(tmp_path, 0)
    with outputs.hold("a" * 24) as place:
        outputs.fill(place, lambda: write(place, 100))
        use(other, "b")
        assert entries(tmp_path) == ["a"] and (place / "shard").is_file()
    assert entries(tmp_path) == []


def test_a_reader_that_was_killed_holds_nothing(tmp_path: Path) -> None:
    code = f"""
import os, signal
from pathlib import Path
from edgepress.compress.training.output_store import OutputStore
from edgepress.targets.errors import StoreError
from edgepress.targets.progress import WarningsOnly
with OutputStore(Path({str(tmp_path)!r}), None, WarningsOnly()).hold("a" * 24) as place:
    (place / "shard").write_bytes(b"x" * 100)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert entries(tmp_path) == ["a"]
    store(tmp_path, 0).drop()
    assert entries(tmp_path) == [] and list((tmp_path / "holds").iterdir()) == []


def test_two_runs_that_want_one_entry_compute_it_once(tmp_path: Path) -> None:
    computed, begun, go_on = list[str](), threading.Event(), threading.Event()

    def slowly(place: Path) -> None:
        begun.set()
        assert go_on.wait(30)
        computed.append("first")
        write(place, 1)

    def first() -> None:
        outputs = store(tmp_path)
        with outputs.hold("a" * 24) as place:
            outputs.fill(place, lambda: slowly(place))

    def second() -> None:
        outputs = store(tmp_path)
        with outputs.hold("a" * 24) as place:
            outputs.fill(place, lambda: computed.append("second"))

    threads = [threading.Thread(target=first), threading.Thread(target=second)]
    threads[0].start()
    assert begun.wait(30)
    threads[1].start()
    go_on.set()
    for thread in threads:
        thread.join(30)
    assert computed == ["first"] and entries(tmp_path) == ["a"]


def test_a_half_written_shard_of_a_killed_run_goes_before_the_entry_is_filled(tmp_path: Path) -> None:
    outputs = store(tmp_path)
    with outputs.hold("a" * 24) as place:
        (place / "shard.tmp-7").write_text("half")
        outputs.fill(place, lambda: write(place, 1))
        assert sorted(path.name for path in place.iterdir()) == ["cache.json", "shard"]


def test_a_fault_in_the_computing_lets_the_entry_go(tmp_path: Path) -> None:
    outputs = store(tmp_path)
    with pytest.raises(ZeroDivisionError), outputs.hold("a" * 24) as place:
        outputs.fill(place, lambda: print(1 // 0))
    use(outputs, "a")
    assert (tmp_path / ("a" * 24) / "cache.json").is_file()


def test_a_folder_that_cannot_be_one_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    told = (
        r"^the teacher's outputs cannot be kept in .*/file \(.+\): name a folder that this user can write with --cache"
    )
    with pytest.raises(StoreError, match=told):
        use(store(tmp_path / "file"), "a")


def test_what_else_lies_in_the_folder_is_never_dropped(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/cat.png").write_bytes(b"x" * 1000)
    use(store(tmp_path, 0), "a")
    assert entries(tmp_path) == ["p"] and (tmp_path / "photos/cat.png").is_file()


def test_a_home_that_nobody_has_is_a_folder_like_any_other(tmp_path: Path) -> None:
    """As shells take it."""
    given: dict[str, Any] = {"name": "r", "task": "image-classification", "data": {"train": "builtin:digits"}}
    given |= {"teacher": {"model": "t"}, "cache": {"folder": "~nobody-of-this-name/outputs"}}
    run = RunFolder("r", tmp_path)
    store = outputs_of(parse_recipe(given, "r.yaml"), run, WarningsOnly())
    assert store.folder == Path("~nobody-of-this-name/outputs")
