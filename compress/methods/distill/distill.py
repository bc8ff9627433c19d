"""Knowledge distillation: the student learns the teacher's logits, hidden states and attention.

References: arXiv 1503.02531 (softened logits), 1909.10351 (hidden states and attention through a layer map).
"""

from __future__ import annotations

from typing import cast

import torch

from edgepress.compress.methods.base import Applied
from edgepress.compress.methods.data import Data, Run
from edgepress.compress.methods.distill.objective import DistillationObjective, layer_map, needs_layers, needs_of
from edgepress.compress.methods.distill.options import Distill
from edgepress.compress.methods.distill.terms.base import Compared
from edgepress.compress.model.model import Model
from edgepress.compress.tasks.base import Features
from edgepress.compress.training.epochs import History, best_of
from edgepress.compress.training.fit import TrainingJob, fit
from edgepress.compress.training.precision import settled
from edgepress.compress.training.teacher_cache import Wanted, as_tokens
from edgepress.targets.errors import StageError
from edgepress.targets.records import Record


class DistillationPlan(Record):
    """How the student is to follow the teacher.

    Args:
        options: weights of the terms, temperature and training, its precision settled.
        pairs: (student's, teacher's) hidden states that are compared, 0 the embedding; empty where none are.
        widths: for each pair the widths (student's, teacher's).
        wanted: what is kept of the teacher.
    """

    options: Distill
    pairs: tuple[tuple[int, int], ...]
    widths: tuple[tuple[int, int], ...]
    wanted: Wanted

    @property
    def changes(self) -> bool:
        """A training always does."""
        return True

    def describe(self) -> str:
        asked = self.options
        terms = ", ".join(f"{weight:g} * {name}" for name, weight in asked.weights.items())
        lines = [f"T={asked.temperature:g}, alpha={asked.alpha:g}: {terms}"]
        told = zip(self.pairs, self.widths, strict=True)
        lines += [f"state {mine} follows {theirs} (width {own} -> {wide})" for (mine, theirs), (own, wide) in told]
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.describe()


@torch.inference_mode()
def _probe(model: Model, train: Features) -> list[tuple[int, int]]:
    """(tokens, width) of each hidden state, embedding first, for one real row."""
    feeds = {n: torch.from_numpy(value) for n, value in model.signature.select(train.batch([0])).items()}
    states = model.network.eval()(**feeds, output_hidden_states=True).hidden_states
    if states is None:
        raise StageError("distill: this architecture gives no hidden states; set hidden and attention to 0")
    shapes = [as_tokens(state).shape for state in states]
    return [(shape[1], shape[2]) for shape in shapes]


def _pairs(student: Model, options: Distill, data: Data) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """The layer map as pairs, the embeddings first, and for each pair the widths (student, teacher).

    Raises:
        StageError: two states that are to be compared have another number of positions.
    """
    if not needs_layers(options):
        return [], []
    own, wanted = _probe(student, data.train), _probe(data.teacher, data.train)
    given = options.layer_map if options.layer_map is not None else data.teacher_layers
    if given is not None and len(given) != len(own) - 1 and options.layer_map is None:
        given = None
    pairs = [(0, 0), *layer_map(len(own) - 1, len(wanted) - 1, given)]
    if own[0][0] != wanted[0][0]:
        del pairs[0]  # images cut into other patches: there is no embedding to compare
    for mine, theirs in pairs:
        if own[mine][0] != wanted[theirs][0]:
            raise StageError(
                f"distill: hidden state {mine} of the student has {own[mine][0]} positions, state {theirs} of the "
                f"teacher has {wanted[theirs][0]}. Set distill.layer_map to layers of equal size, or hidden to 0."
            )
    return pairs, [(own[mine][1], wanted[theirs][1]) for mine, theirs in pairs]


def plan_distillation(model: Model, options: Distill, data: Data) -> DistillationPlan:
    """Which states of `model`, the student, follow which of the teacher's, and what of the teacher must be kept.

    Raises:
        StageError: two states that are to be compared have another number of positions, or there are none.
    """
    pairs, widths = _pairs(model, options, data)
    training = settled(options.training)
    wanted = needs_of(options, Compared(pairs, widths), training.precision)
    settled_options = options.model_copy(update={"training": training})
    return DistillationPlan(options=settled_options, pairs=tuple(pairs), widths=tuple(widths), wanted=wanted)


def apply_distillation(model: Model, plan: DistillationPlan, data: Data, run: Run) -> Applied:
    """The trained student, and the control arm where the recipe asks for it."""
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
    model: Model, plan: DistillationPlan, data: Data, run: Run, title: str = "distill"
) -> tuple[Model, dict[str, object]]:
    """Train `model`, the student, to follow the teacher.

    Args:
        model: the student as it starts.
        plan: of this very student.
        data: training and validation rows, and the teacher.
        run: seed, scratch and progress.
        title: what lineage and progress call it.

    Returns:
        The trained student, and what the report says of the training.
    """
    options = plan.options
    torch.manual_seed(run.seed)
    objective = DistillationObjective(options, Compared(plan.pairs, plan.widths))
    with data.teacher_outputs(plan.wanted, run) as cache:
        job = TrainingJob(options.training, run.scratch / "student", run.seed, objective, cache.rows, data.metrics[0])
        trained, history = fit(model, job, data.train, data.validation, run.progress, run.title(title))
    details: dict[str, object] = {
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


def train_control(model: Model, plan: DistillationPlan, data: Data, run: Run) -> tuple[Model, History]:
    """The control arm: the same student, the same steps, batches and seed, but labels alone."""
    job = TrainingJob(plan.options.training, run.scratch / "control", run.seed, metric=data.metrics[0])
    trained, history = fit(model, job, data.train, data.validation, run.progress, run.title("control (no teacher)"))
    return trained.after("control", f"labels only, {history.steps} steps"), history
