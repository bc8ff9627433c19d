"""A whole fleet: devices side by side, each outcome merged into the hardware report as soon as it is known."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from edgepress.benchmarks.devices.merge import Place, merge
from edgepress.benchmarks.devices.outcomes import Outcome, Outcomes, read_outcomes
from edgepress.benchmarks.devices.record import DeviceRecord, kept_records, read_record
from edgepress.benchmarks.devices.signed import DeviceKey, read_device_key
from edgepress.compress.fleet.command import Stopped
from edgepress.compress.fleet.config import Device, Fleet
from edgepress.compress.fleet.release import Sent
from edgepress.compress.fleet.visit import Job, Task, Visit, jobs_of
from edgepress.compress.recipe.faults import nearest
from edgepress.targets.errors import ArtifactError, BenchmarkError, EdgepressError, UnsignedError
from edgepress.targets.process.scratch import scratch
from edgepress.targets.progress import Progress

HEARD_S = 0.2


@dataclass(frozen=True)
class Asked:
    """What a user asks for. `only`: names of devices, all where there are none; `at_once`: how many devices."""

    only: tuple[str, ...] = ()
    again: bool = False
    at_once: int = 8


class FleetRun:
    """One run over a fleet.

    Args:
        fleet: the devices.
        sent: the release, verified.
        place: its hardware report.
        asked: what of it.
        console: hears what happens.
    """

    def __init__(self, fleet: Fleet, sent: Sent, place: Place, asked: Asked, console: Progress) -> None:
        self._fleet, self._sent, self._place, self._asked, self._console = fleet, sent, place, asked, console
        self._stop = threading.Event()
        self._turn = threading.Lock()  # of the report and the terminal
        self._machines: dict[str, threading.Lock] = defaultdict(threading.Lock)
        self._found: list[Outcome] = []
        self._keys: dict[str, DeviceKey] = {}
        self._before = Outcomes()
        self._there: set[str] = set()  # record_sha256 of what is in the report

    def run(self) -> list[Outcome]:
        """What became of every device and target that was asked for, in the order of the file; what was measured before
        is among it.

        Raises:
            EdgepressError: a device was asked for that the file does not have, or the report cannot be written.
        """
        names = self._names()
        pairs = ((name, fleet_key) for name in names if (fleet_key := self._fleet.devices[name].public_key) is not None)
        self._keys = {name: read_device_key(Path(key)) for name, key in pairs}
        self._before = read_outcomes(self._place.folder)
        self._there = {one.record_sha256 for one in kept_records(self._place.folder).records}
        tasks = [task for name in names if (task := self._task(name)) is not None]
        with scratch() as folder, ThreadPoolExecutor(self._asked.at_once) as pool:
            futures = [pool.submit(self._visit, task, self._machine(task), folder) for task in tasks]
            try:
                waited_for(futures)
            finally:  # Ctrl-C, too: what runs on devices ends with its connection
                self._stop.set()
                pool.shutdown(wait=False, cancel_futures=True)
        merge(self._place, [])
        order = {name: number for number, name in enumerate(names)}
        return sorted(self._found, key=lambda one: order[one.device])

    def _names(self) -> list[str]:
        there = self._fleet.devices
        for name in self._asked.only:
            if name not in there:
                raise EdgepressError(
                    f"there is no device {name[:60]!r}, there are {', '.join(there)}.{nearest(name, there)}"
                )
        return [name for name in there if name in self._asked.only or not self._asked.only]

    def _task(self, name: str) -> Task | None:
        """What is to do on a device; None where nothing is."""
        device = self._fleet.devices[name]
        timing, limit = self._fleet.timing_of(device), self._fleet.limit_of(device)
        try:
            jobs = jobs_of(device, timing, self._sent)
        except BenchmarkError as fault:
            self._take(Outcome(device=name, state="failed", reason=str(fault)), None)
            return None
        left = tuple(job for job in jobs if self._asked.again or not self._measured_before(name, job))
        return Task(name, device, timing, limit, left, self._asked.again) if left else None

    def _measured_before(self, name: str, job: Job) -> bool:
        before = self._before.measured(name, job.target, job.plan)
        if before is None or before.record_sha256 not in self._there:
            return False
        self._found.append(before)
        return True

    def _machine(self, task: Task) -> threading.Lock:
        return self._machines[machine_of(task.device)]

    def _visit(self, task: Task, machine: threading.Lock, folder: Path) -> None:
        def take(outcome: Outcome, record: bytes | None) -> str:
            return self._checked(task, outcome, record, folder)

        try:
            Visit(task, self._sent, self._stop, machine, self._teller(task.name)).run(take)
        except Stopped:
            return

    def _teller(self, name: str) -> Callable[..., None]:
        def tell(state: str, **fields: object) -> None:
            with self._turn:
                self._console.event("device", name=name, state=state, **fields)

        return tell

    # --- outcomes ---

    def _checked(self, task: Task, outcome: Outcome, content: bytes | None, folder: Path) -> str:
        """Take an outcome with its record; why the record is refused, and empty where it is not."""
        if content is None:
            self._take(outcome, None)
            return ""
        path = folder / f"{len(content)}-{outcome.plan[:16]}.json"
        path.write_bytes(content)
        try:
            record = read_record(path, self._keys.get(task.name))
            check_asked(record, task, outcome.target)
            sealed = outcome.model_copy(update={"record_sha256": record.record_sha256})
            self._take(sealed, path)
        except (ArtifactError, BenchmarkError, UnsignedError) as fault:
            return f"its record was refused: {str(fault).replace(str(path), 'it')}"
        return ""

    def _take(self, outcome: Outcome, record: Path | None) -> None:
        """Into the report, and to the terminal."""
        with self._turn:
            new = [record] if record is not None and outcome.record_sha256 not in self._there else []
            merge(self._place, new, [outcome], page=False)
            self._there |= {outcome.record_sha256} if outcome.record_sha256 else set()
            self._found.append(outcome)
            fields = {"target": outcome.target, "reason": outcome.reason, "seconds": outcome.seconds}
            self._console.event("device", name=outcome.device, state=outcome.state, **fields)


def waited_for(futures: Sequence[Future[None]]) -> None:
    """Wait for all, in turns short enough for Ctrl-C; the first fault of our own ends it."""
    left = set(futures)
    while left:
        done, left = wait(left, timeout=HEARD_S, return_when=FIRST_EXCEPTION)
        for one in done:
            one.result()


def machine_of(device: Device) -> str:
    """What devices share that must not be measured at the same time."""
    if device.machine:
        return f"machine {device.machine}"
    if device.local:
        return "this machine"
    if device.ssh:
        return f"ssh {device.ssh.rpartition('@')[2].lower()} {device.port} {device.config}"
    return f"adb {device.adb}"


def check_asked(record: DeviceRecord, task: Task, target: str) -> None:
    """Whether a record is of the measurement that was asked for. Raises ArtifactError."""
    timing = task.timing
    for name, want, got in (("device", task.name, record.device), ("target", target, record.target)):
        if want != got:
            raise ArtifactError(f"it is of the {name} {got[:60]!r}, asked was {want!r}")
    if {row.batch for row in record.latency} != set(timing.batches):
        raise ArtifactError("it is of other batches than those that were asked for")
    if not {row.threads for row in record.latency} <= {None, *timing.threads}:
        raise ArtifactError("it is of other threads than those that were asked for")
    if timing.sequences and not {row.sequence for row in record.latency} <= {None, *timing.sequences}:
        raise ArtifactError("it is of other sequences than those that were asked for")
    if any(len(row.samples) != timing.samples for row in record.latency):
        raise ArtifactError(f"it has other numbers of samples than {timing.samples}")


def told_failures(outcomes: Sequence[Outcome], devices: int) -> str:
    """Failures as one line: the first three with their reasons, and how many more."""
    failed = [one for one in outcomes if one.state == "failed"]
    failures = [f"{one.device}{f' ({one.target})' if one.target else ''}: {one.reason}" for one in failed[:3]]
    more = f"; and {len(failed) - 3} more" if len(failed) > 3 else ""
    count = len({one.device for one in failed})
    return f"{count} of {devices} device{'s' if devices > 1 else ''} failed. {'; '.join(failures)}{more}"
