"""One device of a fleet, from the first look to its records."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgepress.benchmarks.devices.outcomes import Outcome
from edgepress.benchmarks.devices.record import MOST_BYTES
from edgepress.compress.fleet import agent
from edgepress.compress.fleet.command import Feed, Hangs, Missing, Ran, Stopped, ran
from edgepress.compress.fleet.config import Device, Timing, plan_digest
from edgepress.compress.fleet.release import Sent, installable
from edgepress.compress.fleet.ways import SSH_FAILED, way_to
from edgepress.targets.errors import BenchmarkError, told

PROGRAM = Path(agent.__file__).read_text(encoding="utf-8")
GRACE_S = 30.0
"""How much longer than a program on the device its answer is waited for."""
OLDEST = (3, 9)
NOT_FOUND = (126, 127)  # of a shell: no such program, or one that may not be run
# What must be importable: for each target any of the alternatives, all modules of it with their packages.
NUMPY = (("numpy", "numpy"),)
MODULES: dict[str, tuple[tuple[tuple[str, str], ...], ...]] = {
    "onnxruntime-cpu": ((("onnxruntime", "onnxruntime"),),),
    "openvino": ((("openvino", "openvino"),),),
    "tflite-mobile": (
        (("ai_edge_litert.interpreter", "ai-edge-litert"),),
        (("tflite_runtime.interpreter", "tflite-runtime"),),
    ),
    "xla-tpu": ((("jax", "jax"), ("safetensors", "safetensors")),),
    "tensorrt-gpu": (
        (("torch", "torch"), ("tensorrt", "tensorrt")),
        (("torch", "torch"), ("tensorrt_rtx", "tensorrt-rtx-cu13")),
    ),
}


class Absent(BenchmarkError):
    """A runtime that is not there, and that nobody asked for by name."""


@dataclass(frozen=True)
class Job:
    """What is measured of one target on one device, and whether a record is there may be taken."""

    target: str
    plan: str

    def record(self, digest: str) -> str:
        """The record's name on the device."""
        return f"{digest[:16]}-{self.target}-{self.plan[:16]}.json"


@dataclass(frozen=True)
class Task:
    """A device and what is asked of it. `again`: measure although there is a record already."""

    name: str
    device: Device
    timing: Timing
    limit_s: float
    jobs: tuple[Job, ...]
    again: bool = False


Take = Callable[[Outcome, bytes | None], str]
"""Gets an outcome with its record; gives why the record is refused, nothing where it is not."""


def jobs_of(device: Device, timing: Timing, sent: Sent) -> tuple[Job, ...]:
    """A job for each target that is asked for, or for each of the release.

    Raises:
        BenchmarkError: a target that the release does not have.
    """
    for target in device.targets or ():
        if target not in sent.targets:
            raise BenchmarkError(f"{target} is not in the release, it has {', '.join(sent.targets)}")
    targets = device.targets or sent.targets
    return tuple(Job(target, plan_digest(sent.digest, target, device, timing)) for target in targets)


