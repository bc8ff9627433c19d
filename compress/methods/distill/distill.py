"""Knowledge distillation: the student learns the teacher's logits, hidden states and attention.

References: arXiv 1503.02531 (softened logits), 1909.10351 (hidden states and attention through a layer map).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from edgepress.compress.methods.distill.objective import DistillationObjective, layer_map
from edgepress.compress.model.model import Model
from edgepress.compress.recipe.recipe import Distill
from edgepress.compress.training.epochs import History
from edgepress.compress.training.fit import fit
from edgepress.compress.training.precision import settled
from edgepress.compress.training.teacher_cache import TeacherCache, Wanted, as_tokens
from edgepress.targets.errors import StageError

if TYPE_CHECKING:
    from edgepress.compress.methods.context import Context


@torch.inference_mode()
def _probe(model: Model, context: Context) -> list[tuple[int, int]]:
    """(tokens, width) of each hidden state, embedding first, for one real row."""
    feeds = {n: torch.from_numpy(value) for n, value in model.signature.select(context.train.batch([0])).items()}
    states = model.network.eval()(**feeds, output_hidden_states=True).hidden_states
    if states is None:
        raise StageError("distill: this architecture gives no hidden states; set hidden and attention to 0")
    shapes = [as_tokens(state).shape for state in states]
    return [(shape[1], shape[2]) for shape in shapes]


def _pairs(student: Model, options: Distill, context: Context) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """The layer map as pairs, the embeddings first, and for each pair the widths (student, teacher).

    Raises:
        StageError: two states that are to be compared have another number of positions.
    """
    if not options.hidden and not options.attention:
        return [], []
    own, wanted = _probe(student, context), _probe(context.teacher, context)
    given = options.layer_map if options.layer_map is not None else context.kept_layers
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


def distill(
    model: Model, options: Distill, context: Context, title: str = "distill"
) -> tuple[Model, dict[str, object]]:
    """Train `model` (the student) to follow `context.teacher`; returns it and what the report says of the training."""
    pairs, widths = _pairs(model, options, context)
    training = settled(options.training)
    wanted = Wanted(
        hidden=tuple(theirs for _, theirs in pairs) if options.hidden else (),
        attention=tuple(theirs for mine, theirs in pairs if mine) if options.attention else (),
        precision="bf16" if training.precision == "bf16" else "fp32",
    )
    cache = TeacherCache.open(context.cache_folder, context.teacher, context.train, wanted, context.console)
    torch.manual_seed(context.seed)
    objective = DistillationObjective(options, [mine for mine, _ in pairs], widths)
    trained, history = fit(
        model, context.train, context.validation, training, context.scratch / "student", context.console,
        context.title(title), context.seed, objective, cache.rows, context.metrics[0],
    )  # fmt: skip
    details: dict[str, object] = {
        "epochs": [epoch.model_dump() for epoch in history.epochs],
        "steps": history.steps,
        "precision": history.precision,
        "layer_map": pairs,
        "teacher_rows_per_second": round(cache.card.rows_per_second, 1),
        "teacher_cache_bytes": cache.card.bytes,
    }
    summary = (
        f"T={options.temperature:g}, alpha={options.alpha:g}, {history.steps} steps, best epoch {history.best:.4f}"
    )
    return trained.after(title, summary), details


def train_control(model: Model, options: Distill, context: Context) -> tuple[Model, History]:
    """The control arm: the same student, the same steps, batches and seed, but labels alone."""
    trained, history = fit(
        model, context.train, context.validation, options.training, context.scratch / "control", context.console,
        context.title("control (no teacher)"), context.seed, metric=context.metrics[0],
    )  # fmt: skip
    return trained.after("control", f"labels only, {history.steps} steps"), history
