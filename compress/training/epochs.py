"""The epochs of a training: each one validated, the best one's weights kept, the record of all on disk."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file

from edgepress.compress.model.model import Model
from edgepress.compress.tasks.inference import accuracy_of
from edgepress.compress.training.checkpoints import Pace
from edgepress.targets.records import Record

if TYPE_CHECKING:
    from edgepress.compress.tasks.base import Features


class Epoch(Record):
    """What one epoch reached: mean training loss, accuracy on validation data, seconds since the start."""

    epoch: float
    loss: float | None
    validation_accuracy: float
    seconds: float


class History(Record):
    """A whole training: epochs, optimizer steps, which epoch's weights were kept, and the precision that it ran in."""

    epochs: tuple[Epoch, ...]
    steps: int
    best: float
    resumed: bool
    precision: str


class Watch(Pace):
    """Progress, checkpoints by the clock, and the best epoch on validation data.

    `losses` is what the training adds each step's loss to."""

    def __init__(
        self,
        model: Model,
        validation: Features,
        scratch: Path,
        seconds: float,
        advance: Callable[..., None],
        losses: list[float],
    ) -> None:
        super().__init__(scratch, seconds)
        self.model, self.validation, self.advance, self.losses = model, validation, advance, losses
        self.started = time.monotonic()
        self.epochs: list[Epoch] = []
        self.evaluated_at = -1

    @property
    def best_file(self) -> Path:
        return self.scratch / "best.safetensors"

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        self.advance(1)
        return super().on_step_end(args, state, control)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        self._evaluate(state)
        return super().on_epoch_end(args, state, control)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.evaluated_at != state.global_step:
            self._evaluate(state)

    def _evaluate(self, state: Any) -> None:
        self.evaluated_at = state.global_step
        accuracy = accuracy_of(self.model, self.validation)
        self.model.network.train()
        record = Epoch(
            epoch=round(state.epoch, 3),
            loss=sum(self.losses) / len(self.losses) if self.losses else None,
            validation_accuracy=accuracy,
            seconds=time.monotonic() - self.started,
        )
        self.losses.clear()
        self.advance(0, note=f"validation accuracy {accuracy:.4f}")
        # A resumed run repeats the epoch that was cut off; its earlier record stands for the same step.
        self.epochs = [epoch for epoch in self.read() if epoch.epoch < record.epoch]
        if all(accuracy >= epoch.validation_accuracy for epoch in self.epochs):
            with _replacing(self.best_file) as path:
                save_file(_contiguous(self.model.network.state_dict()), path)
        self.epochs.append(record)
        with _replacing(self.scratch / "epochs.json") as path:
            _Epochs(epochs=tuple(self.epochs)).write(path)

    def read(self) -> list[Epoch]:
        path = self.scratch / "epochs.json"
        return list(_Epochs.read(path).epochs) if path.is_file() else []


class _Epochs(Record):
    epochs: tuple[Epoch, ...]


def _contiguous(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value.detach().cpu().clone().contiguous() for name, value in state.items()}


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A file to write beside `path`; it takes its place when it is whole."""
    temporary = path.with_name(f"{path.name}.tmp")
    yield temporary
    temporary.replace(path)