class Visit:
    """What is done on one device."""

    def __init__(
        self, task: Task, sent: Sent, stop: threading.Event, machine: threading.Lock, say: Callable[..., None]
    ):
        self._task, self._sent, self._stop, self._machine, self._say = task, sent, stop, machine, say
        self._way = way_to(task.device)
        self._python = task.device.python
        # Two names of one device may be brought the release at the same time.
        self._part = f"{sent.digest[:16]}-{hashlib.sha256(task.name.encode()).hexdigest()[:16]}.part"

    def run(self, take: Take) -> None:
        """Measure all jobs, and hand over each outcome when it is known."""
        began = time.monotonic()
        try:
            seen = self._prepared()
        except Stopped:
            raise
        except BenchmarkError as fault:
            take(self._outcome("failed", None, fault, began), None)
            return
        for job in self._task.jobs:
            self._one(job, seen, take)

    def _one(self, job: Job, seen: dict[str, Any], take: Take) -> None:
        began = time.monotonic()
        try:
            if reason := lacking(job.target, seen):
                raise (BenchmarkError if self._task.device.targets else Absent)(reason)
            there = job.record(self._sent.digest) in seen["records"] and not self._task.again
            if there and not take(self._outcome("measured", job, None, began), self._fetched(job)):
                return
            self._measure(job)
            if refused := take(self._outcome("measured", job, None, began), self._fetched(job)):
                raise BenchmarkError(refused)
        except Stopped:
            raise
        except BenchmarkError as fault:
            state = "absent" if isinstance(fault, Absent) else "failed"
            take(self._outcome(state, job, fault, began), None)

    def _outcome(self, state: Any, job: Job | None, fault: BenchmarkError | None, began: float) -> Outcome:
        reason = " ".join(str(fault or "").split())[:900]
        target, plan = (job.target, job.plan) if job else ("", "")
        seconds = time.monotonic() - began
        return Outcome(device=self._task.name, target=target, state=state, reason=reason, plan=plan, seconds=seconds)

    # --- steps ---

    def _prepared(self) -> dict[str, Any]:
        """Runtime and release, looked at and brought where they are missing."""
        self._say("looking")
        seen = self._look()
        missing = [job.target for job in self._task.jobs if lacking(job.target, seen)]
        if missing and self._task.device.allow_install and (packages := self._packages(missing)):
            self._install(packages)
            seen = self._look()
        if all(lacking(job.target, seen) for job in self._task.jobs):
            raise BenchmarkError(lacking(self._task.jobs[0].target, seen))
        if not seen["release"]:
            self._send(seen["free"])
        return seen

    def _look(self) -> dict[str, Any]:
        alternatives = [one for job in self._task.jobs for one in MODULES[job.target]]
        modules = dict(pair for one in (NUMPY, *alternatives) for pair in one)
        records = [job.record(self._sent.digest) for job in self._task.jobs]
        try:
            seen = self._ask("look", {"modules": modules, "records": records})
        except _NoAnswer as silence:
            raise BenchmarkError(self._old_python() or told(silence)) from None
        if fault := python_fault(str(seen.get("python"))):
            raise BenchmarkError(fault)
        return checked(seen, {"free": int, "modules": dict, "release": bool, "records": list})

    def _old_python(self) -> str:
        """Whether a Python answers that is too old to read the program; empty where it is not that."""
        done = self._ran([self._python, "-c", "import sys; print(sys.version.split()[0])"], self._task.limit_s, None)
        words = done.out.decode("utf-8", "replace").split()
        return python_fault(words[-1]) if done.code == 0 and words else ""

    def _packages(self, missing: Sequence[str]) -> tuple[str, ...]:
        return self._task.device.packages or installable(missing)

    def _install(self, packages: tuple[str, ...]) -> None:
        self._say("installing", packages=", ".join(packages))
        name = "venv-" + hashlib.sha256(json.dumps([self._python, *packages]).encode()).hexdigest()[:16]
        done = self._ask("install", {"name": name, "packages": packages, "limit": self._task.limit_s})
        if done.get("hangs"):
            raise BenchmarkError(f"installing {', '.join(packages)} hangs: not done within {self._task.limit_s:g} s")
        if not isinstance(done.get("python"), str):
            raise BenchmarkError(f"{', '.join(packages)} cannot be installed: {done.get('last')}")
        self._python = done["python"]

    def _send(self, free: int) -> None:
        place = self._task.device.place
        if free < self._sent.bytes:
            raise BenchmarkError(f"the disk is full: {place} has {free} bytes left, the release {self._sent.bytes}")
        self._say("copying", bytes=self._sent.bytes)
        if not self._way.pushes:
            self._ask("take", feed=self._sent.feed())
            return
        self._ask("clear")
        command = self._way.push(self._sent.folder, f"{place}/{self._part}")
        done = ran(command, self._task.limit_s, self._stop)
        if done.code != 0:
            raise BenchmarkError(f"the release cannot be copied: {done.last or f'exit code {done.code}'}")
        self._ask("place_release")

    def _measure(self, job: Job) -> None:
        with self._alone():
            self._say("measuring", target=job.target)
            device, limit = self._task.device, self._task.limit_s
            given = {"before": device.before, "environment": device.environment, "sign": device.sign, "limit": limit}
            record = job.record(self._sent.digest)
            done = self._ask("measure", {**given, "record": record, "arguments": self._arguments(job)})
        if done.get("hangs"):
            raise BenchmarkError(f"the runner hangs: not done within {limit:g} s, and was stopped")
        if done.get("code") != 0:
            words = str(done.get("last")).removeprefix("error: ") or "without a word"
            raise BenchmarkError(f"the runner failed with exit code {done.get('code')}: {words}")

    def _arguments(self, job: Job) -> list[str]:
        timing = self._task.timing
        sizes = {"threads": timing.threads, "batch": timing.batches, "sequence": timing.sequences or ()}
        shapes = [word for name, given in sizes.items() if given for word in (f"--{name}", *map(str, given))]
        rest = ["--samples", str(timing.samples), "--limit", str(max(1, int(self._task.limit_s)))]
        return ["--target", job.target, "--device", self._task.name, *rest, *shapes]

    def _fetched(self, job: Job) -> bytes:
        answer = self._ask("fetch", {"record": job.record(self._sent.digest), "most": MOST_BYTES}, most=2 * MOST_BYTES)
        try:
            return base64.b64decode(str(answer["record"]), validate=True)
        except (KeyError, ValueError):
            raise BenchmarkError("its record did not arrive whole") from None

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Devices of one machine would slow one another down."""
        while not self._machine.acquire(timeout=0.2):
            if self._stop.is_set():
                raise Stopped("it was stopped")
        try:
            yield
        finally:
            self._machine.release()

    # --- questions and answers ---

    def _ask(
        self, verb: str, more: Mapping[str, Any] | None = None, feed: Feed | None = None, most: int = 1 << 20
    ) -> dict[str, Any]:
        """The agent's answer to one request. Raises BenchmarkError where it has a fault, or none is there."""
        place = {"folder": self._task.device.place, "digest": self._sent.digest, "part": self._part}
        request = {"verb": verb, **place, **(more or {})}
        argv = [self._python, "-c", PROGRAM, json.dumps(request)]
        done = self._ran(argv, self._task.limit_s + (GRACE_S if "limit" in request else 0), feed, most)
        answer = answered(done.out)
        if answer is None:
            raise _NoAnswer(self._silence(done))
        if "fault" in answer:
            text = str(answer["fault"])[:400]
            full = "No space left on device" in text or "Disk quota exceeded" in text
            raise BenchmarkError(f"the disk is full: {text}" if full else text)
        return answer

    def _ran(self, argv: list[str], limit_s: float, feed: Feed | None, most: int = 1 << 20) -> Ran:
        try:
            return ran(self._way.words(argv), limit_s, self._stop, feed, most)
        except Hangs:
            raise BenchmarkError(f"it hangs: no answer over {self._way.name} within {limit_s:g} s") from None
        except Missing as fault:
            local = self._task.device.local and self._task.device.user is None
            raise BenchmarkError(
                f"no python there: {told(fault)}. Name it with 'python:'" if local else told(fault)
            ) from None

    def _silence(self, done: Ran) -> str:
        """Why there was no answer."""
        words = done.last or "without a word"
        if self._task.device.ssh and done.code == SSH_FAILED:
            return f"ssh cannot reach it: {words}"
        if done.code in NOT_FOUND:
            return f"no python there: {words}. Name it with 'python:'"
        return f"no answer from {self._python}, exit code {done.code}: {words}"


