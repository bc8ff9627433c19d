"""`edgepress devices run` over stand-ins of ssh and adb that really run what they are given."""

from __future__ import annotations

import json
import shutil
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from edgepress.benchmarks.devices.outcomes import read_outcomes
from edgepress.benchmarks.devices.record import Devices
from edgepress.compress.bundle.keys import make_keys
from edgepress.compress.fleet import agent
from tests.benchmarks.tiny_release import TARGET, tiny_record, write_sealed
from tests.compress.bundles import tiny_bundle
from tests.compress.hosts import (
    light_python,
    new_run,
    python_with,
    rows,
    run_fleet,
    runner_giving,
    stand_ins,
    until,
    verbs,
    write_fleet,
    write_program,
)
from tests.conftest import is_alive


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release, not to be changed."""
    return tiny_bundle(tmp_path_factory.mktemp("made") / "release")


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    return new_run(made, tmp_path)


@pytest.fixture
def homes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home folders of two hosts."""
    found = stand_ins(tmp_path, monkeypatch)
    for name in ("one", "two"):
        (found / name).mkdir()
    return found


def records(run: Path) -> list[Any]:
    return list(Devices.read(run / "devices" / "devices.json").records)


def test_two_hosts_are_measured_merged_and_not_measured_again(run: Path, homes: Path, tmp_path: Path) -> None:
    make_keys(homes / "one" / "own")
    signs = {"sign": "own.pem", "public_key": str(homes / "one" / "own.pub.pem")}
    devices = {"one": {"ssh": "one", **signs}, "two": {"ssh": "two", "folder": "it's a $(place)"}}
    file = write_fleet(tmp_path / "d.yaml", devices)
    done = run_fleet(file, run)
    assert (done.exit_code, rows(done)) == (0, [[name, TARGET, "measured", ""] for name in ("one", "two")]), done.output
    found = records(run)
    assert sorted((record.device, record.signature is not None) for record in found) == [("one", True), ("two", False)]
    assert all(record.accuracy.right == 3 and len(record.latency[0].samples) == 11 for record in found)
    assert (homes / "two" / "it's a $(place)").is_dir() and (homes / "one" / "edgepress-releases").is_dir()
    assert verbs(homes, "one") == ["look", "take", "measure", "fetch"]
    text = (run / "devices" / "devices.md").read_text()
    assert "## Which artifact to ship" in text and "\n| 1 | " in text
    assert "plots" in (run / "devices" / "devices.html").read_text()

    again = run_fleet(file, run)  # nothing is left to do: no host hears of it
    assert (again.exit_code, rows(again)) == (0, rows(done))
    assert verbs(homes, "one") == ["look", "take", "measure", "fetch"] and len(records(run)) == 2

    asked = run_fleet(file, run, "--again", "--only", "one")  # the release is there already
    assert (asked.exit_code, rows(asked)) == (0, [["one", TARGET, "measured", ""]])
    assert verbs(homes, "one")[4:] == ["look", "measure", "fetch"]
    assert [record.device for record in records(run)].count("one") == 2
    assert "measured again since" in (run / "devices" / "devices.md").read_text()


@pytest.fixture
def quick(made: Path, tmp_path: Path) -> dict[str, Any]:
    """A device whose runner gives a sound record at once."""
    before = runner_giving(write_sealed(tmp_path / "sound.json", tiny_record(made, device="one")))
    return {"ssh": "one", "before": before, "python": light_python(tmp_path)}


def test_a_record_that_was_not_fetched_is_fetched_and_a_damaged_one_measured_again(
    run: Path, homes: Path, tmp_path: Path, quick: dict[str, Any]
) -> None:
    file = write_fleet(tmp_path / "d.yaml", {"one": quick})
    assert run_fleet(file, run).exit_code == 0
    shutil.rmtree(run / "devices")  # as if it had been stopped before
    assert run_fleet(file, run).exit_code == 0
    assert verbs(homes, "one")[4:] == ["look", "fetch"] and len(records(run)) == 1
    shutil.rmtree(run / "devices")
    (there,) = (homes / "one/edgepress-releases").glob("*.json")
    there.write_text(there.read_text().replace('"one"', '"won"'))
    assert run_fleet(file, run).exit_code == 0
    assert verbs(homes, "one")[6:] == ["look", "fetch", "measure", "fetch"]
    (released,) = (homes / "one/edgepress-releases").glob("*/")
    (released / TARGET / "model.onnx").write_bytes(b"damaged")
    assert run_fleet(file, run, "--again").exit_code == 0
    assert verbs(homes, "one")[10:] == ["look", "take", "measure", "fetch"]


