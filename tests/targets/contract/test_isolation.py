from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from edgepress.targets.errors import BenchmarkError, TargetError
from edgepress.targets.process.isolation import (
    ChildCrash,
    ChildHang,
    child_environment,
    convert_apart,
    converting,
    run_isolated,
)
from tests.conftest import is_alive

CHILD = """
import os, signal, sys, time
from edgepress.targets.errors import ArtifactError

def echo(request):
    return {"pid": os.getpid(), "got": request, "threads": os.environ.get("OMP_NUM_THREADS")}

def refuse(request):
    raise ArtifactError("model.onnx is missing. Export it again.")

def divide(request):
    return {"result": 1 / 0}

def killed(request):
    os.kill(os.getpid(), signal.SIGKILL)

def segfault(request):
    os.kill(os.getpid(), signal.SIGSEGV)

def leave(request):
    print("no licence found", file=sys.stderr)
    sys.exit(7)

def sleep(request):
    with open(request["pid_file"], "w") as file:
        file.write(str(os.getpid()))
    time.sleep(60)

def odd(request):
    return {"object": object()}
"""


@pytest.fixture(autouse=True)
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "child_functions.py").write_text(CHILD)
    monkeypatch.syspath_prepend(tmp_path)


def test_the_answer_comes_from_another_process_with_its_threads_capped() -> None:
    answer = run_isolated("child_functions:echo", {"text": "é", "number": 0.1}, timeout_s=30, threads=3)
    assert answer["pid"] != os.getpid()
    assert answer["got"] == {"text": "é", "number": 0.1}
    assert answer["threads"] == "3"


def test_peak_memory_is_the_childs_own_and_not_that_of_its_parent() -> None:
    ballast = np.ones(60_000_000)  # 480 MB
    answer, peak = convert_apart("child_functions:echo", {}, timeout_s=30)
    assert answer["pid"] != os.getpid()
    assert 5e6 < peak < ballast.nbytes / 2


def test_an_error_of_ours_comes_back_as_its_own_line() -> None:
    with pytest.raises(BenchmarkError, match=r"model\.onnx is missing") as caught:
        run_isolated("child_functions:refuse", {}, timeout_s=30)
    assert str(caught.value) == "child_functions:refuse failed: model.onnx is missing. Export it again."


def test_any_other_error_comes_back_with_its_type_and_the_traceback_as_a_note() -> None:
    with pytest.raises(BenchmarkError, match="failed: ZeroDivisionError: division by zero") as caught:
        run_isolated("child_functions:divide", {}, timeout_s=30)
    assert 'child_functions.py", line' in caught.value.__notes__[0]


def test_an_unknown_function_and_an_answer_that_is_no_json_are_named() -> None:
    with pytest.raises(BenchmarkError, match="has no attribute 'missing'"):
        run_isolated("child_functions:missing", {}, timeout_s=30)
    with pytest.raises(BenchmarkError, match="TypeError: Object of type object is not JSON serializable"):
        run_isolated("child_functions:odd", {}, timeout_s=30)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("killed", r"was killed by SIGKILL. Was the memory enough\?"),
        ("segfault", r"was killed by SIGSEGV"),
    ],
)
def test_a_child_killed_by_a_signal_gives_one_line_that_names_it(function: str, message: str) -> None:
    with pytest.raises(ChildCrash, match=message) as caught:
        run_isolated(f"child_functions:{function}", {}, timeout_s=30)
    assert "\n" not in str(caught.value)


def test_a_child_that_leaves_without_an_answer_gives_its_exit_code_and_last_words() -> None:
    with pytest.raises(ChildCrash, match="ended without an answer, exit code 7: no licence found"):
        run_isolated("child_functions:leave", {}, timeout_s=30)


def test_a_child_that_takes_too_long_is_stopped(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    with pytest.raises(BenchmarkError, match=r"gave no answer within 4 s and was stopped. Measure fewer samples"):
        run_isolated("child_functions:sleep", {"pid_file": str(pid_file)}, timeout_s=4)
    assert not is_alive(int(pid_file.read_text()))


def test_a_child_without_a_sign_of_life_is_stopped_long_before_the_time_is_up(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    with pytest.raises(ChildHang, match=r"gave no sign of life for 3 s and was stopped: it hangs"):
        run_isolated("child_functions:sleep", {"pid_file": str(pid_file)}, timeout_s=600, silence_s=3)
    assert not is_alive(int(pid_file.read_text()))


def test_a_child_that_tells_its_progress_may_take_longer_than_the_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "talking.py").write_text(
        "import time\nfrom edgepress.targets.process.isolation import tell_progress\n"
        "def talk(request):\n"
        "    for done in range(9):\n        tell_progress(done, 9)\n        time.sleep(0.5)\n"
        "    return {'done': True}\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert run_isolated("talking:talk", {}, 60, silence_s=3) == {"done": True}


def test_the_child_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    code = (
        "from edgepress.targets.process.isolation import run_isolated; "
        f"run_isolated('child_functions:sleep', {{'pid_file': {str(pid_file)!r}}}, 60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], env=child_environment(None))
    for _ in range(200):
        if pid_file.exists() and pid_file.read_text():
            break
        time.sleep(0.1)
    parent.kill()
    parent.wait()
    pid = int(pid_file.read_text())
    for _ in range(100):
        if not is_alive(pid):
            break
        time.sleep(0.1)
    assert not is_alive(pid)


def test_the_childs_path_is_this_processs_path_made_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", "/somewhere"])
    assert child_environment(None)["PYTHONPATH"].split(os.pathsep) == [str(Path.cwd()), "/somewhere"]


def test_the_parent_hears_how_far_the_child_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "counting.py").write_text(
        "import time\nfrom edgepress.targets.process.isolation import tell_progress\n"
        "def count(request):\n"
        "    for done in (1, 2):\n        tell_progress(done, 2)\n        time.sleep(0.5)\n"
        "    return {}\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    heard: list[tuple[int, int]] = []
    run_isolated("counting:count", {}, 60, progress=lambda done, total: heard.append((done, total)))
    assert {(1, 2), (2, 2)} <= set(heard)


def test_a_conversion_runs_while_its_caller_does_other_work() -> None:
    with converting("child_functions:echo", {"number": 1}, 30) as finish:
        (answer, peak), (again, _) = finish(), finish()
    assert answer == again
    assert answer["got"] == {"number": 1}
    assert peak > 5e6


def test_a_conversion_that_nobody_waits_for_is_stopped(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    with (
        pytest.raises(KeyboardInterrupt),
        converting("child_functions:sleep", {"pid_file": str(pid_file)}, 60),
    ):
        while not (pid_file.is_file() and pid_file.read_text()):
            time.sleep(0.05)
        raise KeyboardInterrupt
    assert not is_alive(int(pid_file.read_text()))


def test_a_conversions_time_counts_from_its_beginning(tmp_path: Path) -> None:
    with converting("child_functions:sleep", {"pid_file": str(tmp_path / "pid")}, timeout_s=3) as finish:
        time.sleep(3)
        began = time.monotonic()
        with pytest.raises(TargetError, match="gave no answer within 3 s and was stopped"):
            finish()
    assert time.monotonic() - began < 2.5
