"""`edgepress devices run` over the real ssh client and a real sshd on loopback, as this user: two devices of it."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgepress.benchmarks.devices.record import Devices
from tests.compress.bundles import tiny_bundle
from tests.compress.hosts import rows, run_fleet, until, write_fleet
from tests.conftest import is_alive

pytestmark = pytest.mark.slow
SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
CONFIG = """
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host
AuthorizedKeysFile {folder}/user.pub
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
StrictModes no
PidFile none
"""
CLIENT = """
Host board-a board-b
  HostName 127.0.0.1
  Port {port}
  User {user}
  IdentityFile {folder}/user
  IdentitiesOnly yes
  UserKnownHostsFile {folder}/known
  StrictHostKeyChecking accept-new
Host stranger
  HostName 127.0.0.1
  Port {port}
  IdentityFile {folder}/host
  IdentitiesOnly yes
  UserKnownHostsFile {folder}/known
  StrictHostKeyChecking accept-new
"""


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The configuration of an ssh client that knows two devices, which are this machine."""
    if SSHD is None or shutil.which("ssh") is None:
        pytest.skip("sshd or ssh is missing (Debian, Ubuntu: apt install openssh-server openssh-client)")
    separated = Path("/run/sshd")  # sshd wants it where root starts it; its package makes it when a machine boots
    if os.geteuid() == 0 and not separated.is_dir():
        separated.mkdir(mode=0o755)
    folder, port = tmp_path_factory.mktemp("ssh"), free_port()
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    words = {"folder": folder, "port": port, "user": getpass.getuser()}
    (folder / "sshd_config").write_text(CONFIG.format(**words))
    (folder / "config").write_text(CLIENT.format(**words))
    with (folder / "log").open("wb") as log:
        child = subprocess.Popen([SSHD, "-D", "-e", "-f", str(folder / "sshd_config")], stderr=log)
        try:
            wait_for(port, child, folder / "log")
            yield folder / "config"
        finally:
            child.terminate()
            child.wait()


def wait_for(port: int, child: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(100):
        if child.poll() is not None:
            pytest.skip(f"sshd does not start here: {log.read_text().strip()[-300:]}")
        with socket.socket() as tried:
            if tried.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    pytest.fail("sshd does not listen")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    tiny_bundle(tmp_path / "run" / "release")
    return tmp_path / "run"


def test_two_devices_one_of_them_throttled(config: Path, run: Path, tmp_path: Path) -> None:
    if shutil.which("taskset") is None:
        pytest.skip("taskset is missing (Debian, Ubuntu: apt install util-linux): it throttles the second device")
    first = sorted(os.sched_getaffinity(0))[0]
    throttle = ["nice", "-n", "10", "taskset", "-c", str(first)]
    common = {"config": str(config), "machine": "this one"}
    devices = {
        "a": {**common, "ssh": "board-a", "folder": str(tmp_path / "home-a")},
        "b": {**common, "ssh": "board-b", "folder": str(tmp_path / "home b/it's"), "before": throttle},
        "stranger": {"config": str(config), "ssh": "stranger"},
        "nobody": {"ssh": "127.0.0.1", "port": free_port(), "identity": str(config)},
    }
    file = write_fleet(tmp_path / "d.yaml", devices, timing={"samples": 11, "threads": [2]})
    done = run_fleet(file, run)
    assert [row[2] for row in rows(done)] == ["measured", "measured", "failed", "failed"], done.output
    assert rows(done)[2][3].startswith("ssh cannot reach it: ") and "Permission denied (publickey)" in rows(done)[2][3]
    assert "Connection refused" in rows(done)[3][3]
    found = {record.device: record for record in Devices.read(run / "devices/devices.json").records}
    assert found["b"].environment["usable_cores"] == 1 and found["b"].latency[0].pinned == (first,)
    text = (run / "devices/devices.md").read_text()
    assert "2 threads shared 1 processor" in text and text.count("| stranger | ") == 2
    before = (run / "devices/devices.json").read_bytes()
    again = run_fleet(file, run, "--only", "a", "--only", "b")
    assert again.exit_code == 0 and (run / "devices/devices.json").read_bytes() == before


@pytest.mark.parametrize("way", [signal.SIGINT, signal.SIGKILL])
def test_what_runs_on_a_device_ends_where_nobody_waits_any_more(
    config: Path, run: Path, tmp_path: Path, way: signal.Signals
) -> None:
    slow = ["sh", "-c", f"echo $$ > '{tmp_path}/pid'; exec sleep 60"]
    device = {"config": str(config), "ssh": "board-a", "folder": str(tmp_path / "home"), "before": slow}
    file = write_fleet(tmp_path / "d.yaml", {"a": device})
    command = [sys.executable, "-m", "edgepress.compress.cli.app", "devices", "run", str(file), str(run)]
    going = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    until((tmp_path / "pid").is_file)
    pid = int((tmp_path / "pid").read_text())
    going.send_signal(way)
    told = going.communicate(timeout=30)[1]
    until(lambda: not is_alive(pid))
    if way == signal.SIGINT:
        assert going.returncode == 130 and "stopped by Ctrl-C" in told
