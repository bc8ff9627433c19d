"""Layers that multiply as int8 does while they train: which ones there are, and how they are made and unmade.

A layer keeps its weights, their names and its place; its class changes, and two modules come to it: `input_range` and
`weight_grid`. So checkpoints hold the ranges, sparse layers their zeros, and a network is what it was once the ranges
are taken off.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers.pytorch_utils import Conv1D

from edgepress.compress.model.fake_quant import (
    InputRange,
    LearnedInput,
    LearnedWeight,
    ObservedInput,
    ObservedWeight,
    WeightGrid,
)
from edgepress.targets.errors import ModelError
from edgepress.targets.exportable import TrainedInput
from edgepress.targets.records import Record

OBSERVED, LEARNED = "int8_observed", "int8_learned"
FAKE_KINDS = (OBSERVED, LEARNED)
"""Kinds of edits: what the ranges of a layer follow. Their sizes: `levels` of its input, and the number of that
`input`, the same for layers that read one tensor."""


class FakeLinear(nn.Linear):
    """`x' W'^T + b` of rounded x and W."""

    input_range: InputRange
    weight_grid: WeightGrid

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = functional.linear(self.input_range(x), self.weight_grid(self.weight), self.bias)
        return found


class FakeConv2d(nn.Conv2d):
    """The same of a convolution; its padding is zero, which is on every grid."""

    input_range: InputRange
    weight_grid: WeightGrid

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self._conv_forward(self.input_range(x), self.weight_grid(self.weight), self.bias)
        return found


class FakeConv1D(Conv1D):  # type: ignore[misc]  # transformers says no types of it
    """The same of GPT-2's linear layer, whose weight is `[in, out]`."""

    input_range: InputRange
    weight_grid: WeightGrid

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.input_range(x) @ self.weight_grid(self.weight) + self.bias
        return found


FAKES: dict[type[nn.Module], type[nn.Module]] = {nn.Linear: FakeLinear, nn.Conv2d: FakeConv2d, Conv1D: FakeConv1D}
PLAIN = {fake: plain for plain, fake in FAKES.items()}


def output_axis(module: nn.Module) -> int:
    """The axis of output channels of a layer's weight."""
    return 1 if isinstance(module, Conv1D) else 0


def products(network: nn.Module) -> dict[str, nn.Module]:
    """The layers that can multiply in int8, by name: those of exactly the types that are known."""
    return {name: module for name, module in network.named_modules() if type(module) in FAKES}


def faked(network: nn.Module) -> Iterator[tuple[str, Any]]:
    """The layers that do, by name."""
    return ((name, module) for name, module in network.named_modules() if type(module) in PLAIN)


def fake(module: nn.Module, kind: str, levels: int, shared: InputRange | None = None) -> InputRange:
    """Make a layer multiply as int8 does, in place.

    Args:
        module: one of `products`.
        kind: of the edit, one of `FAKE_KINDS`.
        levels: of its input.
        shared: the range of a layer that reads the same tensor; None: it gets one of its own.

    Returns:
        The range of its input, which knows nothing yet.

    Raises:
        ModelError: the layer is of no type that can.
    """
    if type(module) not in FAKES:
        known = ", ".join(kind.__name__ for kind in FAKES)
        raise ModelError(f"edit {kind!r}: {type(module).__name__} cannot multiply in int8; these can: {known}")
    axis, learned = output_axis(module), kind == LEARNED
    layer: Any = module
    weight: torch.Tensor = module.weight  # type: ignore[assignment]
    found = shared if shared is not None else (LearnedInput if learned else ObservedInput)(levels).to(weight.device)
    own = LearnedWeight(axis, weight.shape[axis]) if learned else ObservedWeight(axis)
    layer.__class__ = FAKES[type(module)]
    layer.input_range, layer.weight_grid = found, own.to(weight.device)
    layer.weight_grid.start(weight)
    layer.register_forward_pre_hook(_called)
    layer.train(layer.training)
    return found


def _called(*_: Any) -> None:
    """Does nothing: a layer with a hook is called. torch's own transformer layers take its weights and leave it out,
    where nothing watches it and nothing learns."""


def unfake(network: nn.Module) -> None:
    """Take all ranges off, in place; weights become the rounded ones, which every target rounds to themselves."""
    for _, layer in list(faked(network)):
        with torch.no_grad():
            layer.weight.copy_(layer.weight_grid(layer.weight))
        del layer.input_range, layer.weight_grid
        for key in [key for key, hook in layer._forward_pre_hooks.items() if hook is _called]:
            del layer._forward_pre_hooks[key]
        layer.__class__ = PLAIN[type(layer)]


class LayerRange(Record):
    """The trained range of what one layer reads."""

    module: str
    low: float
    high: float


def ranges_of(network: nn.Module) -> tuple[LayerRange, ...]:
    """The ranges of the layers that multiply as int8 does."""
    found = ((name, layer.input_range.ends()) for name, layer in faked(network))
    return tuple(LayerRange(module=name, low=low, high=high) for name, (low, high) in found)


def trained_inputs(network: nn.Module, ranges: Iterable[LayerRange]) -> tuple[TrainedInput, ...]:
    """The ranges as targets take them, each with the weight that its layer is known by."""
    found = []
    for one in ranges:
        weight: torch.Tensor = network.get_submodule(one.module).weight  # type: ignore[assignment]
        found.append(TrainedInput(weight.detach().cpu().numpy(), one.low, one.high))
    return tuple(found)
