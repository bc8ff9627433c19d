"""A decoder as it runs on a device: a few tokens at a time, the keys and values of those before them handed back in.

One graph is prefill and step: with empty caches it reads a whole prompt. Weights are in the file once.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn

from edgepress.targets.errors import ModelError, told
from edgepress.targets.records import Description, Feeds, Signature, TensorSpec

Shapes = TypeVar("Shapes")

ROWS, NEW, PAST = 2, 3, 4
"""Sizes that the graph is traced with: none is 1, which a tracer takes for a constant, and no two are the same."""
UNKNOWN_CAPACITY = 2048
"""Positions, where the configuration does not say how many it has."""


class Whole(nn.Module):
    """`network` on whole rows, tokens and mask `[batch, sequence]` → logits, its positions counted by the mask as those
    of its steps are: left to itself it counts padding on the left as positions, and answers such rows otherwise."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.placed = takes_positions(network)

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        places = {"position_ids": places_of(mask)} if self.placed else {}
        logits: torch.Tensor = self.network(input_ids=tokens, attention_mask=mask, **places).logits
        return logits


class Cached(nn.Module):
    """`network` with its cache as inputs and outputs: tokens `[batch, sequence]`, mask `[batch, total]`, then keys and
    values of each layer `[batch, heads, past, width]`; gives logits `[batch, sequence, vocabulary]` and the longer keys
    and values `[batch, heads, total, width]`.

    Positions are counted by the mask, so that rows may be padded on the left.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.cache = cache_name(network)
        self.placed = takes_positions(network)

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        from transformers import DynamicCache

        tokens, mask, *past = inputs
        cache = DynamicCache()
        for layer, (keys, values) in enumerate(zip(past[::2], past[1::2], strict=True)):
            cache.update(keys, values, layer)
        places = {"position_ids": places_of(mask)[:, past[0].shape[2] :]} if self.placed else {}
        found = self.network(input_ids=tokens, attention_mask=mask, use_cache=True, **places, **{self.cache: cache})
        return (found.logits, *(part for layer in cache.layers for part in (layer.keys, layer.values)))


@dataclass(frozen=True)
class Stepping:
    """What a target exports of a decoder: the module, what it takes and gives, and feeds to trace it with."""

    module: nn.Module
    signature: Signature
    description: Description
    example: Feeds
    encoder: Stepping | None = None
    """What reads the source before the first step, once, and has no state; None of a decoder alone."""


def stepping_of(network: Any, whole: Signature, description: Description) -> Stepping:
    """The steps of a decoder, with `state` in their signature.

    Args:
        network: of a task whose outputs are next tokens.
        whole: the signature of its whole rows.
        description: what travels with it.

    Raises:
        ModelError: the network keeps no keys and values of each layer that could be handed back in (a recurrent one, or
            one whose caches are of another kind).
    """
    number_layers(network)
    shapes = read_caches(_caches, network)
    capacity = capacity_of(network.config)
    vocabulary = whole.outputs[0].shape[-1]
    past, present = [], []
    for layer, pair in enumerate(shapes):
        for kind, (heads, width) in zip(("key", "value"), pair, strict=True):
            # The names that optimum, transformers.js and ONNX Runtime's own tools know.
            past.append(_spec(f"past_key_values.{layer}.{kind}", heads, "past", width))
            present.append(_spec(f"present.{layer}.{kind}", heads, "total", width))
    signature = Signature(
        inputs=(
            TensorSpec(name="input_ids", dtype="int64", shape=("batch", "sequence")),
            TensorSpec(name="attention_mask", dtype="int64", shape=("batch", "total")),
            *past,
        ),
        outputs=(TensorSpec(name="logits", dtype="float32", shape=("batch", "sequence", vocabulary)), *present),
        bounds={
            "batch": whole.bounds["batch"],
            "sequence": (1, capacity),
            "past": (0, capacity),
            "total": (1, capacity),
        },
        state={given.name: taken.name for given, taken in zip(present, past, strict=True)},
    )
    return Stepping(Cached(network).eval(), signature, description, _example(signature))


def read_caches(read: Callable[[Any], Shapes], network: Any) -> Shapes:
    """The shapes that `read` finds of a network's keys and values.

    Raises:
        ModelError: it fails, in whatever way the network has of keeping none.
    """
    try:
        return read(network)
    except (RuntimeError, ValueError, TypeError, AttributeError, IndexError, KeyError) as fault:
        kind = type(network).__name__
        raise ModelError(
            f"{kind} gives no keys and values of each layer for a next step to take: {told(fault)}"
        ) from None


def capacity_of(config: Any) -> int:
    """Positions that a configuration has; `UNKNOWN_CAPACITY` where it does not say so, as T5's, which counts
    distances."""
    return int(getattr(config, "max_position_embeddings", None) or UNKNOWN_CAPACITY)


def places_of(mask: torch.Tensor) -> torch.Tensor:
    """Positions `[batch, sequence]` of the tokens that a mask shows, from 0; 0 at padding."""
    return (mask.cumsum(-1) - 1).clamp(min=0)


def takes_positions(network: nn.Module) -> bool:
    """Whether the network is told its positions; BLOOM counts distances instead."""
    return "position_ids" in inspect.signature(network.forward).parameters


def cache_name(network: nn.Module) -> str:
    """What the network's forward calls its cache: transformers 5.24 says `cache`, and warns of the name that it had."""
    return "cache" if "cache" in inspect.signature(network.forward).parameters else "past_key_values"


def number_layers(network: nn.Module) -> None:
    """Number attention layers one after the other, as a cache counts them: those of a student that has every second
    layer of its teacher still have the teacher's numbers."""
    numbered = [module for module in network.modules() if isinstance(getattr(module, "layer_idx", None), int)]
    order = {number: place for place, number in enumerate(dict.fromkeys(module.layer_idx for module in numbered))}
    for module in numbered:
        setattr(module, "layer_idx", order[module.layer_idx])  # noqa: B010  # a Module's attributes have no types


@torch.no_grad()
def _caches(network: Any) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Heads and width of keys and of values, layer by layer; those of a pruned layer are its own."""
    from transformers import DynamicCache

    device, cache = next(network.parameters()).device, DynamicCache()
    tokens = torch.zeros(ROWS, NEW, dtype=torch.int64, device=device)
    network.eval()(
        input_ids=tokens, attention_mask=torch.ones_like(tokens), use_cache=True, **{cache_name(network): cache}
    )
    pairs = [(layer.keys, layer.values) for layer in cache.layers]
    if not pairs or any(part.ndim != 4 or part.shape[2] != NEW for pair in pairs for part in pair):
        raise ValueError("its caches are not [batch, heads, positions, width]")
    return [((keys.shape[1], keys.shape[3]), (values.shape[1], values.shape[3])) for keys, values in pairs]


def _spec(name: str, heads: int, positions: str, width: int) -> TensorSpec:
    return TensorSpec(name=name, dtype="float32", shape=("batch", heads, positions, width))


def _example(signature: Signature) -> dict[str, np.ndarray]:
    arrays = signature.zeros(batch=ROWS, sequence=NEW, past=PAST, total=PAST + NEW)
    arrays["attention_mask"] += 1
    # Padding on the left: a tracer drops a mask that is all ones, and padded rows are then wrong without an error.
    arrays["attention_mask"][0, :1] = 0
    return arrays
