"""Devices for tests: stand-ins of ssh and adb that run on this machine what they are given, each device in a folder."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from edgepress.compress.cli.app import app
from tests.benchmarks.tiny_release import TARGET

# A host is a folder, the home of its login. It greets, as login shells do, and notes which verbs it was sent.
SSH = """#!/bin/sh
while [ "$1" != "--" ]; do shift; done
cd "$FLEET_HOMES/$2" 2>/dev/null || {
  echo "ssh: Could not resolve hostname $2: Name or service not known" >&2; exit 255; }
printf '%s' "$3" | grep -o '"verb": "[a-z]*"' | cut -d'"' -f4 >> "../$2.verbs"
if [ -e sleeps ]; then exec sleep 60; fi
echo "Welcome to $2!"
exec sh -c "$3"
"""
ADB = """#!/bin/sh
[ "$1" = "-s" ] || exit 2
cd "$FLEET_HOMES/$2" 2>/dev/null || { echo "adb: device '$2' not found" >&2; exit 1; }
shift 2
case "$1" in
  shell) shift; exec sh -c "$*";;
  push) cp -R "$2" "$3" && echo "1 file pushed";;
  *) exit 2;;
esac
"""


def write_program(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


def stand_ins(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put ssh and adb of our own before others; gives the folder that holds a home for each host."""
    for name, text in (("ssh", SSH), ("adb", ADB)):
        (folder / "bin").mkdir(exist_ok=True)
        write_program(folder / "bin" / name, text)
    homes = folder / "homes"
    homes.mkdir()
    monkeypatch.setenv("PATH", f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FLEET_HOMES", str(homes))
    return homes


def python_with(folder: Path, name: str, code: str) -> str:
    """A Python that runs `code` at its beginning, as a device's own might be."""
    place = folder / name
    place.mkdir()
    (place / "sitecustomize.py").write_text(code)
    return str(write_program(place / "python", f'#!/bin/sh\nPYTHONPATH="{place}" exec "{sys.executable}" "$@"\n'))


def light_python(folder: Path) -> str:
    """A Python whose runtime is imported at once, for devices whose runner is another one anyway."""
    found = python_with(folder, "light", "")
    for name in ("numpy", "onnxruntime"):
        (folder / "light" / f"{name}.py").touch()
    return found


def write_fleet(path: Path, devices: dict[str, Any], **more: Any) -> Path:
    """A devices.yaml of few samples; a device that names neither has this Python and the one target that runs."""
    common = {"python": sys.executable, "targets": [TARGET]}
    content = {"timing": {"samples": 11}, **more, "devices": {name: common | one for name, one in devices.items()}}
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def run_fleet(file: Path, place: Path, *options: str) -> Result:
    """`edgepress devices run` as users type it."""
    arguments = ["devices", "run", str(file), str(place), "--json", *options]
    return CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})


def rows(result: Result) -> list[list[str]]:
    """The lines of the table that the command shows: device, target, state, reason."""
    tables = [json.loads(line) for line in result.stdout.splitlines() if '"rows"' in line]
    return list(tables[0]["rows"])


def runner_giving(record: Path) -> list[str]:
    """What stands before a runner, and gives a record that lies here in the place of what it would measure."""
    return ["sh", "-c", 'while [ "$1" != --out ]; do shift; done; cp "$0" "$2"', str(record)]


def verbs(homes: Path, host: str) -> list[str]:
    """What a host was asked to do so far."""
    path = homes / f"{host}.verbs"
    return path.read_text().split() if path.is_file() else []


def until(true: Callable[[], bool]) -> None:
    """Wait for something that comes true soon: what was killed may take a moment to go."""
    for _ in range(300):
        if true():
            return
        time.sleep(0.1)
    raise AssertionError("it never came true")


def new_run(made: Path, folder: Path) -> Path:
    """A run folder of its own with a packaged release."""
    shutil.copytree(made, folder / "run" / "release")
    return folder / "run"
