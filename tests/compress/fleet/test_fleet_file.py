"""`devices.yaml`: what is taken, and what is refused with which words."""

from __future__ import annotations

import random
import re
import shlex
import time
from pathlib import Path
from typing import Any

import pytest

from edgepress.compress.fleet.config import Device, Timing, plan_digest, read_fleet
from edgepress.compress.fleet.ways import SSH_OPTIONS, way_to
from edgepress.targets.errors import RecipeError
from edgepress.targets.text import UNSEEN
from tests.compress.hostile_yaml import CONSTRUCTED, KEYS, TOKENS, VALUES


def written(folder: Path, text: str) -> Path:
    (folder / "devices.yaml").write_text(text)
    return folder / "devices.yaml"


def test_a_file_of_three_kinds_of_devices(tmp_path: Path) -> None:
    text = """
timing: {samples: 50, threads: [1, 4]}
devices:
  pi: {ssh: pi@board.local, port: 2222, timing: {samples: 20}, limit: 60}
  phone: {adb: R58M12ABCDE}
  desk: {local: true, folder: bench}
"""
    fleet = read_fleet(written(tmp_path, text))
    pi, phone, desk = fleet.devices.values()
    assert (fleet.timing_of(pi).samples, fleet.timing_of(pi).threads, fleet.limit_of(pi)) == (20, (1,), 60.0)
    assert (fleet.timing_of(phone).threads, fleet.limit_of(phone)) == ((1, 4), 1800.0)
    assert (pi.place, phone.place, desk.place) == ("edgepress-releases", "/data/local/tmp/edgepress", "bench")


ONE = "devices: {a: {ssh: board, %s}}"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("devices: {a: {ssh: -oProxyCommand=evil}}", r"devices\.a\.ssh: got \"-oProxyCommand=evil\", allowed: text"),
        ("devices: {a: {ssh: 'x@-oProxyCommand=evil'}}", r"devices\.a\.ssh: got"),
        ("devices: {a: {ssh: 'a; reboot'}}", r"devices\.a\.ssh: got \"a; reboot\""),
        ("devices: {a: {ssh: '%h'}}", r"devices\.a\.ssh: got"),
        ("devices: {a: {adb: '-a'}}", r"devices\.a\.adb: got \"-a\""),
        ("devices: {a: {}}", r"devices\.a: give one of 'ssh', 'adb' and 'local', got none"),
        ("devices: {a: {ssh: b, adb: c}}", r"devices\.a: give one of 'ssh', 'adb' and 'local', got ssh and adb"),
        ("devices: {a: {local: true}}", r"devices\.a: a local device needs a 'folder' of its own"),
        ("devices: {a: {adb: b, port: 22}}", r"devices\.a: 'port' goes with 'ssh'"),
        ("devices: {a: {adb: b, user: c}}", r"devices\.a: 'user' goes with 'ssh' and 'local'"),
        ("devices: {a: {local: true, folder: x, user: b}}", r"a local device of another 'user' needs a 'folder' that"),
        (ONE % "packages: [numpy]", r"devices\.a: 'packages' are what 'allow_install: true' installs"),
        (ONE % "allow_install: true, packages: ['-r/etc/passwd']", r"devices\.a\.packages\[0\]: got"),
        (ONE % "sign: own.pem", r"devices\.a: 'sign' \(the key on the device\) and 'public_key' .* go together"),
        (ONE % "folder: ../x", r"devices\.a\.folder: '\.\./x' leads out by '\.\.'"),
        (ONE % "folder: -rf", r"devices\.a\.folder: '-rf' begins with '-', which would make it an option"),
        (ONE % "python: -c", r"devices\.a\.python: '-c' begins with '-'"),
        (ONE % "identity: -F", r"devices\.a\.identity: '-F' begins with '-'"),
        (ONE % 'python: "a\\nb"', r"devices\.a\.python: holds characters that cannot be seen"),
        (ONE % "port: 0", r"devices\.a\.port: got 0, allowed: an integer >= 1 and <= 65535"),
        (ONE % "prot: 22", r"devices\.a\.prot: unknown key\. .* Did you mean 'port'\?"),
        (ONE % "targets: [tflite]", r"devices\.a\.targets: got \"tflite\", .* Did you mean 'tflite-mobile'\?"),
        (ONE % "targets: []", r"devices\.a\.targets: got \[\]"),
        (
            ONE % "environment: {'A=B': c}",
            r"devices\.a\.environment\.A=B: 'A=B' is no name of a variable: it must match",
        ),
        (ONE % "timing: {samples: 10}", r"devices\.a\.timing\.samples: got 10, allowed: an integer >= 11"),
        (ONE % "limit: 0", r"devices\.a\.limit: got 0"),
        ("devices: {'a/b': {ssh: c}}", r"devices\.a/b.*: 'a/b' is no name of a device: it must match"),
        ("devices: {a: {ssh: b}, a: {ssh: c}}", r"duplicate key 'a'"),
        ("devices: {}", r"devices: got \{\}"),
        ("devices: []", r"devices: got \[\], allowed: a mapping"),
        ("a", r"must hold a mapping with the key 'devices:', got \"a\""),
        ("devices: !!python/object/apply:os.system [x]", r"could not determine a constructor for the tag"),
        ("a: &a [x, x]\nb: &b [*a, *a]\n" * 1 + "c: " + "[" * 40 + "]" * 40, r"more than 32 levels of nesting"),
    ],
)
def test_what_is_wrong_is_told_and_nothing_is_run(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=words) as told:
        read_fleet(written(tmp_path, text))
    assert told.value.exit_code == 2 and len(str(told.value)) < 2000


