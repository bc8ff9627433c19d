"""Nothing phones home: a whole run and the runner of its release in processes that the system kills where they try."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks.tiny_release import tiny_release
from tests.conftest import ROOT
from tests.end_to_end.recipes import PLAIN, changed, command, write_recipe, write_text_inputs

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the trap is a filter of Linux for system calls")
# Python imports this by itself, in children too. The filter holds for native code as well, and is inherited: who
# connects or sends to an address of the internet, 16 or 28 bytes long, is killed by SIGSYS: also to look up a name.
TRAP = """
import ctypes, platform, struct
connect, send, machine = {"x86_64": (42, 44, 0xC000003E), "aarch64": (203, 206, 0xC00000B7)}[platform.machine()]
load, equal, jump, give, kill, allow = 0x20, 0x15, 0x05, 0x06, 0x80000000, 0x7FFF0000
steps = [(load, 0, 0, 4), (equal, 0, 8, machine), (load, 0, 0, 0), (equal, 1, 0, connect), (equal, 2, 5, send),
         (load, 0, 0, 32), (jump, 0, 0, 1), (load, 0, 0, 56), (equal, 2, 0, 16), (equal, 1, 0, 28),
         (give, 0, 0, allow), (give, 0, 0, kill)]
program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
class Filter(ctypes.Structure):
    _fields_ = [("steps", ctypes.c_ushort), ("program", ctypes.c_void_p)]
libc = ctypes.CDLL(None)
trap = Filter(len(steps), ctypes.addressof(program))
if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.byref(trap), 0, 0):
    raise SystemExit("the trap could not be set")
"""
# Without these onnxruntime believes itself in a user's hands and reports, unless it is told not to.
KEEP_QUIET = ("CI", "GITHUB_ACTIONS", "TF_BUILD", "ORT_RUNNING_UNIT_TESTS", "ORT_DISABLE_TELEMETRY")
KEEP_QUIET += ("HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK", "HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE")


@pytest.fixture
def trapped(tmp_path: Path) -> dict[str, str]:
    """The environment of a user at home, where sockets are deadly."""
    (tmp_path / "trap").mkdir()
    (tmp_path / "home").mkdir()
    (tmp_path / "trap/sitecustomize.py").write_text(TRAP)
    kept = {name: value for name, value in os.environ.items() if name not in KEEP_QUIET}
    path = os.pathsep.join([str(tmp_path / "trap"), str(ROOT)])
    return {**kept, "PYTHONPATH": path, "HOME": str(tmp_path / "home"), "XDG_CACHE_HOME": str(tmp_path / "home/.cache")}


def at_home(folder: Path) -> list[str]:
    """What a process left in the user's own folders, but for what Python packages compile and draw there."""
    found = (path.relative_to(folder / "home").as_posix() for path in (folder / "home").rglob("*") if path.is_file())
    return [name for name in found if not name.startswith((".cache/matplotlib", ".config/matplotlib"))]


@pytest.mark.parametrize(
    "call",
    [
        "socket.getaddrinfo('a.example', 80)",
        "socket.create_connection(('127.0.0.1', 9))",
        "socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).sendto(b'', ('::1', 9))",
    ],
)
def test_the_trap_kills_who_speaks_to_the_internet(trapped: dict[str, str], call: str) -> None:
    done = subprocess.run([sys.executable, "-c", f"import socket; {call}"], env=trapped)
    assert done.returncode == -signal.SIGSYS


@pytest.mark.slow
def test_a_whole_run_speaks_to_nobody_and_leaves_no_device_id(trapped: dict[str, str], tmp_path: Path) -> None:
    write_text_inputs(tmp_path)
    recipe = changed(PLAIN)
    recipe["stages"] = [{"distill": {"training": {"epochs": 1, "batch_size": 16, "learning_rate": 1e-3}}}]
    recipe["stages"].append({"quantize": {"min_int8_share": 0.0, "candidates": ["int8-dynamic"], "max_drop": 1.0}})
    write_recipe(tmp_path, recipe)
    done = subprocess.run(command("run", "recipe.yaml"), cwd=tmp_path, env=trapped, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert at_home(tmp_path) == []


@pytest.mark.slow
def test_the_runner_on_a_device_speaks_to_nobody_and_leaves_no_device_id(
    trapped: dict[str, str], tmp_path: Path
) -> None:
    release = tiny_release(tmp_path / "release")
    runner = [sys.executable, "run_benchmark.py", "--samples", "11"]
    environment = trapped | {"PYTHONPATH": str(tmp_path / "trap")}
    done = subprocess.run(runner, cwd=release, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert at_home(tmp_path) == []


def test_a_choice_of_the_users_own_stays() -> None:
    from edgepress.targets.telemetry import silence

    mine = {"ORT_DISABLE_TELEMETRY": "0"}
    silence(mine)
    assert mine == {"ORT_DISABLE_TELEMETRY": "0", "HF_HUB_DISABLE_TELEMETRY": "1", "NNCF_CI": "1"}
