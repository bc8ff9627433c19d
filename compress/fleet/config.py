"""`devices.yaml`: which devices a release is measured on, how each is reached, and what is timed there.

The file names programs and folders, and for local devices programs of this machine: it is its owner's, like a script.
What it names reaches no shell of this machine, and nothing of it can pose as an option.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Annotated, Literal

import pydantic
from pydantic import AfterValidator, Field

from edgepress.compress.recipe.faults import faults_of, first_faults, got, visible_line
from edgepress.compress.recipe.sections import Section
from edgepress.compress.recipe.values import resolved
from edgepress.compress.recipe.yaml_reader import MAX_BYTES, parse_yaml
from edgepress.targets.device.record import MOST_SAMPLES
from edgepress.targets.errors import RecipeError, told
from edgepress.targets.runtime import SESSIONS
from edgepress.targets.text import visible

MOST_DEVICES, MOST_SHAPES = 256, 16
LONGEST = 1000


def _one_line(text: str) -> str:
    if visible(text) != text or "\n" in text or "\t" in text:
        raise ValueError("holds characters that cannot be seen")
    return text


def _no_option(text: str) -> str:
    if text.startswith("-"):
        raise ValueError(f"{text[:60]!r} begins with '-', which would make it an option")
    return _one_line(text)


def _below(text: str) -> str:
    if ".." in text.split("/"):
        raise ValueError(f"{text[:60]!r} leads out by '..'")
    return _no_option(text)


def _named(pattern: str, what: str) -> AfterValidator:
    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(f"{visible_line(text, 60)!r} is no name of {what}: it must match {pattern}")
        return text

    return AfterValidator(check)


Word = Annotated[str, Field(max_length=LONGEST), AfterValidator(_one_line)]
Named = Annotated[str, Field(min_length=1, max_length=LONGEST), AfterValidator(_no_option)]
Folder = Annotated[str, Field(min_length=1, max_length=LONGEST), AfterValidator(_below)]
DeviceName = Annotated[str, _named(r"[A-Za-z0-9][A-Za-z0-9 .,_()+-]{0,59}", "a device")]
# Of ssh: a name, an alias of ~/.ssh/config or an address; %, which ssh's own options expand, is left to that file.
Host = Annotated[str, Field(pattern=r"^([A-Za-z0-9_][A-Za-z0-9._-]*@)?[A-Za-z0-9_:][A-Za-z0-9._:-]*$", max_length=255)]
Login = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*$", max_length=64)]
Serial = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._:-]*$", max_length=128)]
Package = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._,<>=!~\[\]-]*$", max_length=200)]
Variable = Annotated[str, _named(r"[A-Za-z_][A-Za-z0-9_]{0,99}", "a variable")]
Whole = Annotated[int, Field(ge=1, le=1_000_000)]
Sizes = Annotated[tuple[Whole, ...], Field(min_length=1, max_length=MOST_SHAPES)]
Seconds = Annotated[float, Field(gt=0, le=7 * 24 * 3600)]
TargetName = Literal["onnxruntime-cpu", "openvino", "tflite-mobile", "xla-tpu", "tensorrt-gpu"]
assert set(TargetName.__args__) == set(SESSIONS)  # type: ignore[attr-defined]


class Timing(Section):
    """What the runner times: calls of each shape, and the shapes; `sequences: null` are the runner's own lengths."""

    samples: Annotated[int, Field(ge=11, le=MOST_SAMPLES)] = 100
    threads: Sizes = (1,)
    batches: Sizes = (1,)
    sequences: Sizes | None = None


