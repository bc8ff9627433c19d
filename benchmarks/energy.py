"""Energy of the processor package by its own counter (RAPL), where the machine offers one."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

LEAST_S = 1.0
COUNTERS = "sys/class/powercap"


class Energy(NamedTuple):
    """`millijoules` of one call, None where it could not be taken; `note` says how it was, or why not."""

    millijoules: float | None
    note: str


def energy_of(
    call: Callable[[], object],
    root: Path = Path("/"),
    seconds: float = LEAST_S,
    clock: Callable[[], float] = time.monotonic,
) -> Energy:
    """Of the whole package while `call` runs again and again for `seconds`: idle power and neighbours are in it."""
    packages = _packages(root)
    if not packages:
        return Energy(None, f"not measured: this machine offers no RAPL counter (/{COUNTERS})")
    try:
        before = [_counter(package) for package in packages]
        start, calls = clock(), 0
        while clock() - start < seconds:
            call()
            calls += 1
        after = [_counter(package) for package in packages]
        ranges = [int((package / "max_energy_range_uj").read_text(encoding="ascii")) for package in packages]
    except PermissionError:
        return Energy(None, f"not measured: /{COUNTERS} may not be read by this user; root or a udev rule may")
    except (OSError, ValueError) as fault:
        return Energy(None, f"not measured: the RAPL counter cannot be read ({fault})")
    used = sum((b - a) % (most + 1) for a, b, most in zip(before, after, ranges, strict=True))
    if not used:
        return Energy(None, f"not measured: the RAPL counter stood still for {seconds:g} s")
    return Energy(used / 1e3 / calls, f"RAPL of {len(packages)} package(s), idle power included, {calls} calls")


def _packages(root: Path) -> list[Path]:
    """The counters of whole packages: `intel-rapl:0` and not its parts `intel-rapl:0:1`. AMD's have the same names."""
    found = sorted((root / COUNTERS).glob("intel-rapl:*"))
    return [path for path in found if path.name.count(":") == 1 and (path / "energy_uj").exists()]


def _counter(package: Path) -> int:
    """uJ; it starts again at 0 after `max_energy_range_uj`."""
    return int((package / "energy_uj").read_text(encoding="ascii"))
