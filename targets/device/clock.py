"""Time as an argument: whoever measures takes a `Clock`, and tests pass a fake one."""

from __future__ import annotations

import time
from collections.abc import Callable

Clock = Callable[[], int]
"""Returns a monotonic time in ns; only differences mean something."""

monotonic: Clock = time.perf_counter_ns


def timed_ms(call: Callable[[], object], clock: Clock = monotonic) -> float:
    """Wall time of one call in ms. `call` must return only when its work is done (synchronised)."""
    start = clock()
    call()
    return (clock() - start) / 1e6
