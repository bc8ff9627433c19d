from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgepress.targets.device.pinning import choose_processors, pin


def machine(root: Path, siblings: dict[int, str], speeds: dict[int, int] | None = None) -> Path:
    for processor, listed in siblings.items():
        folder = root / f"sys/devices/system/cpu/cpu{processor}"
        (folder / "topology").mkdir(parents=True)
        (folder / "topology/thread_siblings_list").write_text(f"{listed}\n")
        if speeds:
            (folder / "cpufreq").mkdir()
            (folder / "cpufreq/cpuinfo_max_freq").write_text(f"{speeds[processor]}\n")
    return root


def test_two_threads_get_two_cores_and_not_the_two_halves_of_one(tmp_path: Path) -> None:
    root = machine(tmp_path, {0: "0-1", 1: "0-1", 2: "2-3", 3: "2-3"})
    assert choose_processors(2, range(4), root) == (0, 2)
    assert choose_processors(3, range(4), root) == (0, 2, 3)


def test_fast_cores_come_before_slow_ones(tmp_path: Path) -> None:
    root = machine(tmp_path, {0: "0", 1: "1", 2: "2"}, {0: 5_000_000, 1: 5_000_000, 2: 3_000_000})
    assert choose_processors(1, range(3), root) == (1,)


def test_a_process_is_pinned_to_as_many_processors_as_it_has_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, ...]] = []
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 3}, raising=False)
    monkeypatch.setattr(os, "sched_setaffinity", lambda pid, which: asked.append(tuple(which)), raising=False)
    assert pin(2, Path("/nowhere")) == (2, 3)
    assert asked == [(2, 3)]


def test_nothing_is_pinned_where_all_processors_are_needed_or_the_system_refuses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(pid: int, which: object) -> None:
        raise PermissionError("not in this container")

    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1}, raising=False)
    monkeypatch.setattr(os, "sched_setaffinity", refuse, raising=False)
    assert pin(2) == ()
    assert pin(1) == ()
