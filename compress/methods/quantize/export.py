"""From a model to artifacts of several targets, side by side where memory allows it, furnished for other tools."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from edgepress.compress.methods.zeros import lost_zeros
from edgepress.compress.model.model import Model
from edgepress.targets.acceptance.reference import Reference
from edgepress.targets.errors import ModelError, TargetError
from edgepress.targets.records import Artifact, Candidate, Description, FileEntry, Refusal, Signature

if TYPE_CHECKING:
    from torch import nn

    from edgepress.compress.methods.measuring import Measuring
    from edgepress.compress.model.stepping import Stepping
    from edgepress.targets.exportable import TrainedInput

FP32 = Candidate(name="fp32", precision="fp32")
# What a conversion takes at its peak, at most: measured were 0.5 to 1 GB and nine times the fp32 weights.
BASE_BYTES, TIMES_WEIGHTS = 1_000_000_000, 10
CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Exported:
    """One candidate on one target: its folder and record, or why there is none."""

    target: str
    candidate: Candidate
    folder: Path
    artifact: Artifact | None
    failure: str = ""

    @property
    def key(self) -> str:
        return f"{self.target}/{self.candidate.name}"


@dataclass(frozen=True)
class Order:
    """What one target is to make of a model: each candidate in a folder of its own under `folder`."""

    candidates: Sequence[Candidate]
    folder: Path


@dataclass(frozen=True, eq=False)
class Described:
    """A model as targets see it, with what travels with it."""

    model: Model
    module: nn.Module
    signature: Signature
    description: Description

    @property
    def trained_inputs(self) -> tuple[TrainedInput, ...]:
        """The ranges that the model was trained with."""
        return self.model.trained_inputs

    @cached_property
    def stepping(self) -> Stepping | None:
        """The decoder's steps, for targets that decode. Raises TargetError where the network's cache is of no kind that
        can be handed back in."""
        try:
            return self.model.stepping
        except ModelError as fault:
            raise TargetError(str(fault)) from None


def export_candidates(
    model: Model, orders: Mapping[str, Order], measuring: Measuring
) -> dict[str, list[Exported] | TargetError]:
    """What each target, by name, made of its order: a refused candidate is a result with its reason, a refused model
    the error. Conversions in processes of their own run at the same time where the memory is enough for all."""
    if not orders:
        return {}
    calibration = measuring.data.calibration_batches(model)
    described = Described(model, model.module, model.signature, measuring.describe(model))
    try:
        with measuring.run.progress.task(f"{measuring.run.stage}: torch's answers on calibration rows"):
            reference = Reference.of(described, calibration)
    except TargetError as fault:
        return dict.fromkeys(orders, fault)
    fits = len(orders) * conversion_bytes(model) <= free_memory()
    groups = [orders] if fits else [{name: order} for name, order in orders.items()]
    found: dict[str, list[Exported] | TargetError] = {}
    for group in groups:
        with ExitStack() as stack:
            begun: dict[str, Iterator[Artifact | Refusal]] = {}
            with measuring.run.progress.task(f"{measuring.run.stage}: preparing exports", total=len(group)) as advance:
                for name, order in group.items():
                    try:
                        target = measuring.target(name)
                        one = target.begin_export(described, calibration, order.candidates, order.folder, reference)
                        begun[name] = stack.enter_context(one)
                    except TargetError as fault:
                        found[name] = fault
                    advance(1, note=name)
            for name, results in begun.items():
                found[name] = _finish(name, orders[name], results, model, measuring)
    return found


def _finish(
    name: str, order: Order, results: Iterator[Artifact | Refusal], model: Model, measuring: Measuring
) -> list[Exported] | TargetError:
    made: list[Exported] = []
    title = f"{measuring.run.stage}: exporting to {name}"
    with measuring.run.progress.task(title, total=len(order.candidates)) as advance:
        try:
            for result in results:
                made.append(_finished(name, result, order.folder, model, measuring))
                advance(1, note=result.candidate.name)
        except TargetError as fault:
            return fault
    return made


def _finished(name: str, result: Artifact | Refusal, folder: Path, model: Model, measuring: Measuring) -> Exported:
    place = folder / result.candidate.name
    if isinstance(result, Refusal):
        return Exported(name, result.candidate, place, None, result.reason)
    artifact = with_processor(result, place, model, measuring)
    if fault := lost_zeros(model, artifact, place):
        measuring.run.progress.warn(fault)
    return Exported(name, result.candidate, place, artifact)


def with_processor(artifact: Artifact, folder: Path, model: Model, measuring: Measuring) -> Artifact:
    """Put the processor and `config.json` beside the model, so that other tools of the ecosystem load the folder, and
    count their bytes: the device needs them too."""
    known = {entry.path for entry in artifact.files}
    measuring.data.task.save_processor(measuring.data.processor, folder)
    config = model.network.config
    (folder / "config.json").write_text(json.dumps(config.to_dict(), indent=1, default=str) + "\n")  # type: ignore[operator,union-attr]
    extra = sorted(path.name for path in folder.iterdir() if path.is_file() and path.name != artifact.FILE_NAME)
    files = artifact.files + tuple(FileEntry.of(folder, name) for name in extra if name not in known)
    complete = artifact.model_copy(update={"files": files, "recipe_digest": measuring.recipe.digest})
    complete.write(folder / artifact.FILE_NAME)
    return complete


def export_fp32(model: Model, folders: Mapping[str, Path], measuring: Measuring) -> dict[str, TargetError]:
    """The fp32 export of `model` for each target, by name, written beside and moved to its folder when whole; the
    errors of those that refuse it."""
    refused = {}
    with ExitStack() as stack:
        orders = {}
        for name, folder in folders.items():
            folder.parent.mkdir(parents=True, exist_ok=True)
            place = stack.enter_context(tempfile.TemporaryDirectory(dir=folder.parent, prefix=".export-"))
            orders[name] = Order((FP32,), Path(place))
        for name, made in export_candidates(model, orders, measuring).items():
            if isinstance(made, TargetError):
                refused[name] = made
            elif made[0].artifact is None:
                refused[name] = TargetError(made[0].failure)
            else:
                shutil.move(made[0].folder, folders[name])
    return refused


def conversion_bytes(model: Model) -> int:
    """Memory, in bytes, that one conversion of `model` may take."""
    return BASE_BYTES + TIMES_WEIGHTS * 4 * model.parameters


def free_memory(cgroup: Path = CGROUP) -> int:
    """Bytes that this process and its children may still take: the machine's, and the container's where it has a limit
    (cgroup v2)."""
    free = int(psutil.virtual_memory().available)
    try:
        limit, used = ((cgroup / f"memory.{name}").read_text(encoding="ascii").strip() for name in ("max", "current"))
        return min(free, int(limit) - int(used))
    except (OSError, ValueError):  # no container, or "max": no limit
        return free
