"""Removing rows and columns of weights: what every structured pruning comes down to, as data and as one small function.

A `Group` is a set of features that leave the network together (a head, a neuron, a channel, a residual dimension), seen
from all the layers they run through. A `Cut` says which features one layer loses on one side.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import nn

from edgepress.targets.errors import ModelError
from edgepress.targets.records import Record

Side = Literal["out", "in"]


@dataclass(frozen=True)
class Member:
    """One side of one layer. `unit[i]` is the unit that feature i belongs to, -1 where it belongs to none."""

    module: str
    side: Side
    unit: np.ndarray

    def features_of(self, units: Iterable[int]) -> tuple[int, ...]:
        return tuple(int(i) for i in np.flatnonzero(np.isin(self.unit, list(units))))


@dataclass(frozen=True)
class Group:
    """`units` things that can be removed one by one; `attributes` are head counts of `name`, per unit.

    `heads_per_unit`: with grouped queries a unit is the heads that share keys and values.
    """

    kind: Literal["heads", "ffn", "channels", "hidden"]
    name: str
    units: int
    members: tuple[Member, ...]
    attributes: tuple[tuple[str, int], ...] = ()
    heads_per_unit: int = 1

    def readers(self) -> tuple[Member, ...]:
        """The layers that read the units."""
        return tuple(member for member in self.members if member.side == "in")


class Cut(Record):
    """Features that one layer (or bare parameter) loses on one side."""

    module: str
    side: Side
    drop: tuple[int, ...]


def cuts_of(group: Group, kept: Iterable[int]) -> tuple[Cut, ...]:
    """The cuts that leave only the `kept` units of a group."""
    dropped = sorted(set(range(group.units)) - set(kept))
    cuts = (Cut(module=m.module, side=m.side, drop=m.features_of(dropped)) for m in group.members)
    return tuple(cut for cut in cuts if cut.drop)


def can_cut(network: nn.Module, name: str) -> bool:
    """Whether `cut` knows this layer; it must be exactly of a known type, since a subclass may keep sizes elsewhere."""
    kind = type(_resolve(network, name))
    known = (nn.Linear, nn.Conv2d, nn.BatchNorm2d, nn.Embedding, nn.Parameter)
    return kind in known or issubclass(kind, nn.LayerNorm)


def is_depthwise(module: object) -> bool:
    """One filter a channel: its input and output channels are the same thing."""
    return isinstance(module, nn.Conv2d) and 1 < module.groups == module.in_channels == module.out_channels


def cut(network: nn.Module, cuts: Iterable[Cut]) -> None:
    """Apply all cuts at once, in place: indices count in the uncut layer, whichever group they come from."""
    dropped: dict[tuple[str, Side], set[int]] = defaultdict(set)
    for one in cuts:
        dropped[one.module, one.side].update(one.drop)
    for (name, side), drop in dropped.items():
        module = _resolve(network, name)
        size = _features(module, side)
        # Both cuts of a layer that two groups share are made at once: after the first, the second's indices would be of
        # another layer.
        kept = torch.tensor([i for i in range(size) if i not in drop])
        if not len(kept):
            raise ModelError(f"{name}: all of its {size} {side}puts would be removed. Ask for a smaller share.")
        if isinstance(module, nn.Parameter):
            parent, _, attribute = name.rpartition(".")
            setattr(network.get_submodule(parent), attribute, _select(module, _feature_dimension(module), kept))
        else:
            _keep(module, side, kept)


def silence(network: nn.Module, cuts: Iterable[Cut]) -> None:
    """Zero what the readers take from the cut units: a full-size network that computes what the cut one must."""
    for one in cuts:
        if one.side == "in":
            weight: torch.Tensor = network.get_submodule(one.module).weight  # type: ignore[assignment]
            with torch.no_grad():
                weight[:, list(one.drop)] = 0


def _resolve(network: nn.Module, name: str) -> nn.Module | nn.Parameter:
    parent, _, attribute = name.rpartition(".")
    found = getattr(network.get_submodule(parent), attribute)
    assert isinstance(found, nn.Module | nn.Parameter), name
    return found


def _feature_dimension(parameter: torch.Tensor) -> int:
    """The last dimension that is not 1: class tokens are [1, 1, hidden], layer scales [hidden] or [hidden, 1, 1]."""
    return max((d for d, size in enumerate(parameter.shape) if size > 1), default=parameter.dim() - 1)


def _features(module: nn.Module | nn.Parameter, side: Side) -> int:
    if isinstance(module, nn.Parameter):
        return module.shape[_feature_dimension(module)]
    if isinstance(module, nn.Linear):
        return module.out_features if side == "out" else module.in_features
    if isinstance(module, nn.Conv2d):
        return module.out_channels if side == "out" else module.in_channels
    if isinstance(module, nn.BatchNorm2d):
        return module.num_features
    if isinstance(module, nn.Embedding):
        return module.embedding_dim
    if isinstance(module, nn.LayerNorm):
        return int(module.normalized_shape[-1])
    raise ModelError(f"{type(module).__name__} cannot be made smaller; exclude it or leave this kind of pruning out")


def _keep(module: nn.Module, side: Side, kept: torch.Tensor) -> None:
    dimension = 1 if isinstance(module, nn.Embedding) or (side == "in" and not is_depthwise(module)) else 0
    size = len(kept)
    if isinstance(module, nn.Linear):
        setattr(module, "out_features" if side == "out" else "in_features", size)
    elif is_depthwise(module):
        module.groups = module.in_channels = module.out_channels = size  # type: ignore[assignment]
    elif isinstance(module, nn.Conv2d):
        setattr(module, "out_channels" if side == "out" else "in_channels", size)
    elif isinstance(module, nn.BatchNorm2d):
        module.num_features, dimension = size, 0
    elif isinstance(module, nn.LayerNorm):
        module.normalized_shape, dimension = (size,), 0
    elif isinstance(module, nn.Embedding):
        module.embedding_dim = size
    for name in ("weight", "bias", "running_mean", "running_var"):
        value = getattr(module, name, None)
        # A bias has one entry an output: cutting inputs leaves it whole.
        if value is not None and not (name == "bias" and dimension == 1):
            setattr(module, name, _select(value, dimension, kept))


def _select(value: torch.Tensor, dimension: int, kept: torch.Tensor) -> torch.Tensor:
    # A copy, since a view would keep the whole of the old weights in memory and in the saved file.
    selected = value.detach().index_select(dimension, kept.to(value.device)).clone()
    if isinstance(value, nn.Parameter):
        return nn.Parameter(selected, requires_grad=value.requires_grad)
    return selected
