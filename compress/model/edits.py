"""Structural edits as data: what turns the architecture of a configuration into that of a pruned, factorized model.

Pruning by whatever library ends as `resize` edits, found by comparing the structure before and after; a low-rank layer
is one `low_rank` edit. Applied in order to a freshly built network they give every weight its place. `sparse` and
`n_of_m` change no structure: they name layers whose zeros must stay. `int8_observed` and `int8_learned` are there while
a model trains under fake quantization, and gone after it.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from edgepress.compress.model.factors import low_rank_module
from edgepress.compress.model.fake_layers import FAKE_KINDS, fake
from edgepress.compress.model.fake_quant import InputRange
from edgepress.targets.errors import ModelError
from edgepress.targets.records import Record

# Attributes that say how large a layer is, by layer type.
SIZES: dict[type[nn.Module], tuple[str, ...]] = {
    nn.Linear: ("in_features", "out_features"),
    nn.Conv2d: ("in_channels", "out_channels", "groups"),
    nn.BatchNorm2d: ("num_features",),
    nn.Embedding: ("num_embeddings", "embedding_dim"),
}
# Attributes of attention modules that pruning heads changes.
HEAD_COUNTS = ("num_attention_heads", "n_heads", "num_heads", "all_head_size")
# What edits that do not resize say, by their kind.
KNOWN_SIZES = {
    "low_rank": {"rank"},
    "sparse": {"kept", "of"},
    "n_of_m": {"n", "m"},
    **{kind: {"levels", "input"} for kind in FAKE_KINDS},
}
# A bare parameter's dimension is written as `<parameter>.<dimension>`, e.g. `cls_token.2`.


class Edit(Record):
    """One change of structure. `sizes` holds the attributes to set (resize), the rank (low_rank), how many weights are
    `kept` `of` all (sparse), that `n` of each `m` in a row along the inputs are kept (n_of_m), or into how many
    `levels` the layer's `input` is rounded, by a number that layers have in common which read the same one (int8_…)."""

    kind: Literal["resize", "low_rank", "sparse", "n_of_m", "int8_observed", "int8_learned"]
    module: str
    sizes: dict[str, int]


def sizes_of(module: nn.Module) -> dict[str, int]:
    """The size attributes of one module; empty for a module that no edit can change."""
    for kind, names in SIZES.items():
        if type(module) is kind:
            return {name: int(getattr(module, name)) for name in names}
    if isinstance(module, nn.LayerNorm):
        return {"normalized_shape": int(module.normalized_shape[-1])}
    sizes = {name: value for name in HEAD_COUNTS if isinstance(value := getattr(module, name, None), int)}
    for name, parameter in module.named_parameters(recurse=False):
        sizes |= {f"{name}.{dimension}": size for dimension, size in enumerate(parameter.shape)}
    return sizes


def structure(network: nn.Module) -> dict[str, dict[str, int]]:
    """Sizes of every module that has some, by module name."""
    return {name: sizes for name, module in network.named_modules() if (sizes := sizes_of(module))}


def resize_edits(before: dict[str, dict[str, int]], network: nn.Module) -> tuple[Edit, ...]:
    """The edits that turn structure `before` into that of `network`."""
    return tuple(
        Edit(kind="resize", module=name, sizes=sizes)
        for name, sizes in structure(network).items()
        if name in before and before[name] != sizes
    )


def apply_edits(network: nn.Module, edits: tuple[Edit, ...]) -> None:
    """Give `network` the edited structure; weights of changed modules are left uninitialised.

    Raises:
        ModelError: an edit names a module that is not there or cannot be edited so.
    """
    inputs: dict[int, InputRange] = {}
    for edit in edits:
        try:
            module = network.get_submodule(edit.module)
        except AttributeError:
            raise ModelError(
                f"edit {edit.kind!r} names module {edit.module!r}, which this architecture lacks"
            ) from None
        _check_sizes(edit, module)
        if edit.kind == "low_rank":
            set_submodule(network, edit.module, low_rank_module(module, edit.sizes["rank"]))
        elif edit.kind == "resize":
            _resize(module, edit.sizes)
        elif edit.kind in FAKE_KINDS:
            number, levels = edit.sizes["input"], edit.sizes["levels"]
            inputs[number] = fake(module, edit.kind, levels, inputs.get(number))


def _check_sizes(edit: Edit, module: nn.Module) -> None:
    known = KNOWN_SIZES.get(edit.kind) or set(sizes_of(module))
    if unknown := sorted(set(edit.sizes) - known):
        raise ModelError(
            f"edit {edit.kind!r} of {edit.module!r} names size {unknown[0]!r}, which {type(module).__name__} lacks"
        )
    if not edit.sizes or min(edit.sizes.values()) < 1:
        raise ModelError(f"edit {edit.kind!r} of {edit.module!r} needs sizes of at least 1, got {edit.sizes}")


def set_submodule(network: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, attribute = name.rpartition(".")
    setattr(network.get_submodule(parent), attribute, module)


def _resize(module: nn.Module, sizes: dict[str, int]) -> None:
    for name, value in sizes.items():
        parameter, _, dimension = name.partition(".")
        if dimension:
            old = getattr(module, parameter)
            changed = [value if d == int(dimension) else size for d, size in enumerate(old.shape)]
            setattr(module, parameter, nn.Parameter(torch.empty(changed, dtype=old.dtype)))
        else:
            setattr(module, name, (value,) if name == "normalized_shape" else value)
    shapes = _parameter_shapes(module)
    for name, shape in shapes.items():
        old = getattr(module, name)
        if old is None:
            continue
        if name in module._parameters:
            setattr(module, name, nn.Parameter(torch.empty(shape, dtype=old.dtype)))
        else:
            setattr(module, name, torch.empty(shape, dtype=old.dtype))


def _parameter_shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    if isinstance(module, nn.Linear):
        return {"weight": (module.out_features, module.in_features), "bias": (module.out_features,)}
    if isinstance(module, nn.Conv2d):
        size = (module.out_channels, module.in_channels // module.groups, *module.kernel_size)
        return {"weight": size, "bias": (module.out_channels,)}
    if isinstance(module, nn.Embedding):
        return {"weight": (module.num_embeddings, module.embedding_dim)}
    if isinstance(module, nn.BatchNorm2d):
        names = ("weight", "bias", "running_mean", "running_var")
        return dict.fromkeys(names, (module.num_features,))
    if isinstance(module, nn.LayerNorm):
        return {name: tuple(module.normalized_shape) for name in ("weight", "bias")}
    return {}
