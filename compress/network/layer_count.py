"""Fewer layers of a network: which ones fit in the new places, and the configuration that says so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from edgepress.compress.network.blocks import block_list, has_sides, side_list
from edgepress.targets.errors import ModelError

# Lists of transformers' configurations with an entry for each layer, and those that hold layers' numbers.
ENTRIES = ("layer_types", "mlp_layer_types", "attention_window", "no_rope_layers", "layers_block_type")
NUMBERS = ("mlp_only_layers",)
DECODER_COUNTS = ("decoder_layers", "num_decoder_layers")
"""What configurations call the number of a decoder's layers."""


def layer_list(network: nn.Module) -> str | None:
    """Name of the list of layers that student.layers chooses from, of an encoder-decoder its encoder's; None where the
    network has none. Where attention
    cannot be told apart (one weight for query, key and value, or none), the list that is as long as the configuration
    says."""
    found = side_list(network, "encoder") if has_sides(network) else block_list(network)
    if found is not None:
        return found
    config: Any = network.config
    if not hasattr(config, "vocab_size"):
        return None  # the blocks of an image network without attention are stages
    count = getattr(config, "num_hidden_layers", None)
    lists = ((name, module) for name, module in network.named_modules() if isinstance(module, nn.ModuleList))
    return next((name for name, blocks in lists if len(blocks) == count and len({*map(type, blocks)}) == 1), None)


def decoder_list(network: nn.Module) -> str:
    """Name of the list of layers that student.decoder_layers chooses from.

    Raises:
        ModelError: the network has no decoder beside an encoder, or no list of layers in it.
    """
    name = side_list(network, "decoder") if has_sides(network) else None
    if name is None:
        raise ModelError(
            f"student.decoder_layers: {type(network).__name__} has no decoder beside an encoder; give student.layers"
        )
    return name


def spread(count: int, wanted: int) -> tuple[int, ...]:
    """Which of `count` layers stand for `wanted` ones: the last of each of so many even spans; of too few, each several
    times.

    >>> spread(6, 3), spread(12, 5), spread(2, 4)
    ((1, 3, 5), (1, 3, 6, 8, 11), (0, 0, 1, 1))
    """
    if wanted > count:
        return tuple(i * count // wanted for i in range(wanted))
    # The last layer is always among them: the head was trained on what it gives.
    return tuple((i + 1) * count // wanted - 1 for i in range(wanted))


def refuse_stages(network: nn.Module, blocks: nn.ModuleList) -> None:
    """Raises ModelError where the blocks are stages, each a list of blocks of its own size, or one that is used again
    and again."""
    kind = type(network).__name__
    count = getattr(network.config, "num_hidden_layers", None)
    if len(blocks) == 1 and isinstance(count, int) and count > 1:
        raise ModelError(
            f"student.layers: {kind} uses one layer {count} times, so fewer of them are no smaller; "
            f"give a smaller architecture in `student.config`"
        )
    if any(block_list(block) is not None for block in blocks):
        raise ModelError(
            f"student.layers: {kind} works in stages of different sizes, and none can be left out; "
            f"give a smaller architecture in `student.config`"
        )


def built_alike(one: nn.Module, other: nn.Module) -> str | None:
    """None where two layers have the same weights by name and shape; else the name of the first that differs."""
    mine, theirs = ({name: value.shape for name, value in layer.state_dict().items()} for layer in (one, other))
    return next((name for name in (*mine, *theirs) if mine.get(name) != theirs.get(name)), None)


def fitting(blocks: Sequence[nn.Module], kept: Sequence[int]) -> tuple[int, ...]:
    """The layers nearest to `kept` that fit in places 0, 1, 2 …: the first layers of some networks are built otherwise
    (ModernBERT's has no norm before its attention, T5's holds the position bias, DeepSeek's is not sparse).

    Raises:
        ModelError: none fits in one of the places.
    """
    found: list[int] = []
    for place, wanted in enumerate(kept):
        after = range(found[-1] + 1 if found else 0, len(blocks))
        fits = [index for index in after if built_alike(blocks[index], blocks[place]) is None]
        if not fits:
            raise ModelError(f"student.layers: no layer of the teacher from {after.start} on fits in place {place}")
        found.append(min(fits, key=lambda index: abs(index - wanted)))
    return tuple(found)


def check_fit(blocks: Sequence[nn.Module], kept: Sequence[int]) -> None:
    """Raises ModelError where a chosen layer is built otherwise than the place it would take."""
    for place, index in enumerate(kept):
        if name := built_alike(blocks[index], blocks[place]):
            raise ModelError(
                f"student.layers: layer {index} cannot take place {place}, it is built otherwise than layer {place} "
                f"({name}); give indices that keep layer {place} there, or a count"
            )


def set_layer_count(config: Any, count: int, kept: Sequence[int]) -> None:
    """Make a transformers configuration of `count` layers one of the layers `kept`.

    Raises:
        ModelError: the configuration does not say its layers' number where it could be changed.
    """
    parts = (config, getattr(config, "vision_config", None), getattr(config, "text_config", None))
    owner = next((part for part in parts if getattr(part, "num_hidden_layers", None) == count), None)
    try:
        if owner is None:
            raise NotImplementedError
        owner.num_hidden_layers = len(kept)
    except NotImplementedError:  # Funnel's is a sum that cannot be set
        raise ModelError(
            f"student.layers: {type(config).__name__} does not say its {count} layers in `num_hidden_layers`; "
            f"give a smaller architecture in `student.config`"
        ) from None
    for name in ENTRIES:
        if isinstance(entries := getattr(owner, name, None), list) and len(entries) == count:
            setattr(owner, name, [entries[i] for i in kept])
    for name in NUMBERS:
        if isinstance(numbers := getattr(owner, name, None), list):
            # Numbers of layers are those of the new list; entries above were chosen, not renumbered.
            setattr(owner, name, [kept.index(i) for i in numbers if i in kept])
    _name_stages(owner, count, len(kept))


def set_decoder_count(config: Any, layers: int) -> None:
    """Make the configuration of an encoder-decoder one with so many layers in its decoder.

    Raises:
        ModelError: it does not say their number where it could be changed.
    """
    field = next((name for name in DECODER_COUNTS if isinstance(getattr(config, name, None), int)), None)
    if field is None:
        raise ModelError(
            f"student.decoder_layers: {type(config).__name__} does not say the number of its decoder's layers in "
            f"{' or '.join(DECODER_COUNTS)}; give a smaller architecture in `student.config`"
        )
    setattr(config, field, layers)


def _name_stages(config: Any, count: int, layers: int) -> None:
    """Vision transformers that serve as backbones (BEiT, DINOv2) name each layer as a stage, and those given out."""
    if len(getattr(config, "stage_names", None) or ()) == count + 1:
        config.stage_names = config.stage_names[: layers + 1]
        config.out_features = config.stage_names[-1:]
