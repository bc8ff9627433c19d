"""One call in a fresh process, so that nothing sees another's threads, caches, memory or environment variables.

`python -m edgepress.targets.process.isolation module:function FOLDER` reads request.json there and writes answer.json.
JSON and not pickle: the answer of a crashed or hostile backend is data, never code.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from edgepress.targets.device.apart import THREAD_VARIABLES
from edgepress.targets.errors import BenchmarkError, EdgepressError, TargetError, told
from edgepress.targets.files import write_whole
from edgepress.targets.process.scratch import scratch

LOG_TAIL = 20
PROGRESS_VARIABLE = "EDGEPRESS_PROGRESS"
POLL_S = 0.2

Progress = Callable[[int, int], object]
"""Hears how many units are done, and of how many."""
Conversion = Callable[[], tuple[dict[str, Any], int]]
"""Waits for a conversion: its answer, and its peak memory in bytes."""


class ChildCrash(BenchmarkError):
    """The child ended without an answer: a signal, or an exit in the middle."""


class ChildHang(BenchmarkError):
    """The child was stopped: it gave no answer in time, or no sign of life for too long."""


@dataclass(frozen=True)
class Patience:
    """How long a child is waited for in all, and how long between two signs of life (`tell_progress`), in s."""

    total_s: float
    silence_s: float = math.inf


def run_isolated(
    function: str,
    request: Mapping[str, Any],
    timeout_s: float,
    threads: int | None = None,
    progress: Progress | None = None,
    environment: Mapping[str, str] | None = None,
    silence_s: float = math.inf,
) -> dict[str, Any]:
    """`module:function(request) -> dict` in a process of its own; both dicts must be JSON. It dies with this process.

    Args:
        function: "module:function", importable there.
        request: what it is called with.
        timeout_s: seconds after which it is stopped.
        threads: of the pools of OpenMP, MKL and OpenBLAS in it; None leaves them as they are here.
        progress: hears what the child says by `tell_progress`.
        environment: variables that it gets beside ours.
        silence_s: seconds without a `tell_progress` after which it is stopped.

    Raises:
        BenchmarkError: the function raised; its traceback is a note of the error.
        ChildHang: `timeout_s` seconds went by, or `silence_s` without a `tell_progress`.
        ChildCrash: the child was killed by a signal or left without an answer.
    """
    variables = child_environment(threads) | dict(environment or {})
    with _child(function, request, variables) as child:
        reply = child.reply(Patience(timeout_s, silence_s), progress)
    if "fault" in reply:
        fault = BenchmarkError(f"{function} failed: {reply['fault']}")
        fault.add_note(reply["traceback"])
        raise fault
    answer: dict[str, Any] = reply["answer"]
    return answer


@contextmanager
def converting(
    function: str, request: Mapping[str, Any], timeout_s: float, environment: Mapping[str, str] | None = None
) -> Iterator[Conversion]:
    """A conversion `module:function(request) -> dict` in a process of its own that runs while the caller does other
    work. Calling what is yielded waits for it: (its answer, its peak memory in bytes). It is stopped where the block is
    left without.

    Args:
        function: "module:function", importable there.
        request: what it is called with; JSON, as its answer.
        timeout_s: seconds from its beginning after which it is stopped.
        environment: variables that it gets beside ours.

    Raises, when called:
        TargetError: what the child refused, in its own words; another failure of it; its end without an answer; or
            `timeout_s` seconds went by since it began.
    """
    with _child(function, request, child_environment(None) | dict(environment or {})) as child:

        def finish() -> tuple[dict[str, Any], int]:
            try:
                reply = child.reply(Patience(timeout_s), None)
            except BenchmarkError as fault:
                raise TargetError(f"the conversion failed: {fault}") from fault
            if "fault" in reply:
                error = TargetError(reply["fault"] if reply["refused"] else f"the conversion failed: {reply['fault']}")
                error.add_note(reply["traceback"])
                raise error
            return reply["answer"], reply["peak_bytes"]

        yield finish


def convert_apart(
    function: str, request: Mapping[str, Any], timeout_s: float, environment: Mapping[str, str] | None = None
) -> tuple[dict[str, Any], int]:
    """`converting`, waited for: `function` is called with `request`, for `timeout_s` seconds at most, `environment`
    beside our variables."""
    with converting(function, request, timeout_s, environment) as finish:
        return finish()


@dataclass(frozen=True)
class _Child:
    """A process that runs `function`, with its request, log and answer in `folder`, since `began` (monotonic, s)."""

    function: str
    folder: Path
    process: subprocess.Popen[bytes]
    began: float

    def reply(self, patience: Patience, progress: Progress | None) -> dict[str, Any]:
        """Wait for the answer. Raises ChildHang, ChildCrash."""
        try:
            code = _wait(self, patience, progress)
        except _Impatient as fault:
            raise ChildHang(_hang_message(self.function, patience, fault.silent)) from None
        return _answer(self.function, self.folder, code)


@contextmanager
def _child(function: str, request: Mapping[str, Any], environment: Mapping[str, str]) -> Iterator[_Child]:
    with scratch() as folder:
        (folder / "request.json").write_text(json.dumps(request), encoding="utf-8")
        command = [
            sys.executable,
            "-P",
            "-X",
            "faulthandler",
            "-m",
            "edgepress.targets.process.isolation",
            function,
            str(folder),
        ]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**environment, PROGRESS_VARIABLE: str(folder / "progress")},
                start_new_session=True,
            )
        with process:
            try:
                yield _Child(function, folder, process, time.monotonic())
            finally:
                _stop(process)


def child_environment(threads: int | None) -> dict[str, str]:
    """This process's environment, its `sys.path` as PYTHONPATH (a wheel or the source tree alike), and thread caps."""
    path = os.pathsep.join(str(Path(entry or ".").absolute()) for entry in sys.path)
    caps = {} if threads is None else dict.fromkeys(THREAD_VARIABLES, str(threads))
    return {**os.environ, "PYTHONPATH": path, **caps}


