"""What `edgepress devices run` runs on a device, sent as text with each command: Python 3.9 and its own library alone.

`python -c THIS REQUEST`: the request is JSON, and so is the answer, in the last line of the standard output behind a
mark, since login shells like to say something first. The standard input stays open as long as somebody waits: what was
started here ends with it.
"""

from __future__ import annotations

import sys

# Whatever lies in the folder that a login begins in must not pose as a library.
sys.path[:] = [entry for entry in sys.path if entry]

import base64  # noqa: E402
import contextlib  # noqa: E402
import hashlib  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import platform  # noqa: E402
import shutil  # noqa: E402
import signal  # noqa: E402
import subprocess  # noqa: E402
import tarfile  # noqa: E402
import threading  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

MARK = "edgepress-agent "
SUMS, RUNNER = "SHA256SUMS", "run_benchmark.py"
IMPORT = """
import sys
sys.path[:] = [entry for entry in sys.path if entry]
import importlib
from importlib import metadata
importlib.import_module(sys.argv[1])
print(metadata.version(sys.argv[2]))
"""


def look(request: dict[str, Any]) -> dict[str, Any]:
    """What is here: Python, each module with its version or why it cannot be imported, room, the release, records."""
    folder = Path(request["folder"])
    there = next(place for place in (folder, *folder.parents, Path()) if place.is_dir())
    return {
        "python": platform.python_version(),
        "free": shutil.disk_usage(there).free,
        "modules": imported(request["modules"]),
        "release": fault_of(folder / request["digest"], request["digest"]) == "",
        "records": [name for name in request["records"] if (folder / name).is_file()],
    }


def imported(modules: dict[str, str]) -> dict[str, dict[str, str]]:
    """The version of each module's package, or why it cannot be imported; a crash of one is its own process's."""
    pipe, variables = subprocess.PIPE, {"ORT_DISABLE_TELEMETRY": "1", **os.environ}
    children = {
        module: subprocess.Popen(
            [sys.executable, "-c", IMPORT, module, package],
            stdin=subprocess.DEVNULL,
            stdout=pipe,
            stderr=pipe,
            env=variables,
        )
        for module, package in modules.items()
    }
    found = {}
    for module, child in children.items():
        out, err = child.communicate()
        broken = child.returncode != 0
        found[module] = {"fault": ending(child.returncode, err)} if broken else {"version": last_line(out)}
    return found


def fault_of(release: Path, digest: str) -> str:
    """Why what lies in a folder is not the release with that sha256 of its SHA256SUMS; empty where it is."""
    try:
        sums = (release / SUMS).read_bytes()
        if hashlib.sha256(sums).hexdigest() != digest:
            return SUMS + " is of another release"
        known = {line[66:]: line[:64] for line in sums.decode().splitlines()}
        for path, want in known.items():
            if hashlib.sha256((release / path).read_bytes()).hexdigest() != want:
                return path + " is not the released file"
    except OSError as fault:
        return f"{fault.filename}: {fault.strerror}"
    there = {path.relative_to(release).as_posix() for path in release.rglob("*") if not path.is_dir()}
    more = sorted(there - set(known) - {SUMS, "model.sig"})
    return more[0] + " is not of the release" if more else ""


def take(request: dict[str, Any]) -> dict[str, Any]:
    """A release from the standard input, as a tar of plain files."""
    part = clear(request)
    try:
        unpack(part)
    except BaseException:  # a full disk: what came so far must not fill it
        shutil.rmtree(str(part), ignore_errors=True)
        raise
    return place_release(request)


def unpack(part: Path) -> None:
    with tarfile.open(fileobj=sys.stdin.buffer, mode="r|") as archive:
        for member in archive:
            content = archive.extractfile(member)
            assert content is not None and ".." not in member.name.split("/") and not member.name.startswith("/")
            (part / member.name).parent.mkdir(parents=True, exist_ok=True)
            with (part / member.name).open("wb") as file:
                shutil.copyfileobj(content, file)


def clear(request: dict[str, Any]) -> Path:
    """Room for a release that is to come: the folder that it is brought to is not there."""
    folder = Path(request["folder"])
    folder.mkdir(parents=True, exist_ok=True)
    part: Path = folder / request["part"]
    shutil.rmtree(str(part), ignore_errors=True)
    return part


