"""What an artifact is asked to do, and what it did: shapes of calls, and the scenarios of MLPerf's LoadGen."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from edgepress.targets.records import Record

ScenarioName = Literal["multi-stream", "offline", "server", "sustained"]
SCENARIOS: tuple[ScenarioName, ...] = ("multi-stream", "offline", "server", "sustained")


class Shape(Record):
    """What one latency figure was taken with. `sequence` is None for models without a sequence dimension."""

    batch: int
    sequence: int | None
    threads: int


class Point(Record):
    """One window of a sustained run."""

    seconds: float = Field(description="middle of the window, s after the start")
    p50_ms: float = Field(description="median of the calls in it, ms")
    calls: int = Field(description="calls in it")


class ScenarioResult(Record):
    """What one artifact did under one load at one shape."""

    scenario: ScenarioName = Field(description="multi-stream, offline, server or sustained")
    shape: Shape = Field(description="rows, tokens and threads of a call")
    value: float | None = Field(description="the scenario's own figure; null: it failed")
    unit: str = Field(description="unit of the value")
    samples: int = Field(description="calls or queries behind the value")
    meaning: str = Field(description="what the value says, in words")
    curve: tuple[Point, ...] = Field(default=(), description="medians over time of a sustained run; else empty")
    failure: str = Field(default="", description="why there is no value")
