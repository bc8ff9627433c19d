"""Finding attention heads, feed-forward neurons, blocks and the residual stream of a transformer by their structure.

Roles are told from the layers' shapes and from the few names that query, key and value go by, not from a list of
models; `pruning.py` then proves on calibration data that what was found computes what it should.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from torch import nn

from edgepress.compress.model.edits import HEAD_COUNTS
from edgepress.compress.model.factors import LowRankConv, LowRankEmbedding, LowRankLinear
from edgepress.compress.network.slicing import Group, Member, Side
from edgepress.targets.errors import ModelError

QKV = (
    ("query", "key", "value"),
    ("q_lin", "k_lin", "v_lin"),
    ("q_proj", "k_proj", "v_proj"),
    ("query_proj", "key_proj", "value_proj"),
    ("q", "k", "v"),
    ("to_q", "to_k", "to_v"),
)
HEAD_SIZES = ("attention_head_size", "head_dim", "head_size", "key_value_proj_dim")


@dataclass(frozen=True)
class Dense:
    """A Linear, or the two of a LowRankLinear: the module that reads the inputs and the one that writes the outputs."""

    name: str
    reader: str
    writer: str
    inputs: int
    outputs: int


@dataclass(frozen=True)
class Attention:
    """One attention module: its projections and the size of a head. `heads` counts groups of shared keys and values."""

    name: str
    query: Dense
    key: Dense
    value: Dense
    output: Dense
    head_size: int

    @property
    def heads(self) -> int:
        return self.key.outputs // self.head_size


@dataclass(frozen=True)
class FeedForward:
    """`second(activation(first(x)))`, or with two firsts the gated kind."""

    firsts: tuple[Dense, ...]
    second: Dense


def dense_layers(network: nn.Module, prefix: str = "") -> list[Dense]:
    """Every Linear and LowRankLinear under `prefix`, in the order of definition; factors don't count on their own."""
    found = []
    for name, module in network.named_modules():
        if not name.startswith(prefix):
            continue
        if type(module) is nn.Linear and not is_factor(network, name):
            found.append(Dense(name, name, name, module.in_features, module.out_features))
        elif isinstance(module, LowRankLinear):
            first, second = f"{name}.first", f"{name}.second"
            found.append(Dense(name, first, second, module.first.in_features, module.second.out_features))
    return found


def is_factor(network: nn.Module, name: str) -> bool:
    """Whether `name` is one of the two factors of a low-rank layer."""
    parent = network.get_submodule(name.rpartition(".")[0])
    return isinstance(parent, LowRankLinear | LowRankConv | LowRankEmbedding)


def attentions(network: nn.Module) -> list[Attention]:
    """Every attention module whose heads can be told apart."""
    dense = {layer.name: layer for layer in dense_layers(network)}
    found = []
    for name, module in network.named_modules():
        for names in QKV:
            parts = [dense.get(f"{name}.{part}" if name else part) for part in names]
            query, key, value = parts
            if query and key and value and (attention := _attention(name, module, query, key, value, dense)):
                found.append(attention)
    return found


def _attention(
    name: str, module: nn.Module, query: Dense, key: Dense, value: Dense, dense: dict[str, Dense]
) -> Attention | None:
    size = next((v for a in HEAD_SIZES if isinstance(v := getattr(module, a, None), int)), None)
    if size is None:
        count = next((v for a in HEAD_COUNTS if isinstance(v := getattr(module, a, None), int)), None)
        size = query.outputs // count if count else None
    # Latent attention (DeepSeek) has values of another size than keys: its heads do not leave by the same features.
    if not size or key.outputs % size or query.outputs % key.outputs or value.outputs != key.outputs:
        return None
    scope = name
    for _ in range(2):  # the output projection is a child of the attention module or of its parent
        for layer in dense.values():
            inside = layer.name.startswith(f"{scope}.") and layer not in (query, key, value)
            if inside and layer.inputs == query.outputs:
                return Attention(name, query, key, value, layer, size)
        scope = scope.rpartition(".")[0]
    return None


def block_list(network: nn.Module) -> str | None:
    """Name of the longest ModuleList of equal-typed blocks with an attention each; None where there is none."""
    found = [attention.name for attention in attentions(network)]
    best, longest = None, 0
    for name, module in network.named_modules():
        if not isinstance(module, nn.ModuleList) or len({type(block) for block in module}) != 1:
            continue
        whole = all(any(a.startswith(f"{name}.{i}.") for a in found) for i in range(len(module)))
        # Vision towers and adapters are lists too; the longest one is the backbone.
        if whole and len(module) > longest:
            best, longest = name, len(module)
    return best


def block_lists(network: nn.Module) -> list[str]:
    """Names of all such lists: of an encoder-decoder its encoder's and its decoder's, of any other network the longest
    one, or none."""
    both = [side_list(network, side) for side in ("encoder", "decoder")] if has_sides(network) else []
    return [name for name in both or [block_list(network)] if name is not None]


def has_sides(network: nn.Module) -> bool:
    """Whether a network has an encoder and a decoder, each with layers of its own."""
    return bool(getattr(getattr(network, "config", None), "is_encoder_decoder", False)) and hasattr(
        network, "get_decoder"
    )


def side_list(network: nn.Module, side: str) -> str | None:
    """Name of the list of layers on one side of an encoder-decoder; None where there is none.

    Args:
        network: a whole encoder-decoder.
        side: "encoder" or "decoder".
    """
    part = network.get_encoder() if side == "encoder" else network.get_decoder()  # type: ignore[operator]
    place = next((name for name, module in network.named_modules() if module is part), None)
    inner = block_list(part) if place is not None else None
    return f"{place}.{inner}" if inner is not None else None