def test_files_that_are_none_are_told(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"gone\.yaml is missing\. Name the YAML file that lists your devices"):
        read_fleet(tmp_path / "gone.yaml")
    with pytest.raises(RecipeError, match="is too large for a list of devices: over 1048576 bytes"):
        read_fleet(written(tmp_path, "#" * (2**20 + 1)))
    (tmp_path / "devices.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(RecipeError, match="cannot be read as UTF-8 text"):
        read_fleet(tmp_path / "devices.yaml")
    many = "devices:\n" + "".join(f"  d{number}: {{ssh: b}}\n" for number in range(257))
    with pytest.raises(RecipeError, match="devices: got"):
        read_fleet(written(tmp_path, many))


HOSTILE = ["$(reboot)", "`id`", "a b", "it's", '"', ";", "&", "*", "~", "\\", "-x", "|", "ü", ""]


def test_words_reach_a_device_as_they_are_and_no_shell_of_ours_reads_them() -> None:
    device = Device(ssh="pi@board", port=2222, user="me", identity="~/.ssh/id pi", config="my config")
    command = way_to(device).words(["python3", *HOSTILE])
    assert command[0] == "ssh" and command[-3:-1] == ["--", "pi@board"]
    assert shlex.split(command[-1]) == ["python3", *HOSTILE]  # as a POSIX shell there reads it
    assert command[2 * len(SSH_OPTIONS) + 1 : -3] == [
        *("-p", "2222", "-l", "me"),
        *("-i", str(Path("~/.ssh/id pi").expanduser()), "-F", "my config"),
    ]
    assert "BatchMode=yes" in command and "ForwardAgent=no" in command
    android = way_to(Device(adb="R5")).words(["python3", *HOSTILE])
    assert android[:4] == ["adb", "-s", "R5", "shell"] and shlex.split(android[4]) == ["python3", *HOSTILE]
    here = Device(local=True, folder="/x", user="bench")
    assert way_to(here).words(["p", "$x"]) == ["sudo", "-n", "-H", "-u", "bench", "--", "p", "$x"]
    assert way_to(here.model_copy(update={"user": None})).words(HOSTILE) == HOSTILE


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"limit": 5.0}, True),
        ({"machine": "x"}, True),
        ({"targets": ("xla-tpu",)}, True),
        ({"before": ("nice",)}, False),
        ({"ssh": "other"}, False),
        ({"environment": {"A": "b"}}, False),
        ({"python": "python3.9"}, False),
    ],
)
def test_what_a_measurement_depends_on_makes_it_another(change: dict[str, Any], same: bool) -> None:
    device, timing = Device(ssh="board"), Timing()
    before = plan_digest("a" * 64, "onnxruntime-cpu", device, timing)
    assert (plan_digest("a" * 64, "onnxruntime-cpu", device.model_copy(update=change), timing) == before) is same
    assert plan_digest("b" * 64, "onnxruntime-cpu", device, timing) != before
    assert plan_digest("a" * 64, "xla-tpu", device, timing) != before
    assert plan_digest("a" * 64, "onnxruntime-cpu", device, Timing(samples=50)) != before


SOUND = """timing: {samples: 50, threads: [1, 4], batches: [1], sequences: [32]}
limit: 60
devices:
  pi: {ssh: pi@board.local, port: 2222, identity: a, config: b, folder: c, python: d, targets: [xla-tpu], machine: e}
  phone: {adb: R58M12ABCDE, before: [nice, x], environment: {A: b}, allow_install: true, packages: [a==1]}
  desk: {local: true, folder: /bench, user: me, limit: 5, sign: f, public_key: g, timing: {samples: 20}}
"""
WORDS = re.compile(r"[A-Za-z0-9@.=_-]+")


def hostile(seed: int) -> str:
    """A file made to break its reader, or the sound one with some of its words replaced."""
    dice = random.Random(seed)
    if seed % 3 == 0:
        return dice.choice(CONSTRUCTED)(dice).replace("teacher:", "devices:")
    text = SOUND
    for _ in range(dice.randrange(1, 4)):
        found = dice.choice(list(WORDS.finditer(text)))
        text = text[: found.start()] + dice.choice((*VALUES, *KEYS, *TOKENS)) + text[found.end() :]
    return text


def test_no_file_ends_in_a_traceback_hangs_or_steers_a_terminal(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    count = int(request.config.getoption("--recipes")) // 10
    outcomes = {"taken": 0, "refused": 0}
    for seed in range(count):
        (tmp_path / "devices.yaml").write_text(hostile(seed), encoding="utf-8", errors="replace", newline="")
        began = time.monotonic()
        try:
            read_fleet(tmp_path / "devices.yaml")
            outcomes["taken"] += 1
        except RecipeError as fault:
            outcomes["refused"] += 1
            assert not UNSEEN.search(str(fault)) and len(str(fault)) < 30_000, seed
        assert time.monotonic() - began < 5, seed
    print(outcomes)
    assert outcomes["refused"] > count // 2 and sum(outcomes.values()) == count
