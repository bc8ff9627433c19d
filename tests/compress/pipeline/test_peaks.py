from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from edgepress.benchmarks.measure import peaks
from edgepress.benchmarks.measure.peaks import begin_peaks
from edgepress.targets.errors import TargetError
from edgepress.targets.records import Candidate


class Other:
    """A target that refuses where it is told to, else makes nothing."""

    def __init__(self, name: str, fault: str, said: list[str]) -> None:
        self.name, self.fault, self.said = name, fault, said

    def candidates(self, model: Any, precision: str) -> tuple[Any, ...]:
        return tuple(Candidate(name=f"{precision}-{number}", precision=precision) for number in range(3))  # type: ignore[arg-type]

    @contextmanager
    def begin_export(self, model: Any, calibration: Any, candidates: Any, folder: Any) -> Iterator[Iterator[object]]:
        self.said.append(f"{self.name} begins {' '.join(one.name for one in candidates)}")
        if self.fault == "begin":
            raise TargetError("no such products")
        yield self.results()

    def results(self) -> Iterator[object]:
        self.said.append(f"{self.name} is waited for")
        if self.fault == "convert":
            raise TargetError("cannot convert")
        yield SimpleNamespace()


def test_all_begin_before_the_first_is_measured_and_a_fault_is_a_peaks_note(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(peaks, "bandwidth", lambda threads: 10.0 * threads)
    targets = [Other("a", "begin", said), Other("b", "convert", said), Other("c", "", said)]
    with begin_peaks(targets, [1, 2]) as measure:  # type: ignore[arg-type]
        assert said == [f"{name} begins fp32-0 int8-0" for name in "abc"]
        found = measure()
    assert said[3:] == ["b is waited for", "c is waited for"]
    assert [(one.target, one.threads, one.bandwidth_gb_s, one.note) for one in found] == [
        ("a", 1, None, "no such products"), ("a", 2, None, "no such products"),
        ("b", 1, None, "cannot convert"), ("b", 2, None, "cannot convert"),
        ("c", 1, 10.0, ""), ("c", 2, 20.0, ""),
    ]  # fmt: skip
    assert all(one.fp32_gops is None and one.int8_gops is None for one in found)


def test_without_targets_nothing_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peaks, "bandwidth", lambda threads: pytest.fail("measured"))
    with begin_peaks([], [1]) as measure:
        assert measure() == ()
