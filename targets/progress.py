"""How work says how far it is and what a user should know, without knowing who listens."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Advance(Protocol):
    """`advance(3, note="loss 0.31")`: three units more are done; `total` sets or corrects what there is to do."""

    def __call__(self, amount: float = 1, *, note: str | None = None, total: float | None = None) -> None: ...


class Progress(Protocol):
    """Whoever listens to a run: the command line's console, or `WarningsOnly` for programs."""

    def task(self, title: str, total: float | None = None, *, done: float = 0) -> AbstractContextManager[Advance]:
        """Progress of something longer than a second; `done` units were finished before, by a run that was cut off."""
        ...

    def event(self, kind: str, **fields: object) -> None:
        """A step of the run: `event("stage", name="prune", state="finished", seconds=3.2)`."""
        ...

    def warn(self, text: str) -> None:
        """Something the user should know."""
        ...

    def error(self, text: str) -> None:
        """Why the work cannot go on."""
        ...


class WarningsOnly:
    """For programs that call a run: warnings and errors go to stderr, progress nowhere."""

    @contextmanager
    def task(self, title: str, total: float | None = None, *, done: float = 0) -> Iterator[Advance]:
        yield _ignore

    def event(self, kind: str, **fields: object) -> None:
        """Nobody listens."""

    def warn(self, text: str) -> None:
        print(f"warning: {text}", file=sys.stderr, flush=True)

    def error(self, text: str) -> None:
        print(f"error: {text}", file=sys.stderr, flush=True)


def _ignore(amount: float = 1, *, note: str | None = None, total: float | None = None) -> None:
    """Progress that nobody sees."""


def follow(advance: Advance) -> Callable[[int, int], None]:
    """Progress told as (done, total) for a task that counts steps."""
    heard = 0

    def progress(done: int, total: int) -> None:
        nonlocal heard
        advance(done - heard, total=total)
        heard = done

    return progress