def place_release(request: dict[str, Any]) -> dict[str, Any]:
    """A release that came, compared with its sums and put into its place."""
    place, part = Path(request["folder"], request["digest"]), Path(request["folder"], request["part"])
    fault = fault_of(part, request["digest"])
    if fault:
        shutil.rmtree(str(part), ignore_errors=True)
        return {"fault": "it did not arrive whole: " + fault}
    if fault_of(place, request["digest"]):  # else it came by another name of this device meanwhile
        shutil.rmtree(str(place), ignore_errors=True)
        part.rename(place)
    shutil.rmtree(str(part), ignore_errors=True)
    return {}


def install(request: dict[str, Any]) -> dict[str, Any]:
    """An environment of its own with the packages; `python` is its interpreter. What is whole is left as it is."""
    place = Path(request["folder"], request["name"]).absolute()
    python, whole = place / "bin" / "python", place / "whole"
    pip = [str(python), "-m", "pip", "install", "--no-input", "--disable-pip-version-check", *request["packages"]]
    for command in [] if whole.is_file() else [[sys.executable, "-m", "venv", "--clear", str(place)], pip]:
        done = kept(command, None, request["limit"], {})
        if done["code"] != 0 or done["hangs"]:
            return {**done, "python": None}
    whole.touch()
    return {"code": 0, "hangs": False, "last": "", "python": str(python)}


def measure(request: dict[str, Any]) -> dict[str, Any]:
    """The runner of the release, its record beside the release."""
    folder = Path(request["folder"]).absolute()
    record = folder / request["record"]
    record.unlink() if record.is_file() else None
    signs = ["--sign", str(Path(request["sign"]).absolute())] if request["sign"] else []
    command = [*request["before"], sys.executable, RUNNER, *request["arguments"], *signs, "--out", str(record)]
    return kept(command, folder / request["digest"], request["limit"], request["environment"])


def kept(command: list[str], folder: Path | None, limit: float, environment: dict[str, str]) -> dict[str, Any]:
    """A program, until it ends; it and all it started are stopped where the time is up or nobody waits any more."""
    pipe, variables = subprocess.PIPE, {**os.environ, **environment}
    child = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, cwd=folder, env=variables, start_new_session=True
    )
    RUNNING.append(child)
    if len(RUNNING) == 1:
        threading.Thread(target=stop_with_us, daemon=True).start()
    try:
        out, err = child.communicate(timeout=limit)
        return {"code": child.returncode, "hangs": False, "last": ending(child.returncode, err or out)}
    except subprocess.TimeoutExpired:
        stop(child)
        return {"code": -1, "hangs": True, "last": ""}


def stop_with_us() -> None:
    """Wait until nobody waits for this process any more."""
    sys.stdin.buffer.read()
    stop(RUNNING[-1])
    os._exit(1)


def stop(child: Any) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)


def fetch(request: dict[str, Any]) -> dict[str, Any]:
    """A record as it was written."""
    record = Path(request["folder"], request["record"])
    if record.stat().st_size > request["most"]:
        return {"fault": f"the record has {record.stat().st_size} bytes"}
    return {"record": base64.b64encode(record.read_bytes()).decode()}


def ending(code: int, log: bytes) -> str:
    """A program's last words, or the signal that ended it."""
    if code < 0:
        return f"was killed by signal {-code}" + (" (was the memory enough?)" if code == -9 else "")
    return last_line(log)


def last_line(log: bytes) -> str:
    lines = log.decode("utf-8", "replace").strip().splitlines()
    return lines[-1].strip()[:400] if lines else ""


RUNNING: list[Any] = []
"""Programs that were started here, the last one last."""
VERBS = {
    "look": look,
    "take": take,
    "place_release": place_release,
    "install": install,
    "measure": measure,
    "fetch": fetch,
}


def main(text: str) -> None:
    """Answer one request."""
    request = json.loads(text)
    try:
        if request["verb"] == "clear":
            clear(request)
            answer: dict[str, Any] = {}
        else:
            answer = VERBS[request["verb"]](request)
    except (OSError, tarfile.TarError) as fault:
        name = getattr(fault, "strerror", None) or type(fault).__name__
        answer = {"fault": "{}: {}".format(getattr(fault, "filename", None) or request["folder"], name)}
    print("\n" + MARK + json.dumps(answer))


if __name__ == "__main__":
    main(sys.argv[1])