# Pythons of devices that lack something.
NO_RUNTIME = "import sys\nsys.modules['onnxruntime'] = None\n"
NO_ROOM = "import shutil\nshutil.disk_usage = lambda place: shutil._ntuple_diskusage(10, 0, 10)\n"
FULL = "import shutil\ndef full(*_): raise OSError(28, 'No space left on device')\nshutil.copyfileobj = full\n"
CRASH = "import os, sys\nif sys.argv[0] == '-c' and 'onnxruntime' in sys.argv: os.kill(os.getpid(), 11)\n"


def test_whatever_is_wrong_with_a_device_is_a_row_with_its_reason(run: Path, homes: Path, tmp_path: Path) -> None:
    for name in ("sleepy", "old"):
        (homes / name).mkdir()
    (homes / "sleepy" / "sleeps").touch()
    old = write_program(tmp_path / "old", '#!/bin/sh\ncase "$2" in *version.split*) echo 3.8.10;; *) exit 1;; esac\n')
    devices: dict[str, Any] = {
        "unknown": {"ssh": "gone.invalid"},
        "sleepy": {"ssh": "sleepy", "limit": 1},
        "no python": {"ssh": "one", "python": "python9"},
        "old": {"ssh": "old", "python": str(old)},
        "no runtime": {"ssh": "one", "python": python_with(tmp_path, "lacks", NO_RUNTIME)},
        "crash": {"ssh": "one", "python": python_with(tmp_path, "crash", CRASH)},
        "small": {"ssh": "one", "python": python_with(tmp_path, "small", NO_ROOM), "folder": "small"},
        "full": {"ssh": "one", "python": python_with(tmp_path, "full", FULL), "folder": "full"},
        "fails": {"ssh": "two", "timing": {"samples": 11, "batches": [9]}},
        "no throttle": {"ssh": "two", "before": ["throttle9"]},
        "file": {"ssh": "two", "folder": "/dev/null/x"},
    }
    done = run_fleet(write_fleet(tmp_path / "d.yaml", devices), run)
    assert done.exit_code == 1
    told = {row[0]: (row[2], row[3]) for row in rows(done)}
    assert set(told) == set(devices) and {state for state, _ in told.values()} == {"failed"}
    reasons = {name: reason for name, (_, reason) in told.items()}
    size = sum(path.stat().st_size for path in (run / "release").rglob("*") if path.is_file())
    assert reasons["unknown"] == (
        "ssh cannot reach it: ssh: Could not resolve hostname gone.invalid: Name or service not known"
    )
    assert reasons["sleepy"] == "it hangs: no answer over ssh within 1 s"
    assert reasons["no python"].startswith("no python there: ") and reasons["no python"].endswith(
        "python9: not found. Name it with 'python:'"
    )
    assert reasons["old"] == "it has Python 3.8.10, the runner needs 3.9 or newer"
    lacks = "onnxruntime-cpu cannot run: onnxruntime cannot be imported"
    assert reasons["no runtime"].startswith(f"{lacks} (ModuleNotFoundError: import of onnxruntime halted")
    assert reasons["crash"] == f"{lacks} (was killed by signal 11)"
    assert reasons["small"] == f"the disk is full: small has 10 bytes left, the release {size}"
    assert reasons["full"] == "the disk is full: full: No space left on device"
    assert reasons["fails"] == (
        "the runner failed with exit code 2: --batch 9 does not fit: this artifact takes 1 to 8."
    )
    assert reasons["no throttle"] == "throttle9: No such file or directory"
    assert "/dev/null" in reasons["file"] and "Not a directory" in reasons["file"]
    assert not list((homes / "one/full").iterdir())  # nothing half is left

    last = json.loads(done.stderr.splitlines()[-1])
    assert last["event"] == "error" and last["text"].startswith("11 of 11 devices failed. unknown: ssh cannot reach it")
    assert last["text"].endswith("; and 8 more") and "\n" not in last["text"]
    text = (run / "devices/devices.md").read_text()
    assert "| sleepy | all | failed | it hangs: no answer over ssh within 1 s |" in text
    assert "| sleepy | not measured | – | it hangs: no answer over ssh within 1 s |" in text


def test_a_device_that_failed_and_then_works_is_no_failure_any_more(
    run: Path, homes: Path, tmp_path: Path, quick: dict[str, Any]
) -> None:
    (homes / "one").rename(homes / "off")
    file = write_fleet(tmp_path / "d.yaml", {"one": quick})
    assert run_fleet(file, run).exit_code == 1
    (homes / "off").rename(homes / "one")
    assert run_fleet(file, run).exit_code == 0
    assert [one.state for one in read_outcomes(run / "devices").outcomes] == ["measured"]
    assert "Not measured" not in (run / "devices/devices.md").read_text()


