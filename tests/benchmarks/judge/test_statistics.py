from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepress.benchmarks.statistics import (
    difference_interval,
    least_samples,
    median_interval,
    ratio_interval,
    told_percentile,
    variation,
    wilson_interval,
)
from edgepress.targets.errors import BenchmarkError


@pytest.mark.parametrize(("percentile", "samples"), [(50, 11), (90, 64), (95, 130), (99, 662), (99.9, 6636)])
def test_samples_that_a_percentile_needs_are_loadgens(percentile: float, samples: int) -> None:
    assert least_samples(percentile) == samples

    def at_most_one_above(count: int) -> float:
        share = percentile / 100
        return share**count + count * (1 - share) * share ** (count - 1)

    assert at_most_one_above(samples) <= 0.01 < at_most_one_above(samples - 1)


def test_a_percentile_is_told_from_its_first_sufficient_sample_on() -> None:
    assert told_percentile([1.0] * 129, 95) is None
    assert told_percentile([*range(1, 131)], 95) == pytest.approx(1 + 0.95 * 129)
    with pytest.raises(BenchmarkError, match="a percentile lies between 0 and 100, got 100"):
        least_samples(100)


def test_equal_samples_leave_no_doubt_and_too_few_have_no_interval() -> None:
    assert median_interval([2.5] * 11) == (2.5, 2.5)
    assert ratio_interval([5.0] * 11, [2.5] * 11) == (2.0, 2.0)
    assert median_interval([2.5] * 10) is None
    assert ratio_interval([2.5] * 12, [2.5] * 11) is None


def test_the_interval_of_a_median_is_that_of_its_order_statistics() -> None:
    """Binomial(101, 1/2): the 41st and the 61st of 101 values hold the median with 95 %."""
    low, high = median_interval([float(value) for value in range(1, 102)]) or (0, 0)
    assert low == pytest.approx(41, abs=1.5) and high == pytest.approx(61, abs=1.5)


def test_what_slows_a_whole_round_down_does_not_widen_the_ratio() -> None:
    """Rounds differ by a factor of up to 3; the two sides of each by exactly 2."""
    rounds = np.random.default_rng(0).uniform(1, 3, 101)
    assert ratio_interval([*(2 * rounds)], [*rounds]) == pytest.approx((2.0, 2.0))
    low, high = median_interval([*rounds]) or (0, 0)
    assert high - low > 0.2


@given(st.lists(st.floats(0.1, 10), min_size=11, max_size=40), st.floats(0.5, 20))
def test_intervals_hold_the_median_and_scale_with_the_unit(samples: list[float], factor: float) -> None:
    low, high = median_interval(samples) or (0, 0)
    assert low <= np.median(samples) <= high
    assert median_interval([value * factor for value in samples]) == pytest.approx((low * factor, high * factor))


def noise(seed: int, factor: float = 1.0) -> tuple[list[float], list[float]]:
    """200 rounds of two calls of 1 ms and `factor` ms: drift of the machine, 1 % of jitter, one outlier in twenty."""
    random = np.random.default_rng(seed)
    drift = 1 + 0.1 * np.sin(np.linspace(0, 6, 200))

    def times() -> list[float]:
        jitter = random.normal(1, 0.01, 200) + random.exponential(0.5, 200) * (random.random(200) < 0.05)
        return [*(drift * jitter)]

    return [factor * value for value in times()], times()


def test_the_same_artifact_against_itself_is_as_fast_as_itself() -> None:
    intervals = [ratio_interval(*noise(seed)) or (0, 0) for seed in range(20)]
    assert sum(low <= 1 <= high for low, high in intervals) >= 18
    assert max((high - low) / 2 for low, high in intervals) <= 0.03


def sessions(seed: int, rounds: int) -> tuple[list[float], list[float]]:
    """The same artifact twice in six processes: in each, either one is slower by 0.5 % throughout, rounds by 0.2 %."""
    random = np.random.default_rng(seed)

    def side() -> list[float]:
        return [time for _ in range(6) for time in random.normal(1, 0.005) * random.normal(1, 0.002, rounds)]

    return side(), side()


