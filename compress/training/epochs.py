"""The epochs of a training: each one validated, the best one's weights kept, the record of all on disk."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from safetensors.torch import save_file

from edgepress.benchmarks.metrics import metric as metric_named
from edgepress.compress.model.model import Model
from edgepress.compress.tasks.inference import metric_of
from edgepress.compress.training.checkpoints import Pace
from edgepress.targets.records import Record

if TYPE_CHECKING:
    from edgepress.compress.tasks.base import Features
    from edgepress.compress.training.hooks import Hook


class Epoch(Record):
    """What one epoch reached: mean training loss, the primary metric on validation data, seconds since the start; and
    whether it may be the best one, or a hook had not finished yet."""

    epoch: float
    loss: float | None
    validation: float
    seconds: float
    counts: bool = True


class History(Record):
    """A whole training: epochs, optimizer steps, the best epoch's `metric` on validation data, whose weights were kept,
    and the precision that it ran in."""

    epochs: tuple[Epoch, ...]
    steps: int
    metric: str
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
        metric: str = "accuracy",
        keep: Literal["best", "last"] = "best",
        hooks: Sequence[Hook] = (),
    ) -> None:
        super().__init__(scratch, seconds)
        self.keep, self.hooks = keep, hooks
        self.model, self.validation, self.advance, self.losses = model, validation, advance, losses
        self.metric = metric
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
        value = metric_of(self.model, self.validation, self.metric)
        # Measuring left it in eval mode; the Trainer sets train mode at the start of an epoch only, and this may be its
        # middle.
        self.model.network.train()
        record = Epoch(
            epoch=round(state.epoch, 3),
            loss=sum(self.losses) / len(self.losses) if self.losses else None,
            validation=value,
            seconds=time.monotonic() - self.started,
            counts=self._counts(state),
        )
        self.losses.clear()
        self.advance(0, note=f"validation {metric_named(self.metric).name} {value:.4f}")
        # A resumed run repeats the epoch that was cut off; its earlier record stands for the same step.
        self.epochs = [epoch for epoch in self.read() if epoch.epoch < record.epoch]
        # Of equal epochs the last one is kept.
        rivals = [epoch.validation for epoch in self.epochs if epoch.counts]
        if record.counts and (self.keep == "last" or best_of([*rivals, value], self.metric) == value):
            with _replacing(self.best_file) as path:
                save_file(_contiguous(self.model.network.state_dict()), path)
        self.epochs.append(record)
        with _replacing(self.scratch / "epochs.json") as path:
            _Epochs(epochs=tuple(self.epochs)).write(path)

    def _counts(self, state: Any) -> bool:
        step, steps = state.global_step, state.max_steps
        return step >= steps or all(hook.counts(step, steps) for hook in self.hooks)

    def read(self) -> list[Epoch]:
        path = self.scratch / "epochs.json"
        return list(_Epochs.read(path).epochs) if path.is_file() else []


def best_of(values: Sequence[float], metric: str) -> float:
    """The best of several values of one metric: the largest, or the smallest where less is better.

    >>> best_of([0.7, 0.9], "accuracy"), best_of([0.7, 0.9], "log-loss")
    (0.9, 0.7)
    """
    return max(values) if metric_named(metric).higher_is_better else min(values)


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
