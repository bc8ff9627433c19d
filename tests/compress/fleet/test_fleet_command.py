"""Programs that a fleet runs here: bounded, never read by a shell, and gone with all they started."""

from __future__ import annotations

import ast
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import pytest

from edgepress.benchmarks.devices.outcomes import Outcome, Outcomes
from edgepress.benchmarks.devices.record import read_record
from edgepress.compress.fleet import agent
from edgepress.compress.fleet.command import Hangs, Missing, Stopped, ran
from edgepress.compress.fleet.config import Device, Timing
from edgepress.compress.fleet.run import check_asked, machine_of, told_failures
from edgepress.compress.fleet.visit import MODULES, Task, answered
from edgepress.targets.errors import ArtifactError, BenchmarkError
from edgepress.targets.runtime import SESSIONS
from tests.benchmarks.tiny_release import TARGET, tiny_record, tiny_release, write_sealed
from tests.compress.hosts import until
from tests.conftest import is_alive

LEAVES_A_CHILD = 'sleep 60 & echo $! > "$0"; wait'


def python(code: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", code, *arguments]


def test_output_exit_code_and_last_words() -> None:
    code = "import sys; print(sys.argv[1]); print('first\\nlast', file=sys.stderr); sys.exit(3)"
    done = ran(python(code, "$HOME; `id`"), 20, threading.Event())
    assert (done.code, done.out, done.last) == (3, b"$HOME; `id`\n", "last")


def test_what_it_reads_is_fed_and_ends_and_without_a_feed_stays_open() -> None:
    def feed(stream: IO[bytes]) -> None:
        stream.write(b"x" * 300_000)

    code = "import sys; print(len(sys.stdin.buffer.read()))"
    assert ran(python(code), 20, threading.Event(), feed).out == b"300000\n"
    assert ran(python("pass"), 20, threading.Event(), feed).code == 0  # it never reads
    with pytest.raises(Hangs):
        ran(python(code), 0.5, threading.Event())


@pytest.mark.parametrize(("limit", "stops", "error"), [(1.0, False, Hangs), (30.0, True, Stopped)])
def test_it_is_stopped_with_all_it_started(limit: float, stops: bool, error: type, tmp_path: Path) -> None:
    stop, began = threading.Event(), time.monotonic()
    if stops:
        threading.Timer(1.0, stop.set).start()
    with pytest.raises(error):
        ran(["sh", "-c", LEAVES_A_CHILD, str(tmp_path / "pid")], limit, stop)
    assert time.monotonic() - began < 10
    pid = int((tmp_path / "pid").read_text())
    until(lambda: not is_alive(pid))


def test_what_says_too_much_or_is_not_there() -> None:
    with pytest.raises(BenchmarkError, match="it says more than is read"):
        ran(python("while True: print('x' * 1000)"), 20, threading.Event(), most=10_000)
    with pytest.raises(Missing, match=r"no-such-program cannot be started \(No such file or directory\)"):
        ran(["no-such-program"], 20, threading.Event())


def test_an_answer_is_found_among_what_a_login_says() -> None:
    mark = agent.MARK.encode()
    assert answered(b"Welcome!\n" + mark + b'{"a": 1}\nlogout\n') == {"a": 1}
    assert answered(mark + b'{"a": 1}\n' + mark + b'{"a": 2}\n') == {"a": 2}
    for text in (b"", b"Welcome!", mark + b"[]", mark + b"{", mark + b"[" * 100_000, b"\xff" + mark + b"{}"):
        assert answered(text) is None


def test_the_agent_needs_python_3_9_alone() -> None:
    text = Path(agent.__file__).read_text(encoding="utf-8")
    tree = ast.parse(text, feature_version=(3, 9))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert names <= {*sys.stdlib_module_names}
    assert len(text.encode()) < 32 << 10  # it is one word of a command
    assert set(MODULES) == set(SESSIONS)


def test_devices_of_one_machine_take_turns() -> None:
    here, there = Device(local=True, folder="a"), Device(ssh="me@Board")
    assert machine_of(here) == machine_of(here.model_copy(update={"folder": "b"}))
    assert machine_of(there) == machine_of(Device(ssh="you@board"))
    assert machine_of(there) != machine_of(Device(ssh="board", port=2222))
    shared = [Device(ssh="a", machine="rack 1"), Device(ssh="b", machine="rack 1")]
    assert machine_of(shared[0]) == machine_of(shared[1])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"batches": (1, 2)}, "it is of other batches than those that were asked for"),
        ({"samples": 12}, "it has other numbers of samples than 12"),
        ({"threads": (4,)}, "it is of other threads than those that were asked for"),
    ],
)
def test_a_record_of_another_measurement_is_none_of_the_one_that_was_asked_for(
    change: dict[str, Any], words: str, tmp_path: Path
) -> None:
    release = tiny_release(tmp_path / "release")
    record = read_record(write_sealed(tmp_path / "one.json", tiny_record(release, device="a")))
    timing = Timing(samples=11)
    task = Task("a", Device(ssh="a"), timing, 10.0, ())
    check_asked(record, task, TARGET)
    with pytest.raises(ArtifactError, match=words):
        check_asked(record, replace(task, timing=timing.model_copy(update=change)), TARGET)
    with pytest.raises(ArtifactError, match="it is of the device 'a', asked was 'b'"):
        check_asked(record, replace(task, name="b"), TARGET)
    with pytest.raises(ArtifactError, match="it is of the target 'onnxruntime-cpu', asked was 'xla-tpu'"):
        check_asked(record, task, "xla-tpu")


def test_outcomes_replace_those_before_and_failures_are_told_in_one_line() -> None:
    failed = Outcome(device="a", state="failed", reason="off")
    good = Outcome(device="a", target="xla-tpu", state="measured", plan="p", record_sha256="0" * 64)
    kept = Outcomes().with_new([failed]).with_new([good])
    assert kept.outcomes == (good,) and kept.measured("a", "xla-tpu", "p") == good
    assert kept.measured("a", "xla-tpu", "q") is None and kept.measured("b", "xla-tpu", "p") is None
    others = [failed.model_copy(update={"device": name}) for name in "bcd"]
    assert told_failures([failed, good, *others], 5) == "4 of 5 devices failed. a: off; b: off; c: off; and 1 more"
    one = good.model_copy(update={"state": "failed", "reason": "hot"})
    assert told_failures([one], 1) == "1 of 1 device failed. a (xla-tpu): hot"