class Device(Section):
    """One device: `ssh` (a host, by the user's own ssh client and keys), `adb` (a serial number) or `local` (true).

    `port`, `identity` (a private key's file) and `config` (an ssh configuration) go with ssh; everything else is left
    to the configuration. `user` is the login of ssh; a local device is measured as that user by `sudo -n`. `folder`
    gets the releases, and `python` measures; without / at its beginning it lies in the login's home, or here. `before`
    stands before each measurement: `[taskset, -c, "3"]`, `[nice, -n, "19"]`. Devices of the same `machine` are
    measured one after another. `sign`: a private key *on the device*, which signs its records, and `public_key`: the
    other half, here. `packages`: what `allow_install` installs, instead of the newest.
    """

    ssh: Host | None = None
    adb: Serial | None = None
    local: Literal[True] | None = None
    user: Login | None = None
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    identity: Named | None = None
    config: Named | None = None
    folder: Folder | None = None
    python: Named = "python3"
    targets: Annotated[tuple[TargetName, ...], Field(min_length=1, max_length=len(SESSIONS))] | None = None
    before: Annotated[tuple[Word, ...], Field(max_length=32)] = ()
    environment: Annotated[dict[Variable, Word], Field(max_length=64)] = {}
    timing: Timing | None = None
    allow_install: bool = False
    packages: Annotated[tuple[Package, ...], Field(max_length=32)] = ()
    sign: Named | None = None
    public_key: Named | None = None
    limit: Seconds | None = None
    machine: DeviceName | None = None

    @pydantic.model_validator(mode="after")
    def _one_way(self) -> Device:
        given = [name for name in ("ssh", "adb", "local") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give one of 'ssh', 'adb' and 'local', got {' and '.join(given) or 'none'}")
        of_ssh = [name for name in ("port", "identity", "config") if getattr(self, name) is not None]
        if of_ssh and self.ssh is None:
            raise ValueError(f"'{of_ssh[0]}' goes with 'ssh'")
        if self.user is not None and self.adb is not None:
            raise ValueError("'user' goes with 'ssh' and 'local'")
        if self.local and self.folder is None:
            raise ValueError("a local device needs a 'folder' of its own")
        if self.local and self.user and not str(self.folder).startswith("/"):
            raise ValueError("a local device of another 'user' needs a 'folder' that begins with /")
        if (self.sign is None) != (self.public_key is None):
            raise ValueError("'sign' (the key on the device) and 'public_key' (its other half, here) go together")
        if self.packages and not self.allow_install:
            raise ValueError("'packages' are what 'allow_install: true' installs")
        return self

    @property
    def place(self) -> str:
        """The folder that gets the releases."""
        return self.folder or ("/data/local/tmp/edgepress" if self.adb else "edgepress-releases")


class Fleet(Section):
    """The file: its devices by name, and what holds for those that say nothing else. `limit`: seconds of one step."""

    devices: Annotated[dict[DeviceName, Device], Field(min_length=1, max_length=MOST_DEVICES)]
    timing: Timing = Timing()
    limit: Seconds = 1800.0

    def timing_of(self, device: Device) -> Timing:
        return device.timing or self.timing

    def limit_of(self, device: Device) -> float:
        return device.limit or self.limit


def read_fleet(path: Path) -> Fleet:
    """The devices in a YAML file; `${VAR}` is taken from the environment, as in a recipe.

    Raises:
        RecipeError: the file is missing, too large or no YAML, or has faults; the message lists them.
    """
    faults: list[str] = []
    content = resolved(parse_yaml(_text(path), str(path)), str(path), faults)
    if not isinstance(content, dict):
        raise RecipeError(f"{path} must hold a mapping with the key 'devices:', got {got(content)}")
    if not faults:
        try:
            return Fleet.model_validate_json(json.dumps(content), strict=True)
        except pydantic.ValidationError as error:
            faults = faults_of(error, Fleet)
    count = "a fault" if len(faults) == 1 else f"{len(faults)} faults"
    raise RecipeError("\n  ".join([f"{path} has {count}:", *first_faults(faults)]))


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise RecipeError(f"{path} is too large for a list of devices: over {MAX_BYTES} bytes. Name a YAML file.")
        return content.decode()
    except FileNotFoundError:
        raise RecipeError(
            f"{path} is missing. Name the YAML file that lists your devices; docs/devices.md has one."
        ) from None
    except (OSError, UnicodeDecodeError) as fault:
        raise RecipeError(f"{path} cannot be read as UTF-8 text: {told(fault)}") from None


def plan_digest(release: str, target: str, device: Device, timing: Timing) -> str:
    """The sha256 of what a measurement depends on: where it is the same, what was measured need not be again.

    Args:
        release: sha256 of its SHA256SUMS.
        target: whose artifact is measured.
        device: where.
        timing: which shapes, how often.
    """
    there = device.model_dump(mode="json", exclude={"timing", "limit", "machine", "targets", "allow_install"})
    parts = [release, target, there, timing.model_dump(mode="json")]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