def tell_progress(done: int, total: int) -> None:
    """Called in the child: the parent's `progress` hears it. Nothing where there is no parent to hear."""
    if path := os.environ.get(PROGRESS_VARIABLE):
        write_whole(Path(path), f"{done} {total}")


def _wait(child: _Child, patience: Patience, progress: Progress | None) -> int:
    """The exit code; raises _Impatient when the time is up."""
    beat, heard, last = child.folder / "progress", child.began, None
    while True:
        now = time.monotonic()
        left = min(child.began + patience.total_s, heard + patience.silence_s) - now
        try:
            return child.process.wait(max(0.0, min(POLL_S, left)))
        except subprocess.TimeoutExpired:
            if left <= 0:
                silent = heard + patience.silence_s < child.began + patience.total_s
                raise _Impatient(silent) from None
        with contextlib.suppress(FileNotFoundError):  # the child has not begun to tell
            if (written := beat.stat().st_mtime_ns) != last:
                last, heard = written, now
                if progress is not None:
                    done, total = beat.read_text(encoding="ascii").split()
                    progress(int(done), int(total))


class _Impatient(Exception):
    """The time is up; `silent`: for want of a sign of life."""

    def __init__(self, silent: bool) -> None:
        super().__init__()
        self.silent = silent


def _hang_message(function: str, patience: Patience, silent: bool) -> str:
    if silent:
        return f"{function} gave no sign of life for {patience.silence_s:g} s and was stopped: it hangs"
    return (
        f"{function} gave no answer within {patience.total_s:g} s and was stopped. "
        f"Measure fewer samples or candidates, or allow more time."
    )


def _stop(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is not None:
        return
    if sys.platform == "win32":
        child.kill()
        return
    with contextlib.suppress(ProcessLookupError):  # it ended between the two lines
        os.killpg(child.pid, signal.SIGKILL)


def _answer(function: str, folder: Path, code: int) -> dict[str, Any]:
    log = (folder / "log").read_text(encoding="utf-8", errors="replace").strip()
    tail = "\n".join(log.splitlines()[-LOG_TAIL:])
    answer = folder / "answer.json"
    if not answer.is_file():
        crash = ChildCrash(f"{function} {_ending(code)}{_last_words(tail, code)}")
        if tail:
            crash.add_note(tail)
        raise crash
    # An answer is written whole, so it counts even where a backend crashes afterwards, in its own clean-up.
    reply: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
    return reply


def _ending(code: int) -> str:
    if code >= 0:
        return f"ended without an answer, exit code {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    hint = ". Was the memory enough? Close other programs or measure fewer candidates" if name == "SIGKILL" else ""
    return f"was killed by {name}{hint}"


def _last_words(tail: str, code: int) -> str:
    return f": {tail.splitlines()[-1].strip()}" if tail and code >= 0 else ""


def _die_with_parent() -> None:
    # The parent holds the other end of stdin and never writes: end of file means that it is gone, kill -9 included.
    # os.read and not sys.stdin: a daemon thread inside a buffered reader aborts the interpreter's shutdown.
    while os.read(0, 1):
        pass
    os._exit(1)


def peak_bytes() -> int:
    """Largest resident memory of this process so far; 0 where the system does not tell.

    Linux counts into `ru_maxrss` what the process was before its program began, a fork of a larger parent, so the
    memory's own high-water mark comes first.
    """
    if sys.platform == "win32":
        return 0
    status = Path("/proc/self/status")
    rows = status.read_text(encoding="ascii", errors="replace").splitlines() if status.is_file() else []
    if own := [row.split() for row in rows if row.startswith("VmHWM:")]:
        return int(own[0][1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts bytes, others KiB


def _serve(function: str, folder: Path) -> int:
    threading.Thread(target=_die_with_parent, daemon=True).start()
    reply: dict[str, Any]
    try:
        module, _, attribute = function.partition(":")
        request = json.loads((folder / "request.json").read_text(encoding="utf-8"))
        reply = {"answer": getattr(import_module(module), attribute)(request), "peak_bytes": peak_bytes()}
        text = json.dumps(reply)
    except Exception as fault:  # whatever it is, the parent raises it again
        refused = isinstance(fault, EdgepressError)
        text = json.dumps({"fault": told(fault), "refused": refused, "traceback": traceback.format_exc()})
    write_whole(folder / "answer.json", text)
    return 0


if __name__ == "__main__":
    sys.exit(_serve(sys.argv[1], Path(sys.argv[2])))
