"""What a stage is: a pure function from a model and its options to a new model, picked by the type of the options."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from edgepress.compress.methods.distill.distill import distill, train_control
from edgepress.compress.methods.factorize.svd import apply_ranks, plan_ranks
from edgepress.compress.methods.prune.structured import apply_pruning, plan_pruning
from edgepress.compress.model.model import Model
from edgepress.compress.recipe.recipe import Distill, Factorize, Prune, Recipe, StageOptions, Training
from edgepress.compress.tasks.base import Features, Task, batches
from edgepress.compress.training.epochs import best_of
from edgepress.targets import load
from edgepress.targets.errors import TargetBroken
from edgepress.targets.protocols import Target
from edgepress.targets.records import Description, Feeds

if TYPE_CHECKING:
    from edgepress.compress.cli.console import Console
    from edgepress.compress.tasks.workspace import Workspace

CALIBRATION_BATCH = 8


@dataclass(frozen=True)
class Context:
    """What one stage may use. There is no way from here to the test split."""

    recipe: Recipe
    workspace: Workspace
    scratch: Path
    cache_folder: Path
    console: Console
    stage: str

    @property
    def seed(self) -> int:
        return self.recipe.seed

    @property
    def task(self) -> Task:
        return self.workspace.task

    @property
    def metrics(self) -> tuple[str, ...]:
        """Keys of the metrics that the run takes, the primary one first."""
        return self.workspace.metrics

    @property
    def processor(self) -> Any:
        return self.workspace.processor

    @property
    def train(self) -> Features:
        return self.workspace.train

    @property
    def validation(self) -> Features:
        return self.workspace.validation

    @property
    def calibration(self) -> Features:
        return self.workspace.calibration

    @property
    def teacher(self) -> Model:
        return self.workspace.teacher

    @property
    def kept_layers(self) -> tuple[int, ...] | None:
        """The teacher's layers that the student was made of, where the recipe names them."""
        layers = self.recipe.student.layers
        return layers if isinstance(layers, tuple) else None

    def describe(self, model: Model) -> Description:
        """Class names and image normalisation, as they travel with an artifact."""
        return self.task.describe(self.processor).model_copy(update={"labels": model.description.labels})

    def target(self, name: str) -> Target:
        """A target of the recipe, with its options."""
        return load(name, self.recipe.target_options.get(name))

    @cached_property
    def clock_target(self) -> str:
        """Where stages are timed: the recipe's first target that runs here, else the framework itself."""
        return next(filter(self._runs_here, self.recipe.targets), "pytorch")

    def _runs_here(self, name: str) -> bool:
        try:
            return self.target(name).probe().state == "available"
        except TargetBroken:
            if len(self.recipe.targets) == 1:
                raise
            return False  # its own row tells of it

    def title(self, what: str) -> str:
        """How the progress of `what` is called, e.g. `prune: recovery`."""
        return self.stage if what == self.stage else f"{self.stage}: {what}"

    def teacher_validation_logits(self) -> np.ndarray:
        """`[rows, classes]` on the validation split, in torch, fp32; computed once a run."""
        return self.workspace.teacher_validation_logits

    def calibration_batches(self, model: Model) -> list[Feeds]:
        """The calibration rows as feeds of 8 rows of similar length, the same for each stage and target."""
        return [model.signature.select(feeds) for _, feeds in batches(self.calibration, CALIBRATION_BATCH)]

    def calibration_labels(self) -> list[np.ndarray]:
        """Labels `[batch]` of `calibration_batches`."""
        return [self.calibration.labels[index] for index, _ in batches(self.calibration, CALIBRATION_BATCH)]


@dataclass(frozen=True)
class Outcome:
    """A stage's model, what the report says about how it came to be, and the control arm where one was asked for."""

    model: Model
    details: dict[str, object]
    control: Model | None = None


def run_distill(model: Model, options: Distill, context: Context) -> Outcome:
    trained, details = distill(model, options, context)
    if not options.control:
        return Outcome(trained, details)
    control, history = train_control(model, options, context)
    details["control_epochs"] = [epoch.model_dump() for epoch in history.epochs]
    details["control_validation"] = history.best
    details["distilled_minus_control"] = round(best_of(_epochs(details), context.metrics[0]) - history.best, 6)
    return Outcome(trained, details, control)


def _epochs(details: dict[str, object]) -> Sequence[float]:
    """The primary metric on validation data after each epoch."""
    return [epoch["validation"] for epoch in cast("list[dict[str, float]]", details["epochs"])]


def run_prune(model: Model, options: Prune, context: Context) -> Outcome:
    plan = plan_pruning(model, options, context.calibration_batches(model), context.calibration_labels())
    pruned = apply_pruning(model, plan)
    return _recovered(pruned, options.recover if plan.changes else None, context, {"plan": plan.describe()})


def run_factorize(model: Model, options: Factorize, context: Context) -> Outcome:
    plan = plan_ranks(model, options, context.calibration_batches(model))
    factorized = apply_ranks(model, plan)
    return _recovered(factorized, options.recover if plan.changes else None, context, {"plan": plan.describe()})


def _recovered(model: Model, recover: Training | None, context: Context, details: dict[str, object]) -> Outcome:
    """Recovery training under the recipe's own distillation (its logits and labels; layers may no longer match).

    A plan that changed nothing gets none: training would hide it.
    """
    if recover is None:
        return Outcome(model, details)
    given = next((stage for stage in context.recipe.stages if isinstance(stage, Distill)), Distill())
    options = given.model_copy(update={"training": recover, "hidden": 0.0, "attention": 0.0, "control": False})
    trained, training = distill(model, options, context, "recovery")
    return Outcome(trained, details | {"recovery": training})


STAGES: dict[type[StageOptions], Callable[[Model, Any, Context], Outcome]] = {
    Distill: run_distill,
    Prune: run_prune,
    Factorize: run_factorize,
}
