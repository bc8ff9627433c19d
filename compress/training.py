"""One training loop, transformers' Trainer, for teacher, distillation and recovery.

Mixed precision, gradient accumulation, checkpoints, resume, several GPUs and several machines are the Trainer's own;
ours are the objective, the batches (buckets of similar length), the choice of the best epoch on validation data and the
clock that decides when a checkpoint is due.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.utils.data import Dataset, Sampler
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from compress.inference import accuracy_of
from compress.model import Model
from compress.recipe import Training
from targets.base import Record, Signature
from targets.errors import StageError

if TYPE_CHECKING:
    from compress.console import Console
    from compress.tasks.base import Features

TeacherOutputs = Mapping[str, Any]
# Rows looked at together when batches of similar length are formed: large enough to waste little padding, small
# enough that the order stays random.
BUCKET_BATCHES = 50


class Epoch(Record):
    """What one epoch reached: mean training loss, accuracy on validation data, seconds since the start."""

    epoch: float
    loss: float | None
    validation_accuracy: float
    seconds: float


class History(Record):
    """A whole training: epochs, optimizer steps and which epoch's weights were kept."""

    epochs: tuple[Epoch, ...]
    steps: int
    best: float
    resumed: bool


class Indices(Dataset[int]):
    """Row numbers; the rows themselves are made when a batch is collated."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> int:
        return index


class BucketSampler(Sampler[int]):
    """A fresh random order each epoch with neighbours of similar length; the same for the same seed and epoch."""

    def __init__(self, lengths: np.ndarray | None, size: int, batch: int, seed: int) -> None:
        self.lengths, self.size, self.batch, self.seed = lengths, size, batch, seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[int]:
        random = np.random.default_rng((self.seed, self.epoch))
        order = random.permutation(self.size)
        if self.lengths is None:
            return iter(order.tolist())
        bucket = self.batch * BUCKET_BATCHES
        pieces = [order[start : start + bucket] for start in range(0, self.size, bucket)]
        ordered = np.concatenate([piece[np.argsort(-self.lengths[piece], kind="stable")] for piece in pieces])
        whole = self.size // self.batch * self.batch
        batches = ordered[:whole].reshape(-1, self.batch)
        random.shuffle(batches)
        return iter(np.concatenate([batches.reshape(-1), ordered[whole:]]).tolist())


class CrossEntropy(nn.Module):
    """The loss without a teacher: mean cross-entropy with the labels, in nats."""

    outputs: Mapping[str, bool] = {}

    def forward(self, output: Any, labels: torch.Tensor, teacher: TeacherOutputs, mask: torch.Tensor | None) -> Any:
        return nn.functional.cross_entropy(output.logits.float(), labels)


class Objective(Protocol):
    """A loss as a module: which extra outputs it wants of the network, and the loss of one batch."""

    outputs: Mapping[str, bool]

    def __call__(
        self, output: Any, labels: torch.Tensor, teacher: TeacherOutputs, mask: torch.Tensor | None
    ) -> Any: ...


class Trainee(nn.Module):
    """Network and objective as one module whose forward gives the loss, so that any wrapper of the Trainer's fits."""

    def __init__(self, network: nn.Module, objective: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.objective = objective

    def forward(self, labels: torch.Tensor, inputs: Mapping[str, torch.Tensor], teacher: TeacherOutputs) -> Any:
        objective: Objective = self.objective  # type: ignore[assignment]  # a Module, whose attributes have no types
        output = self.network(**inputs, **objective.outputs)
        return {"loss": objective(output, labels, teacher, inputs.get("attention_mask"))}


class Collator:
    """Row numbers -> inputs `[batch, ...]`, labels `[batch]` and the teacher's outputs for these very rows."""

    def __init__(
        self, features: Features, signature: Signature, teacher: Callable[[np.ndarray], TeacherOutputs] | None
    ) -> None:
        self.features = features
        self.signature = signature
        self.teacher = teacher

    def __call__(self, rows: list[int]) -> dict[str, Any]:
        index = np.asarray(rows)
        feeds = self.signature.select(self.features.batch(index))
        inputs = {name: torch.from_numpy(value) for name, value in feeds.items()}
        labels = torch.from_numpy(self.features.labels[index])
        return {"labels": labels, "inputs": inputs, "teacher": self.teacher(index) if self.teacher else {}}


class _Watch(TrainerCallback):
    """Progress, checkpoints by the clock, and the best epoch on validation data."""

    def __init__(
        self, model: Model, validation: Features, training: Training, scratch: Path, advance: Callable[..., None]
    ) -> None:
        self.model, self.validation, self.training, self.scratch = model, validation, training, scratch
        self.advance = advance
        self.started = self.saved = time.monotonic()
        self.epochs: list[Epoch] = []
        self.evaluated_at = -1

    @property
    def _best_file(self) -> Path:
        return self.scratch / "best.safetensors"

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        self.advance(1)
        if time.monotonic() - self.saved > self.training.checkpoint_seconds:
            self.saved = time.monotonic()
            control.should_save = True
        return control

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        self._evaluate(state)
        control.should_save = True
        return control

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.evaluated_at != state.global_step:
            self._evaluate(state)

    def _evaluate(self, state: Any) -> None:
        self.evaluated_at = state.global_step
        accuracy = accuracy_of(self.model, self.validation)
        self.model.network.train()
        losses = [entry["loss"] for entry in state.log_history if "loss" in entry]
        record = Epoch(
            epoch=round(state.epoch, 3),
            loss=losses[-1] if losses else None,
            validation_accuracy=accuracy,
            seconds=time.monotonic() - self.started,
        )
        self.advance(0, note=f"validation accuracy {accuracy:.4f}")
        # A resumed run repeats the epoch that was cut off; its earlier record stands for the same step.
        self.epochs = [epoch for epoch in self.read() if epoch.epoch < record.epoch]
        if all(accuracy >= epoch.validation_accuracy for epoch in self.epochs) and state.is_world_process_zero:
            save_file(_contiguous(self.model.network.state_dict()), self._best_file)
        self.epochs.append(record)
        _Epochs(epochs=tuple(self.epochs)).write(self.scratch / "epochs.json")

    def read(self) -> list[Epoch]:
        path = self.scratch / "epochs.json"
        return list(_Epochs.read(path).epochs) if path.is_file() else []


class _Epochs(Record):
    epochs: tuple[Epoch, ...]


class _Trainer(Trainer):
    """The Trainer with our batches."""

    sampler: BucketSampler

    def _get_train_sampler(self, *_: Any) -> BucketSampler:
        return self.sampler

    def compute_loss(self, model: nn.Module, inputs: dict[str, Any], *_: Any, **__: Any) -> Any:
        loss = model(**inputs)["loss"]
        if not torch.isfinite(loss).all():
            raise StageError(
                f"the loss became {loss.item():g} at step {self.state.global_step + 1}. "
                f"Lower training.learning_rate, or use precision fp32."
            )
        return loss


def fit(
    model: Model,
    features: Features,
    validation: Features,
    training: Training,
    scratch: Path,
    console: Console,
    title: str,
    seed: int = 0,
    objective: nn.Module | None = None,
    teacher: Callable[[np.ndarray], TeacherOutputs] | None = None,
) -> tuple[Model, History]:
    """Train a copy of `model` and return it with the weights of its best epoch on `validation`.

    `scratch` holds the checkpoints: called again after a kill with the same arguments, it goes on from the last one.

    Raises:
        StageError: the loss became NaN or infinite.
    """
    trained = model.copy()
    objective = objective if objective is not None else CrossEntropy()
    scratch.mkdir(parents=True, exist_ok=True)
    arguments = _arguments(training, scratch, seed)
    trainer = _Trainer(
        model=Trainee(trained.network, objective),
        args=arguments,
        train_dataset=Indices(len(features)),
        data_collator=Collator(features, model.signature, teacher),
    )
    trainer.sampler = BucketSampler(features.lengths, len(features), training.batch_size, seed)
    trainer.model_accepts_loss_kwargs = False
    checkpoint = get_last_checkpoint(str(scratch))
    steps = _steps(len(features), training)
    done = int(checkpoint.rsplit("-", 1)[1]) if checkpoint else 0
    with console.task(title, total=steps, done=done) as advance:
        watch = _Watch(trained, validation, training, scratch, advance)
        _quiet(trainer)
        trainer.add_callback(watch)
        trainer.train(resume_from_checkpoint=checkpoint)
    trained.network.load_state_dict(load_file(scratch / "best.safetensors"))
    trained.network.to("cpu").eval()
    best = max(epoch.validation_accuracy for epoch in watch.epochs)
    history = History(
        epochs=tuple(watch.epochs), steps=trainer.state.global_step, best=best, resumed=checkpoint is not None
    )
    return trained, history


def _steps(rows: int, training: Training) -> int:
    batches = -(-rows // training.batch_size)
    return max(1, int(-(-batches // training.gradient_accumulation) * training.epochs))


def _arguments(training: Training, scratch: Path, seed: int) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(scratch),
        num_train_epochs=training.epochs,
        per_device_train_batch_size=training.batch_size,
        gradient_accumulation_steps=training.gradient_accumulation,
        learning_rate=training.learning_rate,
        weight_decay=training.weight_decay,
        warmup_steps=training.warmup,
        lr_scheduler_type="linear",
        bf16=training.precision == "bf16",
        use_cpu=not torch.cuda.is_available(),
        seed=seed,
        data_seed=seed,
        save_strategy="no",
        save_total_limit=2,
        logging_strategy="epoch",
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=torch.cuda.is_available(),
    )


def _quiet(trainer: Trainer) -> None:
    """Our console shows the progress; the Trainer's own printing would break it."""
    from transformers.trainer_callback import PrinterCallback, ProgressCallback

    for callback in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(callback)


def _contiguous(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value.detach().cpu().clone().contiguous() for name, value in state.items()}
