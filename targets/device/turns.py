"""Calls that take turns: warm-up until their times are stable, then rounds in which each call is timed once."""

from __future__ import annotations

import gc
import random
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from .clock import Clock, monotonic, timed_ms

# Medians of two windows that differ by less are of a call that has warmed up.
AGREEMENT = 0.02
WINDOW, WINDOWS = 10, 10
# Two sessions of one artifact were seen to differ by up to 1 % for as long as their process lives (where their memory
# lies is the likely cause): no number of samples in one process shows it. So the samples are shared out among up to
# six processes, sixteen rounds at least in each. The one that is opened first is slower by 0.3 %: half of the
# processes open them in the other order, so their number is even.
SITTINGS, LEAST_ROUNDS = 6, 16
# A model of 0.1 ms is called thousands of times a second: more samples cost nothing and halve the interval. Half a
# second in each process for a shape, and 2,000 samples in all.
ENOUGH_S, MOST = 0.5, 2000

Calls = Mapping[str, Callable[[], object]]


class CallFailed(Exception):
    """A call raised; its `key` says whose, its cause what."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


def _nothing(key: str) -> None:
    pass


class Enough(NamedTuple):
    """When samples beyond the least are enough: `seconds` after the first of them, or with the `most`th."""

    seconds: float
    most: int


NO_MORE = Enough(0.0, 0)


class WarmUp(NamedTuple):
    """Uncounted rounds before the samples. `stable`: whether two successive windows of a call agreed, by its key."""

    rounds: int
    stable: dict[str, bool]


def warm_up(
    calls: Calls, window: int, clock: Clock = monotonic, seed: int = 0, prepare: Callable[[str], object] = _nothing
) -> WarmUp:
    """Rounds in windows of `window`, for each call until the medians of two successive windows agreed within 2 %.

    Those that agreed sit out the windows of the others: to warm nine artifacts up until all agree in the same window
    took longer than to time them. Ten windows are the limit: on a noisy machine the wait for agreement would not end.
    No windows where it is 0.

    Args:
        calls: what is timed, by key.
        clock: gives the time in nanoseconds; a test passes one of its own.
        seed: of the order of the calls in each round.
        prepare: called with the key before each call, outside of the timed span.
    """
    waiting = dict(calls)
    shuffle = random.Random(f"warm-up {seed}").shuffle
    before: dict[str, float] = {}
    rounds = 0
    while window and rounds < window * WINDOWS and waiting:
        times = _rounds(waiting, window, NO_MORE, shuffle, clock, prepare, lambda: None)
        rounds += window
        medians = {key: float(np.median(values)) for key, values in times.items()}
        for key, median in medians.items():
            if key in before and abs(median - before[key]) <= AGREEMENT * before[key]:
                del waiting[key]
        before = medians
    return WarmUp(rounds, {key: key not in waiting for key in calls})


def interleave(
    calls: Calls,
    samples: int,
    clock: Clock = monotonic,
    seed: int = 0,
    prepare: Callable[[str], object] = _nothing,
    tick: Callable[[], object] = lambda: None,
    more: Enough = NO_MORE,
) -> dict[str, tuple[float, ...]]:
    """At least `samples` wall times of each call, in ms; sample i of every call is of round i. `more`: when to stop.

    Each round runs every call once, in an order drawn anew from `seed`, so that neither drift nor a neighbour favours
    one. `prepare(key)` runs before each call and `tick()` after each round, outside of the timed span.
    """
    times = _rounds(calls, samples, more, random.Random(seed).shuffle, clock, prepare, tick)
    return {key: tuple(values) for key, values in times.items()}


class Taken(NamedTuple):
    """How calls warmed up, and their wall times in ms by their keys; sample i of every call is of round i."""

    warm: WarmUp
    times: dict[str, tuple[float, ...]]


def take(
    calls: Calls,
    samples: int,
    window: int,
    seed: int = 0,
    prepare: Callable[[str], object] = _nothing,
    tick: Callable[[], object] = lambda: None,
    more: Enough = NO_MORE,
    begin: Callable[[], object] = lambda: None,
) -> Taken:
    """`warm_up`, then `interleave`, without Python's garbage collector: a collection inside a timed call would be
    charged to whoever runs just then. `begin()` is called between the two.

    Args:
        calls: what is timed, by key.
        samples: the least number of timed rounds.
        window: rounds in a window of the warm-up; 0 for none.
        seed: of the order of the calls in each round.
        prepare: called with the key before each call, outside of the timed span.
        tick: called after each round of samples.
        more: when to stop beyond `samples`.

    Raises:
        CallFailed: a call raised.
    """
    gc.collect()
    gc.disable()
    try:
        warm = warm_up(calls, window, seed=seed, prepare=prepare)
        begin()
        return Taken(warm, interleave(calls, samples, seed=seed, prepare=prepare, tick=tick, more=more))
    finally:
        gc.enable()


def _rounds(
    calls: Calls,
    least: int,
    more: Enough,
    shuffle: Callable[[list[str]], object],
    clock: Clock,
    prepare: Callable[[str], object],
    tick: Callable[[], object],
) -> dict[str, list[float]]:
    order = list(calls)
    times: dict[str, list[float]] = {key: [] for key in calls}
    start, done = clock(), 0
    while done < least or (done < more.most and clock() - start < more.seconds * 1e9):
        done += 1
        shuffle(order)
        for key in order:
            try:
                prepare(key)
                times[key].append(timed_ms(calls[key], clock))
            except Exception as fault:
                raise CallFailed(key) from fault
        tick()
    return times


def shared_out(samples: int) -> tuple[int, ...]:
    """Rounds in each process, as alike as can be.

    >>> shared_out(31), shared_out(50), shared_out(100)
    ((31,), (25, 25), (17, 17, 17, 17, 16, 16))
    """
    sittings = max(1, min(SITTINGS, samples // LEAST_ROUNDS) // 2 * 2)
    return tuple(samples // sittings + (number < samples % sittings) for number in range(sittings))