def _blocks(network: nn.Module) -> Iterator[str]:
    for name in block_lists(network):
        yield from (f"{name}.{i}" for i in range(len(network.get_submodule(name))))  # type: ignore[arg-type]


def feed_forwards(network: nn.Module) -> list[FeedForward]:
    """The feed-forward pair (or gated triple) of each block."""
    heads = attentions(network)
    taken = {layer.name for a in heads for layer in (a.query, a.key, a.value, a.output)}
    found = []
    for block in _blocks(network):
        width = next(a.query.inputs for a in heads if a.name.startswith(f"{block}."))
        layers = [layer for layer in dense_layers(network, f"{block}.") if layer.name not in taken]
        seconds = [layer for layer in layers if layer.outputs == width]
        if not seconds:
            continue
        # The last layer that comes back to the residual width is the feed-forward's second; adapters stand before it.
        second = seconds[-1]
        firsts = tuple(
            layer for layer in layers if layer is not second and (layer.inputs, layer.outputs) == (width, second.inputs)
        )
        if 1 <= len(firsts) <= 2:
            found.append(FeedForward(firsts, second))
    return found


def head_groups(network: nn.Module) -> list[Group]:
    """One group an attention module; a unit is a head (with grouped queries: the heads that share keys and values)."""
    return [_head_group(network, attention) for attention in attentions(network)]


def _head_group(network: nn.Module, attention: Attention) -> Group:
    def member(layer: Dense, side: Side) -> Member:
        features = layer.outputs if side == "out" else layer.inputs
        # With grouped queries a unit of the query side is wider than one of the key side: both are cut into as many.
        unit = np.arange(features) // (features // attention.heads)
        return Member(layer.writer if side == "out" else layer.reader, side, unit)

    module = network.get_submodule(attention.name)
    counts = [(a, v) for a in HEAD_COUNTS if isinstance(v := getattr(module, a, None), int)]
    per_unit = tuple((a, v // attention.heads) for a, v in counts)
    writers = tuple(member(layer, "out") for layer in (attention.query, attention.key, attention.value))
    members = (*writers, member(attention.output, "in"))
    shared = attention.query.outputs // attention.key.outputs
    return Group("heads", attention.name, attention.heads, members, per_unit, shared)


def ffn_groups(network: nn.Module) -> list[Group]:
    """One group a block; a unit is a neuron."""
    groups = []
    for ffn in feed_forwards(network):
        unit = np.arange(ffn.second.inputs)
        writers = tuple(Member(first.writer, "out", unit) for first in ffn.firsts)
        members = (*writers, Member(ffn.second.reader, "in", unit))
        groups.append(Group("ffn", ffn.firsts[0].name, len(unit), members))
    return groups


def residual_group(network: nn.Module) -> Group:
    """All layers that read or write the residual stream; a unit is one of its dimensions (Minitron, arXiv 2407.14679).

    Raises:
        ModelError: the network has no block list with attention, or mixes its dimensions in a way unknown here.
    """
    if has_sides(network):
        raise ModelError(
            f"student.hidden: {type(network).__name__} has an encoder and a decoder that reads it, whose widths "
            f"cannot be cut; give a smaller architecture in `student.config`"
        )
    blocks = block_list(network)
    if blocks is None:
        raise ModelError(
            f"student.hidden: {type(network).__name__} has no list of attention blocks, so its width cannot be cut; "
            f"give a smaller architecture in `student.config`"
        )
    width = attentions(network)[0].query.inputs
    inner = {(layer.writer, "out") for a in attentions(network) for layer in (a.query, a.key, a.value)}
    inner |= {(a.output.reader, "in") for a in attentions(network)}
    for ffn in feed_forwards(network):
        inner |= {(first.writer, "out") for first in ffn.firsts} | {(ffn.second.reader, "in")}
    sides = [side for side in _residual_sides(network, blocks, width) if side not in inner]
    members = tuple(Member(name, side, np.arange(width)) for name, side in sides)
    return Group("hidden", blocks, width, members)


def _residual_sides(network: nn.Module, blocks: str, width: int) -> Iterator[tuple[str, Side]]:
    """Sides of size `width`, in order of definition, up to the first dense layer after the blocks, which only reads."""
    dense = {layer.name: layer for layer in dense_layers(network)}
    place = "before"
    for name, module in network.named_modules():
        if name.startswith(f"{blocks}."):
            place = "inside"
        elif place == "inside":
            place = "after"
        if layer := dense.get(name):
            if place != "before" and layer.inputs == width:
                yield layer.reader, "in"
            if place == "after":
                return
            if layer.outputs == width:
                yield layer.writer, "out"
        elif not is_factor(network, name or "_"):
            yield from _other_residual_sides(name, module, width)


def _other_residual_sides(name: str, module: nn.Module, width: int) -> Iterator[tuple[str, Side]]:
    if isinstance(module, LowRankEmbedding):
        if module.second.out_features == width:
            yield f"{name}.second", "out"
    elif isinstance(module, nn.Embedding):
        if module.embedding_dim == width:
            yield name, "out"
    elif isinstance(module, nn.Conv2d):
        if module.out_channels == width:
            yield name, "out"
    elif isinstance(module, nn.LayerNorm):
        if module.normalized_shape[-1] == width:
            yield name, "out"
    elif not isinstance(module, nn.Linear):
        for parameter, value in module.named_parameters(recurse=False):
            if value.dim() and value.shape[-1] == width:
                yield f"{name}.{parameter}" if name else parameter, "out"