def test_more_rounds_in_the_same_processes_do_not_make_a_wrong_ratio_sure() -> None:
    """0.5 % of either side in six processes: the ratio is known to 0.5 % * sqrt(2 / 6) = 0.29 %, twice that at 95 %."""
    ones = [ratio_interval(*sessions(seed, 300), sittings=(300,) * 6) or (0, 0) for seed in range(40)]
    assert sum(low <= 1 <= high for low, high in ones) >= 36
    assert 0.003 < np.median([(high - low) / 2 for low, high in ones]) < 0.008
    naive = [ratio_interval(*sessions(seed, 300)) or (0, 0) for seed in range(40)]
    assert sum(low <= 1 <= high for low, high in naive) < 20
    medians = [median_interval(sessions(seed, 300)[0], (300,) * 6) or (0, 0) for seed in range(40)]
    assert sum(low <= 1 <= high for low, high in medians) >= 36


def test_processes_of_other_sizes_are_drawn_as_wholes() -> None:
    """One of 20 rounds at 1 ms, one of 4 at 2 ms: whole processes give 1, or 2, and nothing between but the mixture."""
    samples = [1.0] * 20 + [2.0] * 4
    assert median_interval(samples, (20, 4)) == (1.0, 2.0)
    assert median_interval(samples) == (1.0, 1.0)


def test_a_slowdown_of_five_per_cent_is_found_every_time() -> None:
    assert all((ratio_interval(*noise(seed, 1.05)) or (0, 0))[0] > 1 for seed in range(20))


def test_variation_by_hand_and_what_makes_it_unsteady() -> None:
    # Mean 10, squared deviations 1 + 1 + 0: variance 2 / 2. Quartiles 9.5 and 10.5.
    found = variation([9.0, 10.0, 11.0])
    assert found is not None
    assert found.cv == pytest.approx(0.1) and found.robust_cv == pytest.approx(1 / 1.34898 / 10, rel=1e-4)
    assert found.unsteady and not found.by_outliers
    assert variation([1.0]) is None


def test_outliers_are_told_from_noise() -> None:
    found = variation([1.0, 1.001] * 20 + [2.0])
    assert found is not None and found.unsteady and found.by_outliers
    steady = variation([1.0, 1.01] * 20)
    assert steady is not None and not steady.unsteady and not steady.by_outliers


def test_wilson_by_hand() -> None:
    # z² = 3.8415: (0 + z²) / (10 + z²) at no right answer, mirrored at ten of ten.
    z2 = 1.959964**2
    assert wilson_interval(0, 10) == pytest.approx((0.0, z2 / (10 + z2)))
    assert wilson_interval(10, 10) == pytest.approx((10 / (10 + z2), 1.0))
    with pytest.raises(BenchmarkError, match="got 3 of 2"):
        wilson_interval(3, 2)


@given(st.integers(1, 5000), st.data())
def test_wilson_holds_the_accuracy_within_0_and_1(rows: int, data: st.DataObject) -> None:
    right = data.draw(st.integers(0, rows))
    low, high = wilson_interval(right, rows)
    assert 0 <= low <= right / rows + 1e-12 and right / rows - 1e-12 <= high <= 1 and low < high


def test_an_accuracy_difference_by_hand() -> None:
    # 9 lost, 4 won of 98: with one more on each side 0.1 and 0.05 of 100.
    half = 1.959964 * math.sqrt((0.15 - 0.0025) / 100)
    assert difference_interval(9, 4, 98) == pytest.approx((-0.05 - half, -0.05 + half))
    with pytest.raises(BenchmarkError, match="got 2 lost and 1 won of 2 rows"):
        difference_interval(2, 1, 2)


def test_two_points_lost_on_sst2_are_found_and_without_flips_a_doubt_remains() -> None:
    # 872 rows, 17 of them net: a candidate of two points less, with a few flips the other way.
    assert difference_interval(22, 5, 872)[1] < 0
    low, high = difference_interval(0, 0, 872)
    assert low < 0 < high and low == pytest.approx(-high) and high < 0.005


@given(st.integers(0, 300), st.integers(0, 300))
def test_the_difference_turns_round_with_the_sides(lost: int, won: int) -> None:
    low, high = difference_interval(lost, won, 600)
    assert difference_interval(won, lost, 600) == pytest.approx((-high, -low))
    assert low < high
