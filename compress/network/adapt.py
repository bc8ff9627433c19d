"""Weights of one network in another of another shape: copied where they fit, sliced where the source is wider, and
layers spread evenly. What finds no source keeps its random start, and is named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from edgepress.compress.network.layer_count import layer_list, spread

How = Literal["copied", "sliced", "partly random", "random"]


@dataclass(frozen=True)
class Fit:
    """What one tensor of the student starts from.

    Args:
        name: in the student.
        shape: of it.
        source: the source's name of the tensor that it is made of; None where there is none.
        source_shape: of that one.
    """

    name: str
    shape: tuple[int, ...]
    source: str | None = None
    source_shape: tuple[int, ...] = ()

    @property
    def how(self) -> How:
        """Sliced: the source is wider somewhere and nowhere narrower. Partly random: it is narrower somewhere."""
        if self.source is None:
            return "random"
        if self.shape == self.source_shape:
            return "copied"
        narrower = any(have < want for have, want in zip(self.source_shape, self.shape, strict=True))
        return "partly random" if narrower else "sliced"

    @property
    def described(self) -> str:
        """`384 x 384 -> 192 x 192 of bert.encoder.layer.1.attention.self.query.weight`."""
        own, wide = (" x ".join(map(str, shape)) or "1" for shape in (self.shape, self.source_shape))
        if self.source is None:
            return own
        return f"{own if self.shape == self.source_shape else f'{wide} -> {own}'} of {self.source}"


def fits(network: nn.Module, source: nn.Module) -> tuple[Fit, ...]:
    """What each float tensor of `network` would start from, in the order of its state.

    Names are compared without the prefix of the architecture (`bert.`, `roberta.`), and the layers of a longer list
    stand for those of a shorter one as `student.layers: N` chooses them.
    """
    own, theirs = _bare(network), _bare(source)
    layers = _layers(network, source)
    found = []
    for bare, (name, value) in own.items():
        match = theirs.get(_renamed(bare, layers))
        # A matrix laid over a kernel of the same name would be nonsense that trains: another rank is another layer.
        if match is None or match[1].ndim != value.ndim:
            found.append(Fit(name, tuple(value.shape)))
        else:
            found.append(Fit(name, tuple(value.shape), match[0], tuple(match[1].shape)))
    return tuple(found)


@torch.no_grad()
def adapt(network: nn.Module, source: nn.Module) -> tuple[Fit, ...]:
    """Give `network` the weights of `source` in place, as `fits` says, and say it."""
    plan = fits(network, source)
    own, theirs = network.state_dict(), source.state_dict()
    for fit in plan:
        if fit.source is not None:
            here, there = _overlap(fit.shape, fit.source_shape)
            own[fit.name][here] = theirs[fit.source][there].to(own[fit.name].dtype)
    return plan


def _overlap(own: tuple[int, ...], wide: tuple[int, ...]) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Where both shapes lie over each other: the first units, which keeps whole heads, and the middle of a kernel.

    >>> here, there = _overlap((4, 8, 3, 3), (16, 8, 7, 7))
    >>> there
    (slice(0, 4, None), slice(0, 8, None), slice(2, 5, None), slice(2, 5, None))
    """
    here, there = [], []
    for axis, (want, have) in enumerate(zip(own, wide, strict=True)):
        size = min(want, have)
        kernel = axis >= 2 and len(own) == 4
        first, second = ((want - size) // 2, (have - size) // 2) if kernel else (0, 0)
        here.append(slice(first, first + size))
        there.append(slice(second, second + size))
    return tuple(here), tuple(there)


def _bare(network: nn.Module) -> dict[str, tuple[str, torch.Tensor]]:
    """Float tensors by their name without the architecture's prefix: (whole name, tensor)."""
    prefix = _prefix(network)
    state: Mapping[str, torch.Tensor] = network.state_dict()
    floats = {name: value for name, value in state.items() if value.is_floating_point()}
    return {name.removeprefix(prefix): (name, value) for name, value in floats.items()}


def _prefix(network: nn.Module) -> str:
    prefix: Any = getattr(network, "base_model_prefix", "")
    return f"{prefix}." if prefix else ""


def _layers(network: nn.Module, source: nn.Module) -> tuple[str, str, tuple[int, ...]] | None:
    """The lists of layers of both without prefixes, and for each layer of the first the one of the second."""
    lists = [layer_list(one) if hasattr(one, "config") else None for one in (network, source)]
    if None in lists:
        return None
    counts = [len(one.get_submodule(str(name))) for one, name in zip((network, source), lists, strict=True)]  # type: ignore[arg-type]
    own, theirs = (str(name).removeprefix(_prefix(one)) for one, name in zip((network, source), lists, strict=True))
    return own, theirs, spread(counts[1], counts[0])


def _renamed(bare: str, layers: tuple[str, str, tuple[int, ...]] | None) -> str:
    """The source's name for a tensor of the student."""
    if layers is None or not bare.startswith(f"{layers[0]}."):
        return bare
    number, _, rest = bare[len(layers[0]) + 1 :].partition(".")
    return f"{layers[1]}.{layers[2][int(number)]}.{rest}"
