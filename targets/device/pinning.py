"""Which logical processors a measurement runs on: as many as it has threads, chosen once and recorded."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection
from pathlib import Path


def pin(threads: int, root: Path = Path("/")) -> tuple[int, ...]:
    """Pin this process to `threads` processors, so that the scheduler moves no thread to a cold cache.

    Call it before a runtime starts its pool: threads inherit it. Returns the processors; empty where the system does
    not pin, or where there are no more of them than threads.
    """
    if not hasattr(os, "sched_setaffinity"):
        return ()
    usable = os.sched_getaffinity(0)
    if threads >= len(usable):
        return ()
    chosen = choose_processors(threads, usable, root)
    with contextlib.suppress(OSError):  # a container may forbid it: then nothing is pinned, and the record says so
        os.sched_setaffinity(0, chosen)
        return chosen
    return ()


def usable_cores() -> int:
    """Logical processors that this process may use: `taskset` and containers cut them."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def kept_on(threads: int) -> list[int] | None:
    """`pin`, for a record: the processors that this process stays on; None where the system does not keep it.

    With as many threads as processors there is nothing to choose: it has all of them.
    """
    if not hasattr(os, "sched_setaffinity"):
        return None
    return list(pin(threads)) or (sorted(os.sched_getaffinity(0)) if threads >= usable_cores() else None)


def choose_processors(threads: int, usable: Collection[int], root: Path = Path("/")) -> tuple[int, ...]:
    """The fastest kind of core first, one logical processor of each core before a second one, the last numbers before
    the first, which serve most interrupts.

    >>> choose_processors(2, {0, 1, 2}, Path("/nowhere"))
    (1, 2)

    Args:
        threads: how many processors to choose.
        usable: numbers of those that this process may use.
        root: where `sys` lies; a test passes a folder of its own.
    """

    def order(processor: int) -> tuple[int, int, int]:
        folder = root / f"sys/devices/system/cpu/cpu{processor}"
        speed = _number(folder / "cpu_capacity") or _number(folder / "cpufreq/cpuinfo_max_freq")
        siblings = _listed(folder / "topology/thread_siblings_list") or [processor]
        twin = sorted(siblings).index(processor) if processor in siblings else 0
        return -speed, twin, -processor

    return tuple(sorted(sorted(usable, key=order)[:threads]))


def _number(path: Path) -> int:
    """0 where there is none."""
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0


def _listed(path: Path) -> list[int]:
    """Numbers of a list as Linux writes it: `0-1,4`."""
    try:
        parts = path.read_text(encoding="ascii").strip().split(",")
        ends = [part.split("-") for part in parts]
        return [number for end in ends for number in range(int(end[0]), int(end[-1]) + 1)]
    except (OSError, ValueError):
        return []
