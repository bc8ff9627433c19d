"""Rows of concurrent requests, gathered into calls of the model: dynamic batching with a bound on what it delays."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import Any, NamedTuple

from edgepress.targets.errors import DataError, EdgepressError, TargetError, told
from edgepress.targets.inference.answers import Answer
from edgepress.targets.serving.limits import Limits

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

    Args:
        predict: rows → answers; is called in a thread of its own, never twice at once.
        limits: of the service.
        seen: is told of each call.
    """

    def __init__(self, predict: Predict, limits: Limits, seen: Seen = lambda rows, seconds: None) -> None:
        self._predict = predict
        self._limits = limits
        self._seen = seen
        self._queue: asyncio.Queue[Waiting] = asyncio.Queue()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._worker: asyncio.Task[None] | None = None
        self._taken = 0

    @property
    def waiting(self) -> int:
        """Rows that were taken and are not answered."""
        return self._taken

    def start(self) -> None:
        """Begin to answer; in a running event loop."""
        self._worker = asyncio.create_task(self._work())

    async def ask(self, rows: Sequence[Any]) -> list[Answer]:
        """The answers of a request's rows, which may be in different calls.

        Raises:
            Stopping: the service is about to end.
            Overloaded: the queue would be longer than it may be.
            TimeoutError: they took too long; what of them still waits is not computed.
            DataError: a row is none of the model's kind.
            TargetError: the runtime fails.
        """
        if self._worker is None:
            raise Stopping("this service is stopping. Ask another one.")
        if self._taken + len(rows) > self._limits.waiting:
            raise Overloaded(f"{self._taken} rows wait already, and {self._limits.waiting} may. Ask again later.")
        loop = asyncio.get_running_loop()
        futures = [loop.create_future() for _ in rows]
        self._taken += len(rows)
        for future, row in zip(futures, rows, strict=True):
            future.add_done_callback(self._answered)
            self._queue.put_nowait(Waiting(row, future))
        async with asyncio.timeout(self._limits.seconds):
            return list(await asyncio.gather(*futures))

    async def stop(self) -> None:
        """Answer what was taken, take nothing more."""
        worker, self._worker = self._worker, None
        while self._taken and worker is not None and not worker.done():
            await asyncio.sleep(0.005)
        if worker is not None:
            worker.cancel()
        self._thread.shutdown()

    def _answered(self, _: asyncio.Future[Answer]) -> None:
        self._taken -= 1

    async def _work(self) -> None:
        while True:
            batch = [one for one in await self._gathered() if not one.answer.done()]
            if batch:
                await self._answer(batch)

    async def _gathered(self) -> list[Waiting]:
        """The first row that waits, and those that come until the call is full or the first has waited long enough."""
        batch = [await self._queue.get()]
        until = asyncio.get_running_loop().time() + self._limits.wait_ms / 1000
        while len(batch) < self._limits.batch:
            if self._queue.empty() and asyncio.get_running_loop().time() >= until:
                break
            try:
                async with asyncio.timeout_at(until):
                    batch.append(await self._queue.get())
            except TimeoutError:
                break
        return batch

    async def _answer(self, batch: list[Waiting]) -> None:
        try:
            answers = await self._called([one.row for one in batch])
        except DataError as fault:
            await self._one_by_one(batch, fault)
        except Exception as fault:  # whatever fails, nobody may wait for ever
            _fail(batch, fault if isinstance(fault, EdgepressError) else TargetError(f"the model fails: {told(fault)}"))
        else:
            for one, answer in zip(batch, answers, strict=True):
                if not one.answer.done():
                    one.answer.set_result(answer)

    async def _one_by_one(self, batch: list[Waiting], fault: DataError) -> None:
        """A bad row is the fault of its own request, and not of those that it was gathered with."""
        if len(batch) == 1:
            _fail(batch, fault)
            return
        for one in batch:
            await self._answer([one])

    async def _called(self, rows: list[Any]) -> list[Answer]:
        start = perf_counter()
        answers = await asyncio.get_running_loop().run_in_executor(self._thread, self._predict, rows)
        self._seen(len(rows), perf_counter() - start)
        return answers


def _fail(batch: list[Waiting], fault: Exception) -> None:
    for one in batch:
        if not one.answer.done():
            one.answer.set_exception(fault)
