"""False alarms an hour, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from edgepress.benchmarks.metrics import metric
from edgepress.benchmarks.metrics.base import value_of
from edgepress.targets.errors import BenchmarkError

ALARMS = metric("false-alarms")


def logits(probabilities: list[float]) -> np.ndarray:
    own = np.array(probabilities)
    return np.log(np.stack([own, 1 - own], axis=1))


def test_each_word_is_judged_against_the_rest_at_its_own_threshold() -> None:
    # Word 0 reaches 0.6 on all its windows; of the other's, 0.7 and 0.6 reach that, 0.2 and 0.1 do not: 2 of 4.
    # Word 1 reaches 0.3 (1 - 0.7) on all its windows; of the other's, 0.9 gives 0.1, and 0.6 and 0.6 give 0.4: 2 of 3.
    truth, answers = np.array([0, 0, 0, 1, 1, 1, 1]), logits([0.9, 0.6, 0.6, 0.7, 0.6, 0.2, 0.1])
    assert value_of(ALARMS, ALARMS.counts(truth, answers)) == pytest.approx(3600 * (2 / 4 + 2 / 3) / 2)


def test_one_window_of_twenty_may_be_missed() -> None:
    # 40 windows of word 0: two at 0.1 and 0.2 may be missed, the next is at 0.8, which 0.5 does not reach.
    truth = np.array([0] * 40 + [1] * 10)
    answers = logits([0.1, 0.2, *[0.8] * 38, *[0.5] * 10])
    counts = ALARMS.counts(truth, answers)
    assert counts[40:, 0].sum() == 0 and counts[40:, 2].sum() == 10
    assert counts[:40, 1].tolist() == [1, 1, *[0] * 38]  # of word 1, whose threshold is 0.5


def test_a_word_without_windows_is_left_out_and_a_perfect_detector_raises_none() -> None:
    answers = np.array([[9.0, 0.0, 0.0], [9.0, 0.0, 0.0], [0.0, 9.0, 0.0]])
    counts = ALARMS.counts(np.array([0, 0, 1]), answers)
    assert counts[:, 5].tolist() == [0, 0, 0] and value_of(ALARMS, counts) == 0


def test_what_is_no_logits_is_refused() -> None:
    with pytest.raises(BenchmarkError, match=r"false-alarms needs logits \[rows, classes\], got \[3\]"):
        ALARMS.counts(np.zeros(3), np.zeros(3))