class _NoAnswer(BenchmarkError):
    """The program on the device said nothing that it would say."""


def answered(out: bytes) -> dict[str, Any] | None:
    """The agent's answer among all that a login said; None where there is none."""
    for line in reversed(out.splitlines()):
        if line.startswith(agent.MARK.encode()):
            try:
                found = json.loads(line[len(agent.MARK) :])
            except (ValueError, RecursionError):
                return None
            return found if isinstance(found, dict) else None
    return None


def checked(answer: dict[str, Any], kinds: dict[str, type]) -> dict[str, Any]:
    """An answer with these entries; a device may say anything. Raises BenchmarkError."""
    for name, kind in kinds.items():
        if not isinstance(answer.get(name), kind):
            raise BenchmarkError(f"its answer is damaged: {name!r} is no {kind.__name__}")
    return answer


def python_fault(version: str) -> str:
    """Why a version of Python is none for the runner; empty where it is one.

    >>> python_fault("3.8.10"), python_fault("3.11.2")
    ('it has Python 3.8.10, the runner needs 3.9 or newer', '')
    """
    parts = version.split(".")[:2]
    if not all(part.isdecimal() for part in parts) or len(parts) < 2:
        return f"its Python tells no version: {version[:40]!r}"
    newer = tuple(map(int, parts)) >= OLDEST
    return "" if newer else f"it has Python {version[:40]}, the runner needs 3.9 or newer"


def lacking(target: str, seen: dict[str, Any]) -> str:
    """Why a target cannot run by what was seen of a device; empty where it can."""
    reasons = []
    for alternative in MODULES[target]:
        states = {module: seen["modules"].get(module) for module, _ in (*NUMPY, *alternative)}
        unavailable = [(module, state) for module, state in states.items() if not _has(state)]
        if not unavailable:
            return ""
        module, state = unavailable[0]
        fault = str(state.get("fault", ""))[:200] if isinstance(state, dict) else ""
        reasons.append(f"{module} cannot be imported ({fault})")
    return f"{target} cannot run: {reasons[0]}"


def _has(state: Any) -> bool:
    return isinstance(state, dict) and "version" in state
