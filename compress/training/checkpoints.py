"""Checkpoints of a training: written by the clock, marked when they are whole, gone on from after a kill."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import TrainerCallback

from edgepress.compress.training import processes as distributed
from edgepress.targets.errors import ArtifactError, StageError
from edgepress.targets.files import remove
from edgepress.targets.records import Record

MARK = "whole.json"
KEPT = 2


class Mark(Record):
    """Written last into a checkpoint: how many processes trained, and the bytes of each file."""

    processes: int
    files: dict[str, int]


class Pace(TrainerCallback):
    """Says when a checkpoint is due: `seconds` after the last one, and at the end of each epoch."""

    def __init__(self, scratch: Path, seconds: float) -> None:
        self.scratch, self.seconds = scratch, seconds
        self.saved = time.monotonic()
        self.saved_step = -1

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        # An epoch's last step is saved at the epoch's end: gone on from before, its validation would be missing.
        due = time.monotonic() - self.saved > self.seconds and not float(state.epoch).is_integer()
        if distributed.agreed(due):
            control.should_save = True
        return control

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        control.should_save = self.saved_step != state.global_step
        return control

    def on_save(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        # Before the mark: the last update may have broken weights whose loss nobody has seen yet.
        check_finite(given["model"], state.global_step)
        self.saved, self.saved_step = time.monotonic(), state.global_step
        distributed.barrier()  # each process writes the state of its own random numbers
        if distributed.is_main():
            _mark(self.scratch / f"checkpoint-{state.global_step}")
            for old in _checkpoints(self.scratch)[KEPT:]:
                remove(old)


def check_finite(network: nn.Module, step: int) -> None:
    """Raises StageError where a weight is NaN or infinite.

    Args:
        network: that is trained.
        step: the optimizer's last one, for the message.
    """
    broken = next((name for name, weight in network.named_parameters() if not torch.isfinite(weight).all()), None)
    if broken is not None:
        raise StageError(
            f"weights became NaN or infinite by step {step}, first {broken}. Lower training.learning_rate, or use "
            f"precision fp32; the checkpoint before it stays."
        )


def latest(scratch: Path, warn: Callable[[str], None]) -> Path | None:
    """The newest whole checkpoint; newer ones that a kill cut off, or that something damaged, are removed."""
    for path in _checkpoints(scratch):
        mark = _whole(path)
        if mark is not None and mark.processes == distributed.world_size():
            return path
        if mark is not None:
            warn(
                f"{path} was written by {mark.processes} processes and cannot be gone on from with "
                f"{distributed.world_size()}: this training begins anew."
            )
        remove(path)
    return None


def step_of(checkpoint: Path) -> int:
    """Optimizer steps done before the checkpoint."""
    return int(checkpoint.name.rsplit("-", 1)[1])


def _checkpoints(scratch: Path) -> list[Path]:
    """Newest first."""
    return sorted(scratch.glob("checkpoint-*"), key=step_of, reverse=True)


def _mark(checkpoint: Path) -> None:
    sizes = {path.name: path.stat().st_size for path in sorted(checkpoint.iterdir()) if path.name != MARK}
    Mark(processes=distributed.world_size(), files=sizes).write(checkpoint / MARK)


def _whole(checkpoint: Path) -> Mark | None:
    """The mark of a checkpoint whose files are all there in full length."""
    try:
        mark = Mark.read(checkpoint / MARK)
    except ArtifactError:
        return None
    paths = {name: checkpoint / name for name in mark.files}
    whole = all(path.is_file() and path.stat().st_size == mark.files[name] for name, path in paths.items())
    return mark if whole else None
