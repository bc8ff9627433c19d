"""What an artifact takes beside time: bytes shipped and compressed, memory, cold start and energy."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from edgepress import targets
from edgepress.benchmarks.records.costs import Footprint
from edgepress.targets.device.clock import Clock, monotonic
from edgepress.targets.device.energy import Meter, meter
from edgepress.targets.device.pinning import pin
from edgepress.targets.errors import BenchmarkError
from edgepress.targets.process.isolation import peak_bytes, run_isolated
from edgepress.targets.records import Artifact

CHILD = "edgepress.benchmarks.measure.footprint:start_here"
STARTS = 3
ZSTD_LEVEL = 10
# RAPL's counters move a thousand times a second.
ENERGY_S = 1.0


def shrink(teacher_bytes: int, shipped_bytes: int) -> float:
    """How many times smaller the shipped files are than the teacher's.

    >>> shrink(90_000_000, 7_500_000)
    12.0

    Raises:
        BenchmarkError: one of the two has no bytes.
    """
    if teacher_bytes <= 0 or shipped_bytes <= 0:
        raise BenchmarkError(f"shrink needs two artifacts with bytes, got {teacher_bytes} and {shipped_bytes}")
    return teacher_bytes / shipped_bytes


def compressed_bytes(artifact: Artifact, folder: Path) -> int:
    """Bytes of a download: each shipped file compressed by zstd at level 10, the files not joined."""
    import zstandard

    compressor = zstandard.ZstdCompressor(level=ZSTD_LEVEL)
    total = 0
    for entry in artifact.files:
        if entry.shipped:
            with (folder / entry.path).open("rb") as file:
                pieces: Iterator[bytes] = compressor.read_to_iter(file)
                total += sum(map(len, pieces))
    return total


def measure_footprint(folder: Path, feeds: Path, threads: int, timeout_s: float, starts: int = STARTS) -> Footprint:
    """Memory, cold start and energy of one artifact: `starts` processes of its own, each of which opens it and answers.

    The cold start is the median of them, files in the page cache; memory is the largest of them.

    Args:
        folder: of the artifact.
        feeds: the file with the inputs of one call.
        threads: of the session.
        timeout_s: limit for each process, in seconds.

    Raises:
        ArtifactError: there is no artifact.
    """
    artifact = Artifact.read(folder / Artifact.FILE_NAME)
    size = compressed_bytes(artifact, folder)
    request = {"folder": str(folder), "feeds": str(feeds), "threads": threads}
    try:
        taken = [_start(request | {"energy": number == 0}, timeout_s) for number in range(starts)]
    except BenchmarkError as fault:
        return Footprint(zstd_bytes=size, failure=str(fault), energy_note="not measured: it did not run")
    return Footprint(
        zstd_bytes=size,
        runtime_memory_bytes=max(one["before_bytes"] for one in taken) or None,
        peak_memory_bytes=max(one["peak_bytes"] for one in taken) or None,
        cold_start_ms=float(np.median([one["cold_ms"] for one in taken])),
        starts=starts,
        energy_mj=taken[0]["energy_mj"],
        energy_note=taken[0]["energy_note"],
    )


def _start(request: dict[str, Any], timeout_s: float) -> dict[str, Any]:
    # The monotonic clock is the system's own: both processes read the same one.
    started = {"started_ns": time.monotonic_ns()}
    return run_isolated(CHILD, request | started, timeout_s, request["threads"])


def start_here(request: dict[str, Any]) -> dict[str, Any]:
    """The child's side: from the start of this process to its first answer, then energy where it is asked for."""
    from safetensors.numpy import load_file

    pin(request["threads"])
    folder = Path(request["folder"])
    artifact = Artifact.read(folder / Artifact.FILE_NAME)
    feeds = artifact.signature.select(load_file(request["feeds"]))
    target = targets.of(artifact)
    target.load_runtime()
    before = resident_bytes()
    with target.open(artifact, folder, threads=request["threads"]) as session:
        session.infer(feeds)
        cold_ms = (time.monotonic_ns() - request["started_ns"]) / 1e6
        peak = peak_bytes()
        energy, note = energy_of(lambda: session.infer(feeds), meter()) if request["energy"] else (None, "")
    return {
        "cold_ms": cold_ms, "before_bytes": before, "peak_bytes": peak, "energy_mj": energy, "energy_note": note
    }  # fmt: skip


def energy_of(
    call: Callable[[], object], counters: Meter, seconds: float = ENERGY_S, clock: Clock = monotonic
) -> tuple[float | None, str]:
    """Millijoules of one call while it runs again and again for `seconds`, None where they cannot be told; and how
    they were taken, or why not."""
    if not counters.packages:
        return None, counters.note
    before, start, calls = counters.read(), clock(), 0
    while not calls or clock() - start < seconds * 1e9:
        call()
        calls += 1
    if not (spent := counters.spent_uj(before)):
        return None, f"not measured: the RAPL counters stood still for {seconds:g} s"
    return spent / 1e3 / calls, f"{counters.note}; {calls} calls"


def resident_bytes() -> int:
    """Resident memory of this process now; 0 where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
