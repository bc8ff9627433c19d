"""Knowledge distillation: the student learns the teacher's logits, hidden states and attention.

References: arXiv 1503.02531 (softened logits), 1909.10351 (hidden states and attention through a layer map).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from edgepress.compress.methods.distill.objective import DistillationObjective, layer_map
from edgepress.compress.model.hidden_states import (
    Pair,
    State,
    attention_maps,
    by_stage,
    hidden_states,
    is_hierarchical,
    pair,
    state_of,
)
from edgepress.compress.model.model import Model
from edgepress.compress.recipe.recipe import Distill
from edgepress.compress.training.epochs import History
from edgepress.compress.training.fit import fit
from edgepress.compress.training.precision import settled
from edgepress.compress.training.teacher_cache import TeacherCache, Wanted
from edgepress.targets.errors import StageError

if TYPE_CHECKING:
    from edgepress.compress.methods.context import Context


@torch.no_grad()  # no inference mode: networks keep tensors of this pass (BEiT) and train with them later
def _probe(model: Model, options: Distill, context: Context) -> list[State]:
    """The shapes of all hidden states, embedding first, for one real row.

    Raises:
        StageError: the network gives no hidden states or attention maps, or none that belong to its tokens.
    """
    feeds = {n: torch.from_numpy(value) for n, value in model.signature.select(context.train.batch([0])).items()}
    asked = {"output_hidden_states": True} | ({"output_attentions": True} if options.attention else {})
    kind = type(model.network).__name__
    if "input_ids" in feeds and "attention_mask" not in feeds:
        raise StageError(
            f"distill: {kind} takes no attention_mask, so what it makes of a text depends on the padding of its batch; "
            f"set hidden and attention to 0"
        )
    try:
        output = model.network.eval()(**feeds, **asked)
    except TypeError as fault:
        raise StageError(
            f"distill: {kind} cannot be asked for its hidden states; set hidden and attention to 0"
        ) from fault
    states = hidden_states(output)
    if states is None:
        raise StageError("distill: this architecture gives no hidden states; set hidden and attention to 0")
    first = next(iter(feeds.values()))
    shapes = [state_of(state, (first.shape[2], first.shape[3]) if first.ndim == 4 else None) for state in states]
    if first.ndim == 2 and (other := next((i for i, s in enumerate(shapes) if s.positions != first.shape[1]), None)):
        raise StageError(
            f"distill: hidden state {other} of {kind} has {shapes[other].positions} positions for {first.shape[1]} "
            f"tokens: its padding cannot be told. Set hidden and attention to 0."
        )
    if options.attention:
        _check_attention(kind, attention_maps(output) or (), shapes)
    return shapes


def _check_attention(kind: str, maps: Sequence[torch.Tensor | None], states: Sequence[State]) -> None:
    wanted = [(1, state.positions, state.positions) for state in states[1:]]
    shapes = [tuple(values.shape) for values in maps if values is not None and values.ndim == 4]
    if [(rows, queries, keys) for rows, _, queries, keys in shapes] != wanted:
        raise StageError(
            f"distill: {kind} does not give every layer's attention from each token to each; set attention to 0"
        )


def _pairs(student: Model, options: Distill, context: Context) -> list[Pair]:
    """Which states of student and teacher are compared: by distill.layer_map, else stage by stage where one of them
    works at falling resolutions, else layer by layer with the embeddings first.

    Raises:
        StageError: two states that are to be compared have another number of positions and no grid in common.
    """
    if not options.hidden and not options.attention:
        return []
    own, wanted = _probe(student, options, context), _probe(context.teacher, options, context)
    given = options.layer_map if options.layer_map is not None else context.kept_layers
    if given is not None and len(given) != len(own) - 1 and options.layer_map is None:
        given = None
    if options.layer_map is None and (is_hierarchical(own) or is_hierarchical(wanted)):
        numbers = by_stage(own, wanted)
    else:
        numbers = [(0, 0), *layer_map(len(own) - 1, len(wanted) - 1, given)]
        if own[0].positions != wanted[0].positions:
            del numbers[0]  # images cut into other patches: there is no embedding to compare
    return [pair(mine, theirs, own, wanted) for mine, theirs in numbers]


def distill(
    model: Model, options: Distill, context: Context, title: str = "distill"
) -> tuple[Model, dict[str, object]]:
    """Train `model` (the student) to follow `context.teacher`; returns it and what the report says of the training."""
    pairs = _pairs(model, options, context)
    training = settled(options.training)
    wanted = Wanted(
        hidden=tuple(pair.teacher for pair in pairs) if options.hidden else (),
        grids=tuple(pair.grid for pair in pairs) if options.hidden else (),
        attention=tuple(pair.teacher for pair in pairs if pair.student) if options.attention else (),
        precision="bf16" if training.precision == "bf16" else "fp32",
    )
    cache = TeacherCache.open(context.cache_folder, context.teacher, context.train, wanted, context.console)
    torch.manual_seed(context.seed)
    widths = [(pair.own.width, pair.wanted.width) for pair in pairs]
    places = [(pair.own, pair.grid) for pair in pairs]
    objective = DistillationObjective(options, [pair.student for pair in pairs], widths, places)
    trained, history = fit(
        model, context.train, context.validation, training, context.scratch / "student", context.console,
        context.title(title), context.seed, objective, cache.rows,
    )  # fmt: skip
    details: dict[str, object] = {
        "epochs": [epoch.model_dump() for epoch in history.epochs],
        "steps": history.steps,
        "precision": history.precision,
        "layer_map": [(pair.student, pair.teacher) for pair in pairs],
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
        context.title("control (no teacher)"), context.seed,
    )  # fmt: skip
    return trained.after("control", f"labels only, {history.steps} steps"), history
