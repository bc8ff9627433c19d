"""An encoder-decoder as it runs on a device: the source is read once, then each step takes a few tokens and hands the
keys and values of those before them back in.

What the decoder attends to of the source are keys and values too. They depend on no token of the target, so they are
made with the encoder, once for each text, and not in each step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from edgepress.compress.model.stepping import (
    NEW,
    PAST,
    ROWS,
    Stepping,
    Whole,
    cache_name,
    capacity_of,
    number_layers,
    read_caches,
    stepping_of,
)
from edgepress.targets.records import Description, Signature, TensorSpec

SOURCE = 5
"""Tokens of the source that the graphs are traced with, another number than every other size."""
Shape = tuple[int, int]
"""Heads and width of keys or of values."""


class WholePair(nn.Module):
    """`network` on whole rows: source tokens and their mask `[batch, sequence]`, and the tokens before each target
    token, `[batch, sequence]` → logits `[batch, sequence, vocabulary]`."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.network(
            input_ids=tokens, attention_mask=mask, decoder_input_ids=before, use_cache=False
        ).logits
        return logits


class Encoder(nn.Module):
    """The part of `network` that reads a source, tokens and mask `[batch, source]` → the keys and values
    `[batch, heads, source, width]` that each layer of the decoder attends to."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.cache = cache_name(network)

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, ...]:
        cache = _empty_cache()
        # Whatever the decoder answers to this token is nobody's input, and no exporter keeps it.
        first = torch.zeros_like(tokens[:, :1])
        self.network(
            input_ids=tokens, attention_mask=mask, decoder_input_ids=first, use_cache=True, **{self.cache: cache}
        )
        return tuple(part for layer in cache.cross_attention_cache.layers for part in (layer.keys, layer.values))


class CachedPair(nn.Module):
    """The decoder of `network` with its caches as inputs and outputs: tokens `[batch, sequence]`, the source's mask
    `[batch, source]`, then of each layer keys and values of the tokens before `[batch, heads, past, width]` and of the
    source `[batch, heads, source, width]`; gives logits `[batch, sequence, vocabulary]` and the longer keys and values
    of the tokens `[batch, heads, total, width]`.

    All rows begin at one place, so that no token of the target is padding and needs a mask.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.cache = cache_name(network)
        self.width = int(network.config.hidden_size)  # type: ignore[arg-type,union-attr]

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        from transformers.modeling_outputs import BaseModelOutput

        tokens, mask, *past = inputs
        cache = _empty_cache()
        for layer in range(len(past) // 4):
            keys, values, source_keys, source_values = past[4 * layer : 4 * layer + 4]
            cache.self_attention_cache.update(keys, values, layer)
            cache.cross_attention_cache.update(source_keys, source_values, layer)
            cache.is_updated[layer] = True
        # Only its size is looked at, since every layer has the source's keys and values.
        states = mask[:, :, None].to(past[0].dtype).expand(-1, -1, self.width)
        found = self.network(
            encoder_outputs=BaseModelOutput(last_hidden_state=states),
            attention_mask=mask,
            decoder_input_ids=tokens,
            use_cache=True,
            **{self.cache: cache},
        )
        own = cache.self_attention_cache.layers
        return (found.logits, *(part for layer in own for part in (layer.keys, layer.values)))


def whole_of(network: nn.Module) -> nn.Module:
    """What answers whole rows of a decoder or an encoder-decoder: `Whole` or `WholePair`."""
    return WholePair(network) if reads_source(network) else Whole(network)


def steps_of(network: Any, whole: Signature, description: Description) -> Stepping:
    """The steps of a decoder or an encoder-decoder; see `stepping_of` for arguments and errors."""
    return (pair_stepping if reads_source(network) else stepping_of)(network, whole, description)


def reads_source(network: Any) -> bool:
    """Whether a network has an encoder, whose tokens its decoder attends to."""
    return bool(getattr(network.config, "is_encoder_decoder", False))


def pair_stepping(network: Any, whole: Signature, description: Description) -> Stepping:
    """The steps of an encoder-decoder and, as their `encoder`, what reads the source before them.

    Args:
        network: of a task whose outputs are next tokens of a target.
        whole: the signature of its whole rows.
        description: what travels with it.

    Raises:
        ModelError: the network keeps no keys and values of each layer that could be handed back in.
    """
    number_layers(network.get_decoder())
    shapes = read_caches(_caches, network)
    capacity = capacity_of(network.config)
    encode = _encode_signature(shapes, whole, capacity)
    step = _step_signature(shapes, whole, capacity)
    encoder = Stepping(Encoder(network).eval(), encode, description, _encode_example(encode))
    return Stepping(CachedPair(network).eval(), step, description, _step_example(step), encoder)


def _encode_signature(shapes: Sequence[Sequence[Shape]], whole: Signature, capacity: int) -> Signature:
    specs = [
        _spec(f"present.{layer}.encoder.{kind}", shape, "source")
        for layer, (_, _, *pair) in enumerate(shapes)
        for kind, shape in zip(("key", "value"), pair, strict=True)
    ]
    tokens = (_tokens("input_ids", "source"), _tokens("attention_mask", "source"))
    bounds = {"batch": whole.bounds["batch"], "source": (1, capacity)}
    return Signature(inputs=tokens, outputs=tuple(specs), bounds=bounds)


def _step_signature(shapes: Sequence[Sequence[Shape]], whole: Signature, capacity: int) -> Signature:
    # The names that optimum, transformers.js and ONNX Runtime's own tools know.
    past, present, state = [], [], {}
    for layer, (key, value, source_key, source_value) in enumerate(shapes):
        for kind, shape in (("key", key), ("value", value)):
            name = f"{layer}.decoder.{kind}"
            past.append(_spec(f"past_key_values.{name}", shape, "past"))
            present.append(_spec(f"present.{name}", shape, "total"))
            state[f"present.{name}"] = f"past_key_values.{name}"
        for kind, shape in (("key", source_key), ("value", source_value)):
            past.append(_spec(f"past_key_values.{layer}.encoder.{kind}", shape, "source"))
    logits = TensorSpec(name="logits", dtype="float32", shape=("batch", "sequence", whole.outputs[0].shape[-1]))
    bounds = {"batch": whole.bounds["batch"], "source": (1, capacity)}
    bounds |= {"sequence": (1, capacity), "past": (0, capacity), "total": (1, capacity)}
    tokens = (_tokens("input_ids", "sequence"), _tokens("encoder_attention_mask", "source"))
    return Signature(inputs=(*tokens, *past), outputs=(logits, *present), bounds=bounds, state=state)


@torch.no_grad()
def _caches(network: Any) -> list[list[Shape]]:
    """Heads and width of keys and values of each layer of the decoder, its own and those of the source."""
    device, cache = next(network.parameters()).device, _empty_cache()
    source = torch.zeros(ROWS, SOURCE, dtype=torch.int64, device=device)
    network.eval()(
        input_ids=source, attention_mask=torch.ones_like(source), decoder_input_ids=source[:, :NEW], use_cache=True,
        **{cache_name(network): cache},
    )  # fmt: skip
    own, sources = (part.layers for part in (cache.self_attention_cache, cache.cross_attention_cache))
    found = [[one.keys, one.values, other.keys, other.values] for one, other in zip(own, sources, strict=True)]
    sizes = (NEW, NEW, SOURCE, SOURCE)
    pairs = [pair for row in found for pair in zip(row, sizes, strict=True)]
    if not pairs or any(part.ndim != 4 or part.shape[2] != size for part, size in pairs):
        raise ValueError("its caches are not [batch, heads, positions, width]")
    return [[(part.shape[1], part.shape[3]) for part in row] for row in found]


def _empty_cache() -> Any:
    from transformers import DynamicCache, EncoderDecoderCache

    return EncoderDecoderCache(DynamicCache(), DynamicCache())


def _spec(name: str, shape: Shape, positions: str) -> TensorSpec:
    return TensorSpec(name=name, dtype="float32", shape=("batch", shape[0], positions, shape[1]))


def _tokens(name: str, size: str) -> TensorSpec:
    return TensorSpec(name=name, dtype="int64", shape=("batch", size))


def _encode_example(signature: Signature) -> dict[str, np.ndarray]:
    arrays = signature.zeros(batch=ROWS, source=SOURCE)
    arrays["attention_mask"] += _padded_mask(arrays["attention_mask"])
    return arrays


def _step_example(signature: Signature) -> dict[str, np.ndarray]:
    arrays = signature.zeros(batch=ROWS, source=SOURCE, sequence=NEW, past=PAST)
    arrays["encoder_attention_mask"] += _padded_mask(arrays["encoder_attention_mask"])
    return arrays


def _padded_mask(like: np.ndarray) -> np.ndarray:
    """Padding behind the first row: a tracer drops a mask that is all ones, and padded rows are then wrong without an
    error."""
    mask = np.ones_like(like)
    mask[0, -1:] = 0
    return mask
