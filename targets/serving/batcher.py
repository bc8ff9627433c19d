"""Rows of concurrent requests, gathered into calls of the model: dynamic batching with a bound on what it delays."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from threading import Thread
from time import monotonic, perf_counter
from typing import Any, NamedTuple

from edgepress.targets.errors import DataError, EdgepressError, TargetError, told
from edgepress.targets.inference.answers import Answer
from edgepress.targets.serving.limits import ServiceLimits

Predict = Callable[[Sequence[Any]], list[Answer]]
Seen = Callable[[int, float], None]
"""(rows, seconds) of each call of the model."""


class Overloaded(TargetError):
    """More rows would wait than may."""


class Stopping(TargetError):
    """No more rows are taken."""


class Waiting(NamedTuple):
    """A row, and where its answer goes."""

    row: Any
    answer: asyncio.Future[Answer]


class Batcher:
    """One model, called by one thread; rows wait for it in a queue of bounded length.

    The thread takes rows from the queue itself: an event loop that is busy refusing requests would hand it one row in
    each of its long turns.

    Args:
        predict: rows → answers; is called in a thread of its own, never twice at once.
        limits: of the service.
        seen: is told of each call.
    """

    def __init__(self, predict: Predict, limits: ServiceLimits, seen: Seen = lambda rows, seconds: None) -> None:
        self._predict = predict
        self._limits = limits
        self._seen = seen
        self._queue: SimpleQueue[Waiting | None] = SimpleQueue()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = Thread(target=self._work, name="model", daemon=True)
        self._taken = 0

    @property
    def waiting(self) -> int:
        """Rows that were taken and are not answered."""
        return self._taken

    def start(self) -> None:
        """Begin to answer; in a running event loop."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    def check_room(self, rows: int) -> None:
        """Whether so many rows would be taken now.

        Raises:
            Stopping: the service is about to end.
            Overloaded: the queue would be longer than it may be.
        """
        if self._loop is None:
            raise Stopping("this service is stopping. Ask another one.")
        if self._taken + rows > self._limits.waiting:
            raise Overloaded(f"{self._taken} rows wait already, and {self._limits.waiting} may. Ask again later.")

    async def ask(self, rows: Sequence[Any]) -> list[Answer]:
        """The answers of a request's rows, which may be in different calls.

        Raises:
            Stopping: the service is about to end.
            Overloaded: the queue would be longer than it may be.
            TimeoutError: they took too long; what of them still waits is not computed.
            DataError: a row is none of the model's kind.
            TargetError: the runtime fails.
        """
        self.check_room(len(rows))
        loop = asyncio.get_running_loop()
        futures = [loop.create_future() for _ in rows]
        self._taken += len(rows)
        for future, row in zip(futures, rows, strict=True):
            future.add_done_callback(self._answered)
            self._queue.put(Waiting(row, future))
        async with asyncio.timeout(self._limits.seconds):
            return list(await asyncio.gather(*futures))

    async def stop(self) -> None:
        """Answer what was taken, take nothing more."""
        loop, self._loop = self._loop, None
        if loop is None:
            return
        while self._taken:
            await asyncio.sleep(0.005)
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)

    def _answered(self, _: asyncio.Future[Answer]) -> None:
        self._taken -= 1

    def _work(self) -> None:
        while (batch := self._gathered()) is not None:
            if alive := [one for one in batch if not one.answer.done()]:
                self._answer(alive)

    def _gathered(self) -> list[Waiting] | None:
        """The first row that waits, and those that come until the call is full or the first has waited long enough;
        None at the end."""
        first = self._queue.get()
        if first is None:
            return None
        batch, until = [first], monotonic() + self._limits.wait_ms / 1000
        while len(batch) < self._limits.batch:
            try:
                following = self._queue.get(timeout=max(0.0, until - monotonic()))
            except Empty:
                break
            if following is None:
                self._queue.put(None)
                break
            batch.append(following)
        return batch

    def _answer(self, batch: list[Waiting]) -> None:
        start = perf_counter()
        try:
            answers = self._predict([one.row for one in batch])
        except DataError as fault:
            self._one_by_one(batch, fault)
        except Exception as fault:  # whatever fails, nobody may wait for ever
            known = isinstance(fault, EdgepressError)
            _resolve(batch, fault if known else TargetError(f"the model fails: {told(fault)}"))
        else:
            self._seen(len(batch), perf_counter() - start)
            _resolve(batch, answers)

    def _one_by_one(self, batch: list[Waiting], fault: DataError) -> None:
        """A bad row is the fault of its own request, and not of those that it was gathered with."""
        if len(batch) == 1:
            _resolve(batch, fault)
            return
        for one in batch:
            self._answer([one])


def _resolve(batch: list[Waiting], found: list[Answer] | Exception) -> None:
    """Hand answers, or why there are none, to the event loop in which they are waited for."""
    loop = batch[0].answer.get_loop()
    loop.call_soon_threadsafe(_set, batch, found)


def _set(batch: list[Waiting], found: list[Answer] | Exception) -> None:
    for number, one in enumerate(batch):
        if one.answer.done():  # given up meanwhile
            continue
        if isinstance(found, Exception):
            one.answer.set_exception(found)
        else:
            one.answer.set_result(found[number])
