"""One program on this machine, without a shell, bounded in time and in what it says, stopped with all it started."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import IO, NamedTuple

from edgepress.targets.errors import BenchmarkError

POLL_S, LINGER_S = 0.05, 2.0
MOST_ERR = 1 << 20
Feed = Callable[[IO[bytes]], None]
"""Writes what the program reads."""


class Ran(NamedTuple):
    """A program that ended: its exit code, what it wrote to the standard output, and its last words to the other."""

    code: int
    out: bytes
    last: str


class Missing(BenchmarkError):
    """There is no such program."""


class Hangs(BenchmarkError):
    """It did not end in time."""


class Stopped(BenchmarkError):
    """Nobody wants its answer any more."""


def ran(
    command: Sequence[str], limit_s: float, stop: threading.Event, feed: Feed | None = None, most: int = 1 << 20
) -> Ran:
    """Run a program in a session of its own.

    Args:
        command: the program and its arguments, as it gets them.
        limit_s: seconds after which it is stopped.
        stop: set where it is to be stopped at once.
        feed: writes its standard input, which ends then; None: it stays open as long as the program runs.
        most: bytes of its standard output.

    Raises:
        Missing: there is no such program, or it may not be run.
        Hangs: the time was up.
        Stopped: `stop` was set.
        BenchmarkError: it wrote more than `most`.
    """
    pipe = subprocess.PIPE
    try:
        child = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True)
    except OSError as fault:
        raise Missing(f"{command[0]} cannot be started ({fault.strerror})") from None
    assert child.stdin is not None and child.stdout is not None and child.stderr is not None
    out, err = _Reader(child.stdout, most), _Reader(child.stderr, MOST_ERR)
    writer = threading.Thread(target=_written, args=(child.stdin, feed), daemon=True)
    writer.start()
    try:
        _wait(child, limit_s, stop, out)
    finally:
        _end(child)
        # A connection that ssh shares with later calls keeps these open.
        for reader in (out, err):
            reader.join(LINGER_S)
    return Ran(child.returncode, bytes(out.read), last_line(bytes(err.read)))


class _Reader(threading.Thread):
    """Reads a stream to its end and keeps the beginning of it: a full pipe would stop the program."""

    def __init__(self, stream: IO[bytes], most: int) -> None:
        super().__init__(daemon=True)
        self._stream, self._most = stream, most
        self.read = bytearray()
        self.too_long = False
        self.start()

    def run(self) -> None:
        with suppress(OSError, ValueError), self._stream as stream:
            while piece := os.read(stream.fileno(), 1 << 16):
                self.too_long = self.too_long or len(self.read) + len(piece) > self._most
                if not self.too_long:
                    self.read += piece


def _written(stream: IO[bytes], feed: Feed | None) -> None:
    if feed is not None:
        with suppress(OSError, ValueError), stream:  # it ended early: its last words tell why
            feed(stream)


def _wait(child: subprocess.Popen[bytes], limit_s: float, stop: threading.Event, out: _Reader) -> None:
    end = time.monotonic() + limit_s
    while True:
        with suppress(subprocess.TimeoutExpired):
            child.wait(POLL_S)
            return
        if stop.is_set():
            raise Stopped("it was stopped")
        if out.too_long:
            raise BenchmarkError("it says more than is read")
        if time.monotonic() > end:
            raise Hangs(f"no answer within {limit_s:g} s")


def _end(child: subprocess.Popen[bytes]) -> None:
    """Stop it; what runs as another user, and cannot be killed, sees the end of its input."""
    if child.poll() is None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
    assert child.stdin is not None
    with suppress(OSError, ValueError):
        child.stdin.close()
    with suppress(subprocess.TimeoutExpired):
        child.wait(LINGER_S)


def last_line(log: bytes) -> str:
    """The last words of a log, at most 400 characters of them."""
    lines = log.decode("utf-8", "replace").strip().splitlines()
    return lines[-1].strip()[:400] if lines else ""
