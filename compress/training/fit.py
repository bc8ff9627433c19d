"""One training loop, transformers' Trainer, for teacher, distillation and recovery.

Mixed precision, gradient accumulation, checkpoints, resume, several GPUs and several machines are the Trainer's own;
ours are the objective, the batches (buckets of similar length), the choice of the best epoch on validation data and the
clock that decides when a checkpoint is due.

Of several processes, the first one calls `fit`; the others `take_part` in the SharedJob that it hands them. Each one
sees its own share of every epoch's batches; the first one alone measures validation data, keeps weights and shows
progress.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn
from transformers import Trainer, TrainingArguments

from edgepress.compress.model.model import Model
from edgepress.compress.recipe.sections import Training
from edgepress.compress.tasks import load_task
from edgepress.compress.training import processes as distributed
from edgepress.compress.training.batches import BucketSampler, Collator, Indices, TeacherOutputs
from edgepress.compress.training.checkpoints import Pace, latest, step_of
from edgepress.compress.training.epochs import History, Watch, best_of
from edgepress.compress.training.hooks import Hook, hooks_for
from edgepress.compress.training.norms import norms_of, single_row_norms
from edgepress.compress.training.precision import with_precision
from edgepress.targets.errors import StageError

if TYPE_CHECKING:
    from edgepress.compress.tasks.base import Features, Outputs
    from edgepress.targets.progress import Progress


# The Trainer's own names for them. Its constant schedule knows no warm-up.
OPTIMIZERS = {"adamw": "adamw_torch", "adafactor": "adafactor", "rmsprop": "rmsprop", "sgd": "sgd"}
SCHEDULES = {"linear": "linear", "cosine": "cosine", "constant": "constant_with_warmup"}


class LabelLoss(nn.Module):
    """The loss without a teacher: that of the task's kind of outputs, with the labels."""

    outputs: Mapping[str, bool] = {}

    def __init__(self, kind: Outputs) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, output: Any, labels: torch.Tensor, teacher: TeacherOutputs, mask: torch.Tensor | None) -> Any:
        return self.kind.loss(self.kind.tensors(output), labels)


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
        with single_row_norms(self.network, len(labels)):
            output = self.network(**inputs, **objective.outputs)
        return {"loss": objective(output, labels, teacher, inputs.get("attention_mask"))}


class _Trainer(Trainer):
    """The Trainer with our batches; `losses` collects each step's loss until the epoch is told."""

    sampler: BucketSampler
    losses: list[float]

    def _get_train_sampler(self, *_: Any) -> BucketSampler:
        return self.sampler

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """Weights that several names share (T5's embeddings) are written under each: safetensors takes them no other
        way, and every name is read again."""
        state = state_dict if state_dict is not None else self.model.state_dict()
        seen: set[int] = set()
        own = {}
        for name, value in state.items():
            own[name] = value.clone() if value.data_ptr() in seen else value
            seen.add(value.data_ptr())
        super()._save(output_dir, own)

    def compute_loss(self, model: nn.Module, inputs: dict[str, Any], *_: Any, **__: Any) -> Any:
        loss = model(**inputs)["loss"]
        if not torch.isfinite(loss).all():
            raise StageError(
                f"the loss became {loss.item():g} at step {self.state.global_step + 1}{self._broken()}. "
                f"Lower training.learning_rate, or use precision fp32."
            )
        self.losses.append(loss.item())
        return loss

    def _broken(self) -> str:
        """`, by the term hidden`, where the objective tells its terms apart."""
        objective: Any = self.model.objective
        return f", by the term {name}" if (name := getattr(objective, "broken", "")) else ""


@dataclass(frozen=True)
class TrainingJob:
    """One training.

    Args:
        training: how long, how fast, in which precision.
        scratch: holds the checkpoints: fitted again after a kill with the same job, it goes on from the last one.
        seed: of dropout and of the order of the batches.
        objective: the loss; None for that of the task, with the labels alone.
        teacher: row numbers `[batch]` -> what the teacher gives for them; None where the objective asks for nothing.
        metric: key of the metric on validation data that says which epoch is the best one.
        keep: the weights of the best epoch, or of the last one where the metric says nothing of the objective.
        hooks: what a method does inside of it. Zeros of sparse layers are held without being asked for.
    """

    training: Training
    scratch: Path
    seed: int = 0
    objective: nn.Module | None = None
    teacher: Callable[[np.ndarray], TeacherOutputs] | None = None
    metric: str = "accuracy"
    keep: Literal["best", "last"] = "best"
    hooks: tuple[Hook, ...] = ()


@dataclass(frozen=True)
class SharedJob:
    """A training as the first process hands it to the others; the rows are those of the recipe they all have.

    Args:
        job: with the precision chosen and an absolute folder.
        rows: digest of the training rows.
        checkpoint: to go on from.
    """

    job: TrainingJob
    rows: str
    checkpoint: Path | None

    @property
    def start(self) -> Path:
        """Where the model before the training is saved for the others."""
        return self.job.scratch / "start"