def test_a_runner_that_hangs_is_stopped_with_all_it_started(run: Path, homes: Path, tmp_path: Path) -> None:
    slow = ["sh", "-c", "echo $$ > pid; sleep 60 & echo $! > child; wait"]
    device = {"ssh": "one", "before": slow, "limit": 3, "python": light_python(tmp_path)}
    done = run_fleet(write_fleet(tmp_path / "d.yaml", {"one": device}), run)
    assert rows(done) == [["one", TARGET, "failed", "the runner hangs: not done within 3 s, and was stopped"]]
    started = [next((homes / "one").glob(f"edgepress-releases/*/{name}")) for name in ("pid", "child")]
    pids = [int(path.read_text()) for path in started]
    until(lambda: not any(map(is_alive, pids)))


def test_a_phone_over_adb_and_a_local_device(run: Path, homes: Path, tmp_path: Path) -> None:
    (homes / "R58M").mkdir()
    sound = write_sealed(tmp_path / "desk.json", tiny_record(run / "release", device="desk"))
    devices = {
        "phone": {"adb": "R58M", "folder": "tmp dir"},
        "desk": {"local": True, "folder": str(tmp_path / "desk"), "before": runner_giving(sound)},
        "lost": {"adb": "R59X"},
    }
    done = run_fleet(write_fleet(tmp_path / "d.yaml", devices), run)
    assert [row[2] for row in rows(done)] == ["measured", "measured", "failed"], done.output
    assert rows(done)[2][3] == f"no answer from {sys.executable}, exit code 1: adb: device 'R59X' not found"
    assert {record.device for record in records(run)} == {"phone", "desk"}
    assert [path.name for path in (homes / "R58M/tmp dir").glob("*/run_benchmark.py")] == ["run_benchmark.py"]


def test_a_target_that_nobody_asked_for_may_be_absent(
    run: Path, homes: Path, tmp_path: Path, quick: dict[str, Any]
) -> None:
    bare = python_with(tmp_path, "bare", "import sys\nsys.modules['jax'] = None\n")
    done = run_fleet(write_fleet(tmp_path / "d.yaml", {"one": quick | {"targets": None, "python": bare}}), run)
    assert done.exit_code == 0 and [row[1:3] for row in rows(done)] == [[TARGET, "measured"], ["xla-tpu", "absent"]]
    assert rows(done)[1][3].startswith("xla-tpu cannot run: jax cannot be imported (ModuleNotFoundError: ")
    done = run_fleet(write_fleet(tmp_path / "d.yaml", {"one": {"ssh": "one", "targets": ["tflite-mobile"]}}), run)
    assert done.exit_code == 1
    assert rows(done)[0][3] == "tflite-mobile is not in the release, it has onnxruntime-cpu, xla-tpu"


def test_a_forged_record_is_refused(run: Path, homes: Path, tmp_path: Path) -> None:
    good = tiny_record(run / "release")
    forgeries: dict[str, tuple[dict[str, Any], str]] = {
        "faster": ({"latency": [{**good["latency"][0], "p50": 0.5}]}, "it contradicts its raw values: latency.0.p50"),
        "foreign": ({"recipe_digest": "c" * 64}, "it is not of this release: its recipe_digest is 'ccc"),
        "other": ({"device": "board"}, "it is of the device 'board', asked was 'other'"),
        "unsigned": ({}, "it is not signed. Take it from the device itself"),
    }
    devices: dict[str, dict[str, Any]] = {}
    light = light_python(tmp_path)
    for name, (change, _) in forgeries.items():
        forged = write_sealed(tmp_path / f"{name}.json", {**good, "device": name, **change})
        devices[name] = {"ssh": "one", "before": runner_giving(forged), "python": light}
    make_keys(tmp_path / "own")
    devices["unsigned"]["sign"], devices["unsigned"]["public_key"] = "own.pem", str(tmp_path / "own.pub.pem")
    done = run_fleet(write_fleet(tmp_path / "d.yaml", devices), run)
    assert done.exit_code == 1
    for (name, target, state, reason), (_, words) in zip(rows(done), forgeries.values(), strict=True):
        assert (target, state) == (TARGET, "failed"), name
        assert reason.startswith(f"its record was refused: {words}")
    assert records(run) == []


def test_what_cannot_be_installed_is_told(run: Path, homes: Path, tmp_path: Path) -> None:
    code = NO_RUNTIME + "if sys.argv[0] == '-m': raise SystemExit('ensurepip is not available')\n"
    device = {"ssh": "one", "python": python_with(tmp_path, "lacks", code), "allow_install": True}
    done = run_fleet(write_fleet(tmp_path / "d.yaml", {"one": device, "two": device | {"packages": ["a==1"]}}), run)
    told = "cannot be installed: SystemExit: ensurepip is not available"
    assert [row[3] for row in rows(done)] == [f"numpy, onnxruntime {told}", f"a==1 {told}"]


