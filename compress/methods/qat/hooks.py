"""Fake quantization inside a training: when ranges follow what they see, and batch norms that keep their statistics."""

from __future__ import annotations

from typing import Any

from torch import nn

from edgepress.compress.methods.qat.folding import hold_factors
from edgepress.compress.model.fake_layers import faked
from edgepress.compress.model.fake_quant import ObservedInput
from edgepress.compress.training.hooks import Hook
from edgepress.compress.training.norms import norms_of


class Quantizing(Hook):
    """Ranges are observed over the first steps; norms do not learn statistics; steps of weights stay exportable."""

    def __init__(self, folded: tuple[str, ...], freeze: float = 0.0, momentum: float = 0.0) -> None:
        """
        Args:
            folded: names of the batch norms whose factor is in the weights before them.
            freeze: share of the steps after which ranges stay; 0 where they are not observed.
            momentum: of the moving average.
        """
        self.folded, self.freeze, self.momentum = folded, freeze, momentum
        self.handles: list[Any] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        network = given["model"].network
        # Whoever calls `train()` on the network would let them learn statistics, which are folded already.
        self.handles = [norm.register_forward_pre_hook(_keeps_statistics) for norm in norms_of(network)]

    def on_step_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        observing = state.global_step < self.freeze * state.max_steps
        for module in given["model"].network.modules():
            if isinstance(module, ObservedInput):
                module.observing, module.momentum = observing, self.momentum

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        network = given["model"].network
        hold_factors(network, self.folded)
        for _, layer in faked(network):
            layer.weight_grid.constrain(layer.weight)

    def on_train_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        for handle in self.handles:
            handle.remove()
        self.handles = []


def _keeps_statistics(norm: nn.Module, _: Any) -> None:
    norm.eval()
