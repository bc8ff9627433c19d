"""The machine that is measured on: what matters for speed, and nothing that names its owner.

What cannot be read is null in the record.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from .pinning import usable_cores

# As Linux spells them: what decides how fast int8, bf16 and fp32 kernels run.
ISA_FLAGS = (
    *("sse4_1", "sse4_2", "avx", "f16c", "fma", "avx2", "avx_vnni", "avx512f", "avx512bw", "avx512_vnni"),
    *("avx512_bf16", "avx512_fp16", "avx10_2", "amx_tile", "amx_int8", "amx_bf16"),
    *("neon", "asimd", "asimddp", "asimdhp", "i8mm", "bf16", "sve", "sve2", "sme"),
)
PACKAGES = (
    *("numpy", "onnxruntime", "ai-edge-litert", "tflite-runtime", "jax", "jaxlib", "libtpu", "safetensors"),
    *("tensorrt", "tensorrt-rtx-cu13", "torch"),
)


def environment(root: Path = Path("/"), packages: Sequence[str] = PACKAGES) -> dict[str, Any]:
    """CPU, its instruction sets and governor, cores this process may use, memory, load, system and versions."""
    cpu = cpuinfo(root)
    flags = set((cpu.get("flags") or cpu.get("Features") or "").split())
    return {
        "cpu": cpu_name(cpu, root),
        "isa": [flag for flag in ISA_FLAGS if flag in flags],
        "architecture": platform.machine(),
        "logical_cores": os.cpu_count(),
        "usable_cores": usable_cores(),
        "cpu_quota": cpu_quota(root),
        "memory_bytes": memory_bytes(),
        "governor": line(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "load_average": [round(load, 2) for load in os.getloadavg()] if hasattr(os, "getloadavg") else None,
        "os": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "versions": versions(packages),
    }


def cpuinfo(root: Path) -> dict[str, str]:
    """The first processor of /proc/cpuinfo; empty where the system has none."""
    pairs = (row.split(":", 1) for row in (text(root / "proc/cpuinfo") or "").split("\n\n")[0].splitlines())
    return {pair[0].strip(): pair[1].strip() for pair in pairs if len(pair) == 2}


def cpu_name(cpu: dict[str, str], root: Path) -> str:
    """The processor's name; on boards whose kernel does not tell it, the board's."""
    board = line(root / "proc/device-tree/model")
    named = cpu.get("model name") or cpu.get("Hardware") or board or platform.processor() or platform.machine()
    return named.replace("\0", "") or "unknown"


def cpu_quota(root: Path) -> float | None:
    """Cores' worth of time that a container may use (cgroup v2, else v1), e.g. 1.5; None without a limit."""
    words = (line(root / "sys/fs/cgroup/cpu.max") or "").split()
    if not words:
        folder = root / "sys/fs/cgroup/cpu"
        words = [line(folder / "cpu.cfs_quota_us") or "max", line(folder / "cpu.cfs_period_us") or "100000"]
    try:
        return None if words[0] in ("max", "-1") else int(words[0]) / int(words[1])
    except (ValueError, IndexError, ZeroDivisionError):
        return None


def temperature(root: Path = Path("/")) -> float | None:
    """The hottest thermal zone in °C; None where the system tells none."""
    found = []
    for path in sorted((root / "sys/class/thermal").glob("thermal_zone*/temp")):
        words = line(path) or ""
        if words.lstrip("-").isdigit() and 0 < int(words) < 200_000:  # thousandths; broken sensors tell nonsense
            found.append(int(words) / 1000)
    return max(found, default=None)


def memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not a POSIX system
        return None


def peak_memory_bytes() -> int | None:
    """The most memory this process ever had; None on Windows.

    Linux counts into `ru_maxrss` what the process was before its program began: a fork of a larger parent.
    """
    own = [row.split() for row in (text(Path("/proc/self/status")) or "").splitlines() if row.startswith("VmHWM:")]
    if own:
        return int(own[0][1]) * 1024
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts KiB


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Versions of those that are installed, read from their metadata: nothing is imported."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


def line(path: Path) -> str | None:
    content = text(path)
    return content.strip() if content is not None else None