@pytest.mark.slow
def test_what_is_missing_is_installed_where_that_is_allowed(
    run: Path, homes: Path, tmp_path: Path, quick: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a folder of wheels; each only leads to what is installed here."""
    site = next(path for path in sys.path if path.endswith("site-packages"))
    (tmp_path / "wheels").mkdir()
    for name in ("numpy", "onnxruntime"):
        with zipfile.ZipFile(tmp_path / "wheels" / f"{name}-99.0-py3-none-any.whl", "w") as wheel:
            about = f"{name}-99.0.dist-info"
            wheel.writestr(f"{name}_leads.pth", site + "\n")
            wheel.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 99.0\n")
            wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"{about}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    # A device's Python that lacks the runtime; the environment that it makes does not.
    device = quick | {"python": python_with(tmp_path, "lacks", NO_RUNTIME), "allow_install": True}
    done = run_fleet(write_fleet(tmp_path / "d.yaml", {"one": device}), run)
    assert (done.exit_code, [row[2] for row in rows(done)]) == (0, ["measured"]), done.output
    assert verbs(homes, "one") == ["look", "install", "look", "take", "measure", "fetch"]


def test_what_cannot_be_measured_at_all_is_told_before_any_device_hears_of_it(
    made: Path, run: Path, homes: Path, tmp_path: Path
) -> None:
    file = write_fleet(tmp_path / "d.yaml", {"one": {"ssh": "one"}})
    cases: list[tuple[Path, tuple[str, ...], int, str]] = [
        (tmp_path / "gone", (), 1, "gone does not exist. Give a finished run"),
        (made, (), 2, "is a release, to which nothing is added. Name the report's folder: --output"),
        (run, ("--only", "wone"), 2, "there is no device 'wone', there are one. Did you mean 'one'?"),
    ]
    for place, options, code, words in cases:
        done = run_fleet(file, place, *options)
        assert done.exit_code == code and words in json.loads(done.stderr.splitlines()[-1])["text"]
    (run / "release/stray.py").write_text("")
    done = run_fleet(file, run)
    assert done.exit_code == 1 and "is not as it was released: 'stray.py' is not of the release" in done.stderr
    (run / "release/stray.py").unlink()
    (run / "release" / TARGET / "model.onnx").write_bytes(b"x")
    assert "model.onnx is not the released file" in run_fleet(file, run).stderr
    assert verbs(homes, "one") == []


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_release_of_no_run_is_measured_into_a_folder_of_its_own(
    made: Path, homes: Path, tmp_path: Path, quick: dict[str, Any]
) -> None:
    before = names(made)
    file = write_fleet(tmp_path / "d.yaml", {"one": quick})
    done = run_fleet(file, made, "--output", str(tmp_path / "report/here"))
    assert done.exit_code == 0, done.output
    assert names(tmp_path / "report/here") == ["devices.html", "devices.json", "devices.md", "fleet.json"]
    assert names(made) == before


def test_what_a_hostile_device_says_steers_no_terminal_and_breaks_nothing(
    run: Path, homes: Path, tmp_path: Path
) -> None:
    says = {
        "list": "[]", "none": "null", "cut": '{"python": "3.1', "deep": "[" * 100_000, "empty": "{}",
        "lies": '{"python": "3.11.2", "free": "much", "modules": 3, "release": 1, "records": 0}',
        "steers": json.dumps({"fault": "\x1b]0;owned\x07\u202e" + "x" * 9000}),
    }  # fmt: skip
    devices = {}
    for name, text in says.items():
        (tmp_path / f"{name}.txt").write_text(f"hello\n{agent.MARK}{text}\n")
        devices[name] = {
            "ssh": "one",
            "python": str(write_program(tmp_path / name, f"#!/bin/sh\ncat {tmp_path}/{name}.txt\n")),
        }
    devices["loud"] = {"ssh": "one", "python": str(write_program(tmp_path / "loud", "#!/bin/sh\nyes\n")), "limit": 20}
    done = run_fleet(write_fleet(tmp_path / "d.yaml", devices), run)
    assert done.exit_code == 1 and {row[2] for row in rows(done)} == {"failed"} and len(rows(done)) == len(devices)
    text = done.output + (run / "devices/devices.md").read_text() + (run / "devices/devices.html").read_text()
    assert "\x1b" not in text.replace("\\u001b", "") and "\u202e" not in text
    reasons = {row[0]: row[3] for row in rows(done)}
    assert reasons["loud"] == "it says more than is read" and len(reasons["steers"]) < 500
    assert reasons["lies"] == "its answer is damaged: 'free' is no int"
