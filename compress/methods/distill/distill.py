"""Knowledge distillation: the student learns the teacher's logits, hidden states and attention.

References: arXiv 1503.02531 (softened logits), 1909.10351 (hidden states and attention through a layer map).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch

from edgepress.compress.methods.base import Applied
from edgepress.compress.methods.data import Data, Run
from edgepress.compress.methods.distill.objective import (
    DistillationObjective,
    check_kind,
    needs_layers,
    needs_of,
    without_labels,
)
from edgepress.compress.methods.distill.options import Distill
from edgepress.compress.methods.distill.pairing import pairs_of
from edgepress.compress.methods.distill.terms.base import Compared
from edgepress.compress.model.model import Model
from edgepress.compress.network.hidden_states import Grid, State
from edgepress.compress.training.epochs import History, best_of
from edgepress.compress.training.fit import TrainingJob, fit
from edgepress.compress.training.hooks import Hook
from edgepress.compress.training.precision import with_precision
from edgepress.compress.training.teacher_cache import TeacherCache, Wanted
from edgepress.targets.errors import StageError
from edgepress.targets.records import Record

if TYPE_CHECKING:
    from edgepress.compress.tasks.base import Features


class DistillationPlan(Record):
    """How the student is to follow the teacher.

    Args:
        options: weights of the terms, temperature and training, its precision chosen.
        pairs: (student's, teacher's) hidden states that are compared, 0 the embedding; empty where none are.
        widths: for each pair the widths (student's, teacher's).
        places: for each pair the student's state and the grid that both are averaged to; None compares all positions.
        wanted: what is kept of the teacher.
    """

    options: Distill
    pairs: tuple[tuple[int, int], ...]
    widths: tuple[tuple[int, int], ...]
    places: tuple[tuple[State, Grid | None], ...]
    wanted: Wanted

    @property
    def changes(self) -> bool:
        """A training always does."""
        return True

    def describe(self) -> str:
        asked = self.options
        terms = ", ".join(f"{weight:g} * {name}" for name, weight in asked.weights.items())
        lines = [f"T={asked.temperature:g}, alpha={asked.alpha:g}: {terms}"]
        matched = zip(self.pairs, self.widths, strict=True)
        lines += [f"state {mine} follows {theirs} (width {own} -> {wide})" for (mine, theirs), (own, wide) in matched]
        return "\n".join(lines)

    @property
    def compared(self) -> Compared:
        """What the terms that compare layers are given."""
        return Compared(self.pairs, self.widths, self.places)

    def __str__(self) -> str:
        return self.describe()


def plan_distillation(model: Model, options: Distill, data: Data) -> DistillationPlan:
    """Which states of `model`, the student, follow which of the teacher's, and what of the teacher must be kept.

    Args:
        options: what is distilled, with which weights and training.
        data: the teacher, and rows to see the states on.

    Raises:
        StageError: two states that are to be compared have another number of positions and no grid in common, or there
            are none.
    """
    check_kind(options, data.task.outputs, data.task.name)
    if data.task.unlabelled:
        options = without_labels(options, data.task.name)
    if options.layers_first and not needs_layers(options):
        raise StageError(
            "distill.layers_first trains the terms that compare layers first, and none has a weight: set hidden, "
            "attention or one of terms (cosine, token_relations), or leave layers_first out"
        )
    pairs = pairs_of(model, options, data)
    training = with_precision(options.training)
    numbers = tuple((pair.student, pair.teacher) for pair in pairs)
    widths = tuple((pair.own.width, pair.wanted.width) for pair in pairs)
    places = tuple((pair.own, pair.grid) for pair in pairs)
    wanted = needs_of(options, Compared(numbers, widths, places), training.precision, data.task.outputs)
    with_training = options.model_copy(update={"training": training})
    return DistillationPlan(options=with_training, pairs=numbers, widths=widths, places=places, wanted=wanted)


def apply_distillation(model: Model, plan: DistillationPlan, data: Data, run: Run) -> Applied:
    """The trained student, and the control arm where the recipe asks for it.

    Args:
        model: the student as it starts.
        plan: of this very student.
        data: training and validation rows, and the teacher.
        run: seed, scratch folder and progress.
    """
    trained, details = distill(model, plan, data, run)
    if not plan.options.control:
        return Applied(trained, details)
    control, history = train_control(model, plan, data, run)
    details["control_epochs"] = [epoch.model_dump() for epoch in history.epochs]
    details["control_validation"] = history.best
    values = [epoch["validation"] for epoch in cast("list[dict[str, float]]", details["epochs"])]
    best = best_of(values, history.metric)
    details["distilled_minus_control"] = round(best - history.best, 6)
    return Applied(trained, details, control)


def distill(
    model: Model,
    plan: DistillationPlan,
    data: Data,
    run: Run,
    title: str = "distill",
    hooks: tuple[Hook, ...] = (),
) -> tuple[Model, dict[str, object]]:
    """Train `model`, the student, to follow the teacher.

    Args:
        model: the student as it starts.
        plan: of this very student.
        data: training and validation rows, and the teacher.
        run: seed, scratch and progress.
        title: what lineage and progress call it.
        hooks: what another method does while it trains.

    Returns:
        The trained student, and what the report says of the training.
    """
    options = plan.options
    # The projections between widths are drawn here, so a resumed run must draw the same.
    torch.manual_seed(run.seed)
    details: dict[str, object] = {}
    train = data.rewritten(options.written, run) if options.written else data.train
    with data.teacher_outputs(plan.wanted, run, train) as cache:
        if options.layers_first:
            model, details["layers_first"] = _layers_first(model, plan, data, train, run, cache)
        # After a first phase of layers alone the second trains the prediction alone, as in the paper; else all at once.
        layers = False if options.layers_first else None
        objective = DistillationObjective(options, plan.compared, layers, data.task.outputs)
        place = run.scratch / "student"
        job = TrainingJob(options.training, place, run.seed, objective, cache.rows, data.metrics[0], hooks=hooks)
        trained, history = fit(model, job, train, data.validation, run.progress, run.title(title))
    details |= {
        "epochs": [epoch.model_dump() for epoch in history.epochs],
        "steps": history.steps,
        "precision": history.precision,
        "layer_map": list(plan.pairs),
        "teacher_rows_per_second": round(cache.card.rows_per_second, 1),
        "teacher_cache_bytes": cache.card.bytes,
    }
    summary = (
        f"T={options.temperature:g}, alpha={options.alpha:g}, {history.steps} steps, best epoch {history.best:.4f}"
    )
    return trained.after(title, summary), details


def _layers_first(
    model: Model, plan: DistillationPlan, data: Data, train: Features, run: Run, cache: TeacherCache
) -> tuple[Model, list[dict[str, object]]]:
    """TinyBERT's first phase (arXiv 1909.10351, section 3): what lies between embedding and answer, nothing else.

    Args:
        model: the student as it starts.
        plan: of this very student.
        data: validation rows.
        train: training rows.
        run: seed, scratch folder and progress.
        cache: the teacher's outputs on the training rows.

    Returns:
        The student after the last epoch, and the epochs.
    """
    training = plan.options.training.model_copy(update={"epochs": plan.options.layers_first})
    objective = DistillationObjective(plan.options, plan.compared, True, data.task.outputs)
    # The head has learned nothing yet, so the metric says nothing of the epochs.
    job = TrainingJob(training, run.scratch / "layers", run.seed, objective, cache.rows, data.metrics[0], keep="last")
    trained, history = fit(model, job, train, data.validation, run.progress, run.title("layers first"))
    return trained, [epoch.model_dump(include={"epoch", "loss", "seconds"}) for epoch in history.epochs]


def train_control(model: Model, plan: DistillationPlan, data: Data, run: Run) -> tuple[Model, History]:
    """The control arm: the same student, the same steps, batches and seed, but labels alone.

    Args:
        model: the student as it starts.
        plan: only its training options are read.
        data: training and validation rows.
        run: seed, scratch folder and progress.
    """
    job = TrainingJob(plan.options.training, run.scratch / "control", run.seed, metric=data.metrics[0])
    trained, history = fit(model, job, data.train, data.validation, run.progress, run.title("control (no teacher)"))
    return trained.after("control", f"labels only, {history.steps} steps"), history
