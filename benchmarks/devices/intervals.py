"""Intervals of the medians of records, each drawn once: a report is made anew for every device that answers."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from edgepress.benchmarks.statistics import Interval, median_interval

if TYPE_CHECKING:
    from edgepress.benchmarks.devices.record import DeviceLatency

MOST_KEPT = 20_000


def p50_interval(row: DeviceLatency) -> Interval | None:
    """The 95 % interval of a row's median, ms; None below the 11 samples of a p50."""
    return _drawn(row.samples, row.sittings)


@lru_cache(MOST_KEPT)
def _drawn(samples: tuple[float, ...], sittings: tuple[int, ...]) -> Interval | None:
    return median_interval(samples, sittings)
