from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.records import Shape
from benchmarks.scatter import linear_range, log_range, log_ticks
from benchmarks.wording import common_shape, count, duration, human_bytes, ms, points, shape_names, spread, times


def shape(batch: int, sequence: int | None, threads: int = 1) -> Shape:
    return Shape(batch=batch, sequence=sequence, threads=threads)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (999_600, "1.00 MB"),
        (7_310_000, "7.31 MB"),
        (90_868_000, "90.9 MB"),
    ],
)
def test_bytes_have_three_figures_and_never_four_digits(value: int, text: str) -> None:
    assert human_bytes(value) == text


def test_figures_are_written_with_the_digits_that_matter() -> None:
    assert [ms(value) for value in (0.0456, 0.714, 6.216, 19.11, 142.4)] == ["0.046", "0.714", "6.22", "19.1", "142"]
    assert [times(value) for value in (0.62, 1.0, 8.42, 31.7, None)] == ["0.62x", "1.00x", "8.4x", "32x", "–"]
    assert [count(value) for value in (512, 6_970_000, 870e6)] == ["512", "6.97 M", "870 M"]
    assert [duration(value) for value in (0.84, 42.4, 200, 3600)] == ["0.8 s", "42 s", "3 min 20 s", "60 min 00 s"]
    assert (points(-0.0213), points(0.004)) == ("−2.1 points", "+0.4 points")
    assert (spread([9.14, 8.4, None]), spread([8.4, 8.41]), spread([None])) == ("8.4x to 9.1x", "8.4x", "–")


def test_shapes_are_named_by_what_tells_them_apart() -> None:
    short, long = shape(1, 32), shape(1, 128)
    assert shape_names([short, long]) == {short: "s32", long: "s128"}
    assert common_shape([short, long]) == "batch 1, 1 thread"
    assert shape_names([shape(1, None)]) == {shape(1, None): ""}
    assert common_shape([shape(1, None), shape(8, None)]) == "1 thread"
    assert list(shape_names([shape(1, 32, 1), shape(8, 32, 2)]).values()) == ["b1 t1", "b8 t2"]
    assert common_shape([]) == ""


@given(st.lists(st.floats(1e-3, 1e5), min_size=1, max_size=8))
def test_a_latency_axis_holds_all_values_and_has_two_to_a_dozen_ticks(values: list[float]) -> None:
    low, high = log_range(values)
    assert low < min(values) and max(values) < high
    assert 2 <= len(log_ticks(low, high)) <= 12


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_an_accuracy_axis_holds_all_values_in_a_few_even_steps(values: list[float]) -> None:
    step, low, high = linear_range(values)
    assert low <= min(values) + 1e-9 and max(values) <= high + 1e-9
    steps = (high - low) / step
    assert math.isclose(steps, round(steps), abs_tol=1e-6) and 1 <= round(steps) <= 7
