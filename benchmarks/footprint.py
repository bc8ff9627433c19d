"""What an artifact weighs, against the teacher."""

from __future__ import annotations

from targets.errors import BenchmarkError


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