def fit(
    model: Model, job: TrainingJob, features: Features, validation: Features, progress: Progress, title: str
) -> tuple[Model, History]:
    """Train a copy of `model` and return it with the weights of its best epoch on `validation`, by the job's metric, or
    of its last one.

    Args:
        model: what the training starts from; it stays as it is.
        job: how it is trained, and where its checkpoints lie.
        features: the training rows.
        validation: the rows that choose the epoch.
        progress: whoever listens.
        title: what the progress is called.

    Raises:
        StageError: the loss became NaN or infinite, or another process of the run has ended.
    """
    job = replace(
        job, training=with_precision(job.training), scratch=job.scratch.resolve(), hooks=hooks_for(model, job.hooks)
    )
    job.scratch.mkdir(parents=True, exist_ok=True)
    if job.training.batch_size == 1 and norms_of(model.network):
        progress.warn(
            "training.batch_size is 1: batch normalisation keeps the statistics it has, since one row has none of its "
            "own; take 2 or more to learn them"
        )
    checkpoint = latest(job.scratch, progress.warn)
    shared = SharedJob(job, features.digest, checkpoint)
    if distributed.world_size() > 1:
        model.save(shared.start)
        distributed.send(shared)
    trained = model.copy()
    trainer = _trainer(job, trained, features)
    steps, done = _steps(len(features), trainer.args), step_of(checkpoint) if checkpoint else 0
    with progress.task(title, total=steps, done=done) as advance:
        seconds = job.training.checkpoint_seconds
        watch = Watch(
            trained, validation, job.scratch, seconds, advance, trainer.losses, job.metric, job.keep, job.hooks
        )
        _train(shared, trainer, watch)
    # From the disk and not from memory: a run that was cut off after its best epoch gives the same weights.
    trained.network.load_state_dict(load_file(watch.best_file))
    trained.network.to("cpu").eval()
    history = History(
        epochs=tuple(watch.epochs),
        steps=trainer.state.global_step,
        metric=job.metric,
        best=best_of([epoch.validation for epoch in watch.epochs if epoch.counts], job.metric),
        resumed=checkpoint is not None,
        precision=job.training.precision,
    )
    return trained, history


def take_part(shared: SharedJob, features: Features) -> None:
    """Another process's share of the training that the first one's `fit` handed out.

    Raises:
        StageError: this process has other rows or another disk than the first one, or a process has ended.
    """
    if features.digest != shared.rows:
        raise StageError("this process read other training rows than the first one: give all machines the same data")
    if not shared.start.is_dir():
        raise StageError(f"{shared.start} is not there: several machines need the folder of runs on a shared disk")
    job = shared.job
    trainer = _trainer(job, Model.load(shared.start), features)
    _train(shared, trainer, Pace(job.scratch, job.training.checkpoint_seconds))


def _trainer(job: TrainingJob, model: Model, features: Features) -> _Trainer:
    objective = job.objective if job.objective is not None else LabelLoss(load_task(model.task).outputs)
    trainer = _Trainer(
        model=Trainee(model.network, objective),
        args=_arguments(job.training, job.scratch, job.seed),
        train_dataset=Indices(len(features)),
        data_collator=Collator(features, model.signature, job.teacher),
    )
    trainer.sampler = BucketSampler(features.lengths, len(features), job.training.batch_size, job.seed)
    trainer.losses = []
    # Else the Trainer takes the loss for a sum over tokens and divides it anew: with two processes it would be told
    # twice too large.
    trainer.model_accepts_loss_kwargs = False
    _quiet(trainer)
    return trainer


def _train(shared: SharedJob, trainer: _Trainer, pace: Pace) -> None:
    for callback in (*shared.job.hooks, pace):
        trainer.add_callback(callback)
    with distributed.losses_told(), dropout(trainer.model, shared.job.training.dropout):
        trainer.train(resume_from_checkpoint=str(shared.checkpoint) if shared.checkpoint else None)


@contextmanager
def dropout(network: nn.Module, rate: float | None) -> Iterator[None]:
    """Every dropout of `network` at `rate` inside the block: modules, and the numbers that attention layers keep."""
    before: list[tuple[nn.Module, str, float]] = []
    for module in network.modules() if rate is not None else ():
        names = ("p",) if isinstance(module, nn.Dropout) else ("attention_dropout", "dropout_prob")
        before += [(module, name, value) for name in names if isinstance(value := getattr(module, name, None), float)]
    for module, name, _ in before:
        setattr(module, name, rate)
    try:
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)


def _steps(rows: int, arguments: TrainingArguments) -> int:
    """Optimizer steps of the whole training; each step takes a batch on every process."""
    # As the Trainer counts: a last batch that is not full counts, on each process, and so does a last round of
    # accumulation.
    batches = math.ceil(math.ceil(rows / arguments.train_batch_size) / arguments.world_size)
    updates: int = math.ceil(batches / arguments.gradient_accumulation_steps)
    total: int = math.ceil(updates * arguments.num_train_epochs)
    return max(1, total)


def _arguments(training: Training, scratch: Path, seed: int) -> TrainingArguments:
    arguments = TrainingArguments(
        output_dir=str(scratch),
        num_train_epochs=training.epochs,
        per_device_train_batch_size=training.batch_size,
        gradient_accumulation_steps=training.gradient_accumulation,
        learning_rate=training.learning_rate,
        weight_decay=training.weight_decay,
        warmup_steps=training.warmup,
        optim=OPTIMIZERS[training.optimizer],
        lr_scheduler_type=SCHEDULES[training.schedule],
        bf16=training.precision == "bf16",
        use_cpu=not torch.cuda.is_available(),
        seed=seed,
        data_seed=seed,
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=torch.cuda.is_available(),
    )
    # One GPU a process: more of them in one (nn.DataParallel) would change the batch size that the recipe asks for.
    arguments._n_gpu = min(1, arguments.n_gpu)
    return arguments


def _quiet(trainer: Trainer) -> None:
    """Our console shows the progress; the Trainer's own printing would break it."""
    from transformers.trainer_callback import PrinterCallback, ProgressCallback

    for callback in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(callback)
