"""Who else is at work on this machine: noticed before a measurement, while this process waits."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from edgepress.targets.records import Record

LOADED = 0.5
BUSY = 0.1
WINDOW_S = 0.5


class MachineLoad(Record):
    """What others did just before a measurement; None where the system does not tell.

    `load_per_core`: the load average of the last minute / cores; this run's earlier stages are in it. `busy_share`:
    the share of all cores' time, 0..1, that went elsewhere while this process slept, stolen time included.
    """

    load_per_core: float | None
    busy_share: float | None


def machine_load(
    root: Path = Path("/"), wait: Callable[[float], object] = time.sleep, window_s: float = WINDOW_S
) -> MachineLoad:
    """Sleeps `window_s` seconds and reads what the processors did meanwhile."""
    average = _line(root / "proc/loadavg")
    cores = os.cpu_count() or 1
    before = _ticks(root)
    wait(window_s)
    after = _ticks(root)
    share = None
    if before and after and after[1] > before[1]:
        share = round((after[0] - before[0]) / (after[1] - before[1]), 3)
    return MachineLoad(load_per_core=round(float(average.split()[0]) / cores, 3) if average else None, busy_share=share)


def load_notes(load: MachineLoad) -> list[str]:
    """One line for each sign that the machine was not idle."""
    found = []
    if load.busy_share is not None and load.busy_share > BUSY:
        found.append(
            f"The machine was loaded: other processes took {load.busy_share:.0%} of the processors' time just before "
            f"the measurement. Trust ratios of this report, and measure again on an idle machine."
        )
    if load.load_per_core is not None and load.load_per_core > LOADED:
        found.append(
            f"The load average was {load.load_per_core:.2f} per core before the measurement (this run's own work of "
            f"the last minute included)."
        )
    return found


def _ticks(root: Path) -> tuple[int, int] | None:
    """(busy, all) ticks of all processors since the start, from /proc/stat."""
    words = (_line(root / "proc/stat") or "").split()
    if len(words) < 9 or words[0] != "cpu":
        return None
    # user nice system idle iowait irq softirq steal; guest time is in user already.
    ticks = [int(word) for word in words[1:9]]
    return sum(ticks) - ticks[3] - ticks[4], sum(ticks)


def _line(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8").split("\n", 1)[0]
    except OSError:
        return None
