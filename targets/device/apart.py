"""Starts a part of a measurement in a process of its own and waits for its answer.

The child reads a line of JSON from its standard input, which stays
open, and gives lines of JSON: `{"phase": ...}` for what it begins, and at last `{"answer": ...}` or
`{"refused": ...}`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..errors import BenchmarkError

SIT = "--sit"
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


def apart(launcher: Path, request: dict[str, Any], threads: int, limit_s: float) -> dict[str, Any]:
    """The answer of `launcher --sit` to `request`, in a process whose thread pools are capped to `threads`.

    Raises:
        BenchmarkError: what it refused; or it crashed, or gave no answer within `limit_s` seconds.
    """
    environment = {**os.environ, **dict.fromkeys(THREAD_VARIABLES, str(threads))}
    pipe = subprocess.PIPE
    try:
        child = subprocess.Popen(
            [sys.executable, str(launcher), SIT], 0, stdin=pipe, stdout=pipe, stderr=pipe, env=environment
        )
    except OSError as fault:
        raise BenchmarkError(f"no second process can be started ({fault.strerror}). Free some memory.") from None
    output, log, in_time = asked(child, request, limit_s)
    if not in_time:
        raise BenchmarkError(
            f"{phase_of(output)} hangs: no answer within {limit_s:g} s. Measure fewer samples, or allow more "
            f"seconds with --limit."
        )
    reply = lines(output)[-1:] or [{}]
    if "refused" in reply[0]:
        raise BenchmarkError(reply[0]["refused"])
    if "answer" not in reply[0]:
        raise BenchmarkError(f"{phase_of(output)} {ending(child.returncode, log)}. Nothing was recorded.")
    return dict(reply[0]["answer"])


def asked(child: subprocess.Popen[bytes], request: dict[str, Any], limit_s: float) -> tuple[bytes, bytes, bool]:
    """What the child wrote to its standard output and error, and whether it ended in time; it has ended either way."""
    # Open as long as this process lives: its end tells the child that nobody waits for it any more.
    held, child.stdin = child.stdin, None
    assert held is not None
    with child, held:
        try:
            with suppress(BrokenPipeError):  # it ended at once: its last words tell why
                held.write(json.dumps(request).encode() + b"\n")
            return (*child.communicate(timeout=limit_s), True)
        except subprocess.TimeoutExpired:
            child.kill()
            return (*child.communicate(), False)
        finally:
            child.kill()


def lines(output: bytes) -> list[dict[str, Any]]:
    """What the child said so far; a line that was cut off is left out."""
    found = []
    for line in output.splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            break
    return found


def phase_of(output: bytes) -> str:
    phases = [line["phase"] for line in lines(output) if "phase" in line]
    return f"measuring ({phases[-1]})" if phases else "measuring"


def ending(code: int, log: bytes) -> str:
    """'was killed by SIGSEGV', or the exit code and the child's last words."""
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        return f"was killed by {name}" + (" (was the memory enough?)" if name == "SIGKILL" else "")
    words = log.decode("utf-8", "replace").strip().splitlines()
    return f"ended with exit code {code}" + (f": {words[-1].strip()[:300]}" if words else " and without a word")
