"""Starts a part of a measurement in a process of its own and waits for its answer.

It travels beside `run_benchmark.py` in a release. The child reads a JSON object from its standard input and gives
lines of JSON: `{"phase": ...}` for what it begins, and at last `{"answer": ...}` or `{"refused": ...}`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
if TYPE_CHECKING:
    from benchmarks.runner.run_runtimes import Refused
else:
    from run_runtimes import Refused

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


def apart(script: Path, request: dict[str, Any], threads: int, limit_s: float) -> dict[str, Any]:
    """The answer of `script`, whose thread pools are capped to `threads`.

    Raises:
        Refused: what it refused; or it crashed, or gave no answer within `limit_s` seconds.
    """
    environment = {**os.environ, **dict.fromkeys(THREAD_VARIABLES, str(threads))}
    try:
        done = subprocess.run(
            [sys.executable, str(script)],
            input=json.dumps(request).encode(),
            capture_output=True,
            timeout=limit_s,
            env=environment,
            check=False,
        )
    except subprocess.TimeoutExpired as fault:
        raise Refused(
            f"{phase_of(fault.stdout)} hangs: no answer within {limit_s:g} s. Measure fewer samples, or allow more "
            f"seconds with --limit."
        ) from None
    except OSError as fault:
        raise Refused(f"no second process can be started ({fault.strerror}). Free some memory.") from None
    reply = lines(done.stdout)[-1:] or [{}]
    if "refused" in reply[0]:
        raise Refused(reply[0]["refused"])
    if "answer" not in reply[0]:
        raise Refused(f"{phase_of(done.stdout)} {ending(done.returncode, done.stderr)}. Nothing was recorded.")
    return dict(reply[0]["answer"])


def lines(told: bytes | None) -> list[dict[str, Any]]:
    """What the child said so far; a line that was cut off is left out."""
    found = []
    for line in (told or b"").splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            break
    return found


def phase_of(told: bytes | None) -> str:
    phases = [line["phase"] for line in lines(told) if "phase" in line]
    return f"measuring ({phases[-1]})" if phases else "measuring"


def ending(code: int, log: bytes) -> str:
    """'was killed by SIGSEGV', or the exit code and the child's last words."""
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        return f"was killed by {name}" + (" (was the memory enough?)" if name == "SIGKILL" else "")
    words = log.decode("utf-8", "replace").strip().splitlines()
    return f"ended with exit code {code}" + (f": {words[-1].strip()[:300]}" if words else " and without a word")
