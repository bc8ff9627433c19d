"""How work says how far it is, without knowing who listens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Advance(Protocol):
    """`advance(3, note="loss 0.31")`: three units more are done; `total` sets or corrects what there is to do."""

    def __call__(self, amount: float = 1, *, note: str | None = None, total: float | None = None) -> None: ...


def follow(advance: Advance) -> Callable[[int, int], None]:
    """Progress told as (done, total) for a task that counts steps."""
    heard = 0

    def progress(done: int, total: int) -> None:
        nonlocal heard
        advance(done - heard, total=total)
        heard = done

    return progress
