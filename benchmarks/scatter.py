"""Accuracy against latency as a drawing: positions and ticks here, the SVG itself in the template."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

from benchmarks.records import Report, Row, Shape
from benchmarks.wording import human_bytes, ms, shape_words, share

WIDTH, HEIGHT = 560.0, 340.0
LEFT, RIGHT, TOP, BOTTOM = 58.0, 18.0, 18.0, 46.0
SMALLEST, LARGEST = 5.0, 18.0
Kind = Literal["teacher", "chosen", "candidate"]


class Tick(NamedTuple):
    at: float
    label: str


class Mark(NamedTuple):
    """One row: its number in the table, its place and radius in the drawing, and what a pointer shows."""

    number: int
    kind: Kind
    x: float
    y: float
    radius: float
    number_y: float
    title: str


class Scatter(NamedTuple):
    """One drawing for one shape. `omitted`: rows without latency or accuracy at that shape."""

    key: str
    title: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    marks: tuple[Mark, ...]
    omitted: int


def scatter(report: Report, shape: Shape, key: str) -> Scatter | None:
    """p50 in ms (log axis) against accuracy, marker area as bytes; None where no row has both figures."""
    points = []
    rows = (report.teacher, *report.candidates)
    for number, row in enumerate(rows):
        p50 = next((one.p50 for one in row.latency if one.shape == shape), None)
        if p50 is not None and row.accuracy is not None:
            points.append((number, row, p50, row.accuracy))
    if not points:
        return None
    x_low, x_high = log_range([p50 for _, _, p50, _ in points])
    y_step, y_low, y_high = linear_range([accuracy for *_, accuracy in points])
    heaviest = max(row.bytes or 0 for _, row, _, _ in points)
    marks = [
        _mark(report, number, row, _x(p50, x_low, x_high), _y(accuracy, y_low, y_high), p50, heaviest)
        for number, row, p50, accuracy in points
    ]
    y_count = round((y_high - y_low) / y_step)
    y_values = [y_low + index * y_step for index in range(y_count + 1)]
    digits = max(2, -math.floor(math.log10(y_step) + 1e-9))
    return Scatter(
        key=key,
        title=shape_words(shape),
        x_ticks=tuple(Tick(_x(value, x_low, x_high), f"{value:g}") for value in log_ticks(x_low, x_high)),
        y_ticks=tuple(Tick(_y(value, y_low, y_high), f"{value:.{digits}f}") for value in y_values),
        # The large ones first, so that a small marker is never hidden under a large one.
        marks=tuple(sorted(_spread_numbers(marks), key=lambda mark: -mark.radius)),
        omitted=len(rows) - len(points),
    )


def log_range(values: list[float]) -> tuple[float, float]:
    """The values with room at both sides, at least a factor of 5 apart, so that two ticks of 1-2-5 always fit."""
    low, high = min(values) / 1.25, max(values) * 1.25
    if high / low < 5:
        middle = math.sqrt(low * high)
        low, high = middle / math.sqrt(5), middle * math.sqrt(5)
    return low, high


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten within the range; powers alone where that would be crowded."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1, 2, 5) if high / low < 500 else (1,)
    ticks = [factor * 10.0**power for power in powers for factor in factors]
    return [tick for tick in ticks if low <= tick <= high]


def linear_range(values: list[float]) -> tuple[float, float, float]:
    """Step, low and high of an accuracy axis with 2 to 6 steps of 1, 2 or 5 times a power of ten."""
    low, high = min(values), max(values)
    span = max(high - low, 0.01)
    power = 10.0 ** math.floor(math.log10(span / 4))
    step = next(factor * power for factor in (1, 2, 5, 10) if span / (factor * power) <= 4)
    return step, math.floor(low / step - 0.2) * step, math.ceil(high / step + 0.2) * step


def _x(value: float, low: float, high: float) -> float:
    return round(LEFT + (WIDTH - LEFT - RIGHT) * math.log(value / low) / math.log(high / low), 1)


def _y(value: float, low: float, high: float) -> float:
    return round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value - low) / (high - low), 1)


def _mark(report: Report, number: int, row: Row, x: float, y: float, p50: float, heaviest: int) -> Mark:
    kind: Kind = "teacher" if row is report.teacher else "chosen" if row.chosen else "candidate"
    radius = LARGEST * math.sqrt((row.bytes or 0) / heaviest) if heaviest else SMALLEST
    radius = round(max(SMALLEST, radius), 1)
    title = f"{number}. {row.name}: accuracy {share(row.accuracy)}, p50 {ms(p50)} ms, {human_bytes(row.bytes)}"
    # Inside the marker where it is large enough, above it where not.
    number_y = y + 3.5 if radius >= 9 else y - radius - 3
    return Mark(number, kind, x, y, radius, round(number_y, 1), title)


def _spread_numbers(marks: list[Mark]) -> list[Mark]:
    """Numbers that would lie on each other, stacked upwards; they leave the lowest where it is."""
    placed: list[Mark] = []
    for mark in sorted(marks, key=lambda mark: -mark.number_y):
        while any(abs(mark.x - other.x) < 12 and abs(mark.number_y - other.number_y) < 10 for other in placed):
            mark = mark._replace(number_y=round(mark.number_y - 10, 1))
        placed.append(mark)
    return placed
