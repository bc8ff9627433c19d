"""Streaming statistics against numpy on all values at once, and what is kept of them."""

from __future__ import annotations

import weakref
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from edgepress.targets.calibration.calibrators import (
    choose_range,
    entropy_range,
    percentile_range,
    rounding_error,
    squared_error_range,
)
from edgepress.targets.calibration.statistics import BINS, ChannelPeaks, Histogram, Range, collect_statistics
from edgepress.targets.errors import TargetError
from edgepress.targets.records import Feeds

GAUSSIAN = np.random.default_rng(0).standard_normal(100_000).astype(np.float32)


def histogram_of(*parts: np.ndarray) -> Histogram:
    histogram = Histogram()
    for part in parts:
        histogram = histogram.add(part)
    return histogram


batches = st.lists(arrays.arrays(np.float32, 7, elements=st.floats(-1000, 1000, width=32)), min_size=1, max_size=5)


@given(batches)
def test_streamed_range_is_that_of_all_values_at_once(parts: list[np.ndarray]) -> None:
    streamed = Range()
    for part in parts:
        streamed = streamed.add(part)
    assert streamed == Range(float(np.min(parts)), float(np.max(parts)))


@given(batches)
def test_a_histogram_counts_every_value_however_far_later_batches_reach(parts: list[np.ndarray]) -> None:
    histogram = histogram_of(*parts)
    assert histogram.counts is not None
    assert histogram.counts.shape == (BINS,)
    assert histogram.counts.sum() == sum(part.size for part in parts)
    assert histogram.reach >= np.abs(parts).max()


def test_doubling_the_reach_moves_counts_to_the_bins_that_cover_the_same_values() -> None:
    histogram = histogram_of(np.array([1.0, -1.0, 0.5]), np.array([3.0]))
    assert histogram.counts is not None
    assert histogram.reach == 4.0
    edges = np.flatnonzero(histogram.counts) * histogram.width - histogram.reach
    # 1.0 was the upper edge of the last bin, so its bin begins one (old) bin lower.
    np.testing.assert_allclose(edges, [-1.0, 0.5, 1.0 - histogram.width, 3.0])


def test_channel_peaks_are_the_largest_magnitudes_along_the_last_axis() -> None:
    peaks = ChannelPeaks().add(np.array([[[1.0, -5.0]], [[-2.0, 0.0]]])).add(np.array([[0.5, 6.0]])).peaks
    assert peaks is not None
    assert peaks.tolist() == [2.0, 6.0]


@pytest.mark.parametrize("percentile", [90.0, 99.0, 99.9])
def test_percentile_range_agrees_with_numpy_within_a_bin(percentile: float) -> None:
    values = GAUSSIAN[:99_991]  # a size at which no percentile falls between two values
    histogram = histogram_of(*np.array_split(values, 10))
    found = percentile_range(histogram, percentile)
    low, high = np.percentile(values, [100 - percentile, percentile], method="inverted_cdf")
    assert abs(found.low - low) <= histogram.width
    assert abs(found.high - high) <= histogram.width


def test_least_squared_error_clips_a_gaussian_and_beats_its_full_range() -> None:
    histogram = histogram_of(GAUSSIAN)
    found = squared_error_range(histogram)
    full = rounding_error(histogram, histogram.range.low, histogram.range.high)
    assert rounding_error(histogram, found.low, found.high) < full
    assert 3.5 < found.high < histogram.range.high


def test_rounding_error_of_uniform_values_is_a_twelfth_of_the_squared_step() -> None:
    histogram = histogram_of(np.linspace(0, 1, 1_000_001))
    assert rounding_error(histogram, 0.0, 1.0) == pytest.approx((1 / 255) ** 2 / 12, rel=0.02)


def test_entropy_cuts_a_lone_outlier_and_keeps_the_bulk() -> None:
    reach = entropy_range(histogram_of(GAUSSIAN, np.array([60.0], np.float32))).high
    assert 3.0 < reach < 10.0


@pytest.mark.parametrize("method", ["min-max", "percentile", "squared-error", "entropy"])
def test_no_method_goes_beyond_what_was_seen(method: str) -> None:
    found = choose_range(method, histogram_of(np.maximum(GAUSSIAN, 0)))  # type: ignore[arg-type]
    assert 0 <= found.low < found.high <= GAUSSIAN.max()


@pytest.mark.parametrize("method", ["min-max", "percentile", "squared-error", "entropy"])
def test_a_tensor_of_zeros_has_a_finite_range_by_every_method(method: str) -> None:
    found = choose_range(method, histogram_of(np.zeros(8, np.float32)))  # type: ignore[arg-type]
    assert found == Range(0.0, 0.0)


def test_an_unknown_method_is_refused_with_those_there_are() -> None:
    with pytest.raises(TargetError, match="unknown calibration method 'median'; there are min-max, percentile"):
        choose_range("median", histogram_of(GAUSSIAN))  # type: ignore[arg-type]


def test_memory_is_bounded_by_a_batch_whatever_their_number() -> None:
    seen: list[weakref.ref[np.ndarray]] = []
    most = 0

    def lazily(count: int) -> Iterator[Feeds]:
        for index in range(count):
            yield {"x": np.full(100, index, np.float32)}

    def read(feeds: Feeds) -> dict[str, np.ndarray]:
        nonlocal most
        inner = feeds["x"] * 2
        seen.extend((weakref.ref(feeds["x"]), weakref.ref(inner)))
        most = max(most, sum(reference() is not None for reference in seen))
        return {"inner": inner}

    kept = collect_statistics(read, lazily(50), {"inner": Histogram()})
    assert kept["inner"].range == Range(0.0, 98.0)
    assert most <= 4  # this batch's input and activation, and at most those of the one before


def test_calibration_without_batches_is_refused() -> None:
    with pytest.raises(TargetError, match="no calibration batches were given"):
        collect_statistics(dict, [], {"x": Range()})


def test_nan_in_an_activation_names_the_tensor_and_the_batch() -> None:
    feeds = [{"x": np.zeros(2)}, {"x": np.array([0.0, np.nan])}]
    with pytest.raises(TargetError, match="tensor 'x' has NaN or infinite values on calibration batch 2"):
        collect_statistics(dict, feeds, {"x": Range()})
