"""How commands reach a device: by ssh, by adb, or on this machine.

Each way turns the words of a command there into those of one here. ssh and adb hand a line to a shell *there*, for
which every word is quoted; no shell of this machine reads any of it. They are the user's own clients: keys, jump hosts
and names are those of `~/.ssh/config`, and nothing is ever asked for.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from edgepress.compress.fleet.config import Device

# No questions, no forwardings, nothing but the command; a connection that is dead is known within a minute.
SSH_OPTIONS = (
    *("BatchMode=yes", "ConnectTimeout=15", "ServerAliveInterval=15", "ServerAliveCountMax=3", "LogLevel=ERROR"),
    *("ForwardAgent=no", "ForwardX11=no", "ClearAllForwardings=yes", "PermitLocalCommand=no", "RequestTTY=no"),
    "EscapeChar=none",
)
SSH_FAILED = 255


class Way(Protocol):
    """Commands to one device. `pushes`: files go another way than through a command's standard input."""

    pushes: bool
    name: str

    def words(self, argv: Sequence[str]) -> list[str]:
        """The command here that runs `argv` there."""
        ...

    def push(self, folder: Path, place: str) -> list[str]:
        """The command here that copies a folder to a place there that is not there yet."""
        ...


class Ssh:
    """The user's ssh client. scp and sftp are not used: what they make of a path depends on their version."""

    pushes, name = False, "ssh"

    def __init__(self, device: Device) -> None:
        pairs = (("-p", device.port), ("-l", device.user), ("-i", device.identity), ("-F", device.config))
        given = [word for option, value in pairs if value is not None for word in (option, _home(str(value)))]
        options = [word for option in SSH_OPTIONS for word in ("-o", option)]
        self._before = ["ssh", *options, *given, "--", str(device.ssh)]

    def words(self, argv: Sequence[str]) -> list[str]:
        return [*self._before, shlex.join(argv)]

    def push(self, folder: Path, place: str) -> list[str]:
        raise NotImplementedError


class Adb:
    """Android's adb."""

    pushes, name = True, "adb"

    def __init__(self, device: Device) -> None:
        self._before = ["adb", "-s", str(device.adb)]

    def words(self, argv: Sequence[str]) -> list[str]:
        return [*self._before, "shell", shlex.join(argv)]

    def push(self, folder: Path, place: str) -> list[str]:
        return [*self._before, "push", str(folder.absolute()), place]


class Local:
    """This machine, as this user or by sudo as another one, which must not ask for a password."""

    pushes, name = False, "this machine"

    def __init__(self, device: Device) -> None:
        self._before = ["sudo", "-n", "-H", "-u", device.user, "--"] if device.user else []

    def words(self, argv: Sequence[str]) -> list[str]:
        return [*self._before, *argv]

    def push(self, folder: Path, place: str) -> list[str]:
        raise NotImplementedError


def way_to(device: Device) -> Way:
    """How a device is reached."""
    return Ssh(device) if device.ssh else Adb(device) if device.adb else Local(device)


def _home(text: str) -> str:
    """`~/x` as a shell would have it."""
    return str(Path(text).expanduser()) if text.startswith("~/") else text
