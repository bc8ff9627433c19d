"""How near an artifact comes to what this machine can do (the roofline model, Williams et al., CACM 52(4), 2009).

The roofs are measured, not looked up: large matrix products through the runtime itself, and copies of a large array.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from edgepress.benchmarks.measure.jobs import SubjectResult
from edgepress.benchmarks.records.costs import MachinePeak, Roofline
from edgepress.targets.device.pinning import pin
from edgepress.targets.process.isolation import run_isolated
from edgepress.targets.records import MacCount

CHILD = "edgepress.benchmarks.measure.roofline:copy_here"
# Larger than any cache of today's machines.
COPY_BYTES = 256_000_000
COPIES = 8
# A peak is what the machine can do, so the fastest calls count and not the middle ones; not the one fastest, which
# may be the clock's luck.
FASTEST = 10.0


def measured_peak(
    target: str, threads: int, results: Mapping[str, SubjectResult], counts: Mapping[str, MacCount], bandwidth: float
) -> MachinePeak:
    """The machine's limits for one runtime, from products that were timed: `results` and `counts` by name of the
    export, `bandwidth` in GB/s. An export counts as int8 where all but a hundredth of its MACs are."""
    rates: dict[bool, list[float]] = {False: [], True: []}
    faults = []
    for name, result in results.items():
        if not result.measurements:
            faults.append(f"{name}: {result.failure}")
            continue
        count, milliseconds = counts[name], result.measurements[0].percentile(FASTEST)
        rates[count.int8_share > 0.99].append(2 * count.total / milliseconds / 1e6)
    return MachinePeak(
        target=target,
        threads=threads,
        fp32_gops=max(rates[False], default=None),
        int8_gops=max(rates[True], default=None),
        bandwidth_gb_s=bandwidth,
        note="; ".join(faults),
    )


def roofline(count: MacCount, peak: MachinePeak, p50_ms: float) -> Roofline | None:
    """The least time of one call by the machine's limits; None where a limit that it needs was not measured.

    >>> peak = MachinePeak(target="x", threads=1, fp32_gops=100.0, int8_gops=400.0, bandwidth_gb_s=10.0)
    >>> roofline(MacCount(total=50_000_000, int8=0, weight_bytes=1000), peak, 2.0).bound_ms
    1.0
    """
    floats = count.total - count.int8
    if (floats and not peak.fp32_gops) or (count.int8 and not peak.int8_gops) or not peak.bandwidth_gb_s:
        return None
    arithmetic = sum(2e-6 * macs / (rate or np.inf) for macs, rate in _work(count, peak))
    memory = count.weight_bytes / peak.bandwidth_gb_s / 1e6
    bound = max(arithmetic, memory)
    return Roofline(
        macs=count.total,
        int8_macs=count.int8,
        bytes=count.weight_bytes,
        bound_ms=bound,
        limited_by="arithmetic" if arithmetic >= memory else "memory",
        share=bound / p50_ms,
    )


def _work(count: MacCount, peak: MachinePeak) -> tuple[tuple[int, float | None], ...]:
    return (count.total - count.int8, peak.fp32_gops), (count.int8, peak.int8_gops)


def bandwidth(threads: int, timeout_s: float = 120.0) -> float:
    """GB/s, bytes read and written, of copies in main memory by `threads` threads, in a process of its own."""
    answer = run_isolated(CHILD, {"threads": threads, "bytes": COPY_BYTES}, timeout_s, threads)
    return float(answer["gb_s"])


def copy_here(request: dict[str, Any]) -> dict[str, Any]:
    """The child's side: each thread copies its own part; the fastest of eight rounds counts."""
    threads = request["threads"]
    pin(threads)
    source = np.ones(request["bytes"] // 8 // threads * threads, np.float64)
    target = np.zeros_like(source)
    parts = list(zip(np.split(source, threads), np.split(target, threads), strict=True))
    best = np.inf
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(COPIES):
            start = time.perf_counter()
            list(pool.map(lambda part: np.copyto(part[1], part[0]), parts))  # NumPy copies without the interpreter lock
            best = min(best, time.perf_counter() - start)
    return {"gb_s": 2 * source.nbytes / best / 1e9}
