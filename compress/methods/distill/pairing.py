"""Which hidden states of student and teacher are compared, found by asking both networks for one real row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from edgepress.compress.methods.data import Data
from edgepress.compress.methods.distill.objective import layer_map, needs_every_layer, needs_layers, outputs_of
from edgepress.compress.methods.distill.options import Distill
from edgepress.compress.model.model import Model
from edgepress.compress.network.hidden_states import (
    Pair,
    State,
    attention_maps,
    by_stage,
    hidden_states,
    is_hierarchical,
    pair,
    state_of,
)
from edgepress.compress.tasks.base import Features
from edgepress.targets.errors import StageError


def pairs_of(student: Model, options: Distill, data: Data) -> list[Pair]:
    """Which states of student and teacher are compared: by distill.layer_map, else stage by stage where one of them
    works at falling resolutions, else layer by layer with the embeddings first. None where no term compares layers.

    Args:
        student: as it starts.
        options: the terms, and the layer map where the recipe gives one.
        data: the training rows and the teacher.

    Raises:
        StageError: two states that are to be compared have another number of positions and no grid in common, or a
            network gives no hidden states or attention maps that could be compared.
    """
    if not needs_layers(options):
        return []
    asked = {"output_hidden_states": True} | outputs_of(options.weights)
    own, wanted = _probe(student, asked, data.train), _probe(data.teacher, asked, data.train)
    given = options.layer_map if options.layer_map is not None else data.teacher_layers
    # The student was cut from these layers of the teacher, then pruned of some: their old places say nothing of the
    # rest.
    if given is not None and len(given) != len(own) - 1 and options.layer_map is None:
        given = None
    if options.layer_map is None and (is_hierarchical(own) or is_hierarchical(wanted)):
        numbers = by_stage(own, wanted)
    else:
        numbers = [(0, 0), *layer_map(len(own) - 1, len(wanted) - 1, given)]
        if own[0].positions != wanted[0].positions:
            del numbers[0]  # images cut into other patches: there is no embedding to compare
    if not needs_every_layer(options):
        numbers = numbers[-1:]  # the others would only fill the cache of the teacher's outputs
    return [pair(mine, theirs, own, wanted) for mine, theirs in numbers]


@torch.no_grad()  # no inference mode: networks keep tensors of this pass (BEiT) and train with them later
def _probe(model: Model, asked: dict[str, bool], train: Features) -> list[State]:
    """The shapes of all hidden states, embedding first, for one real row.

    Raises:
        StageError: the network gives no hidden states or attention maps, or none that belong to its tokens.
    """
    feeds = {n: torch.from_numpy(value) for n, value in model.signature.select(train.batch([0])).items()}
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
        own = "name its modules in teacher.states and student.states, or " if hasattr(model.network, "own") else ""
        raise StageError(f"distill: {kind} gives no hidden states; {own}set hidden and attention to 0")
    shapes = _shapes(states, feeds, kind)
    if asked.get("output_attentions"):
        _check_attention(kind, attention_maps(output) or (), shapes)
    return shapes


def _shapes(states: Sequence[torch.Tensor], feeds: Mapping[str, torch.Tensor], kind: str) -> list[State]:
    """The shapes of the states that a network of this kind made of one row, tokens, an image or both."""
    image = next((value for value in feeds.values() if value.ndim == 4), None)
    grid = (image.shape[2], image.shape[3]) if image is not None else None
    shapes, mask = [state_of(state, grid) for state in states], feeds.get("attention_mask")
    if mask is not None and (other := next((i for i, s in enumerate(shapes) if s.positions != mask.shape[1]), None)):
        raise StageError(
            f"distill: hidden state {other} of {kind} has {shapes[other].positions} positions for {mask.shape[1]} "
            f"tokens: its padding cannot be told. Set hidden and attention to 0."
        )
    return shapes


def _check_attention(kind: str, maps: Sequence[torch.Tensor | None], states: Sequence[State]) -> None:
    wanted = [(1, state.positions, state.positions) for state in states[1:]]
    shapes = [tuple(values.shape) for values in maps if values is not None and values.ndim == 4]
    if [(rows, queries, keys) for rows, _, queries, keys in shapes] != wanted:
        raise StageError(
            f"distill: {kind} does not give every layer's attention from each token to each; set attention to 0"
        )
