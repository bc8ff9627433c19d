"""Looking at what flows through layers while calibration data runs: one batch at a time, nothing is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from edgepress.targets.errors import StageError
from edgepress.targets.records import Feeds


def tensors(feeds: Feeds, network: nn.Module) -> dict[str, torch.Tensor]:
    """Calibration arrays as tensors on the network's device."""
    device = next(network.parameters()).device
    return {name: torch.from_numpy(np.ascontiguousarray(value)).to(device) for name, value in feeds.items()}


@contextmanager
def evaluating(network: nn.Module) -> Iterator[nn.Module]:
    """Eval mode inside, every module's own mode again after."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield network
    finally:
        for module, mode in modes.items():
            module.training = mode


@contextmanager
def hooked(network: nn.Module, handles: Sequence[RemovableHandle]) -> Iterator[None]:
    """Inside the block `network` runs in eval mode and without gradients; behind it the hooks are gone."""
    try:
        with torch.no_grad(), evaluating(network):
            yield
    finally:
        for handle in handles:
            handle.remove()


def probe_logits(network: nn.Module, feeds: Feeds) -> torch.Tensor:
    """Logits `[batch, classes]` in eval mode, without gradients."""
    with torch.no_grad(), evaluating(network):
        logits: torch.Tensor = network(**tensors(feeds, network)).logits
    return logits


Inputs = tuple[torch.Tensor, ...]
Observer = Callable[[nn.Module, torch.Tensor, torch.Tensor, torch.Tensor | None], None]


def observe(network: nn.Module, observers: Mapping[str, Observer], calibration: Sequence[Feeds]) -> None:
    """Run the calibration batches; `observers[module](module, input, output, mask)` sees each call of its module.

    `mask` is the batch's attention mask `[batch, sequence]` (bool), None where there is none.

    Raises:
        StageError: there is no calibration data.
    """
    if not calibration:
        raise StageError("no calibration data: this needs at least one batch. Raise `data.calibration` in the recipe.")
    mask: torch.Tensor | None = None

    def hook(observer: Observer) -> Callable[[nn.Module, Inputs, torch.Tensor], None]:
        return lambda module, inputs, output: observer(module, inputs[0], output, mask)

    handles = [network.get_submodule(name).register_forward_hook(hook(see)) for name, see in observers.items()]
    with hooked(network, handles):
        for feeds in calibration:
            batch = tensors(feeds, network)
            mask = batch["attention_mask"].bool() if "attention_mask" in batch else None
            network(**batch)


def rows_of(value: torch.Tensor, module: nn.Module, mask: torch.Tensor | None) -> torch.Tensor:
    """Activations of a Linear or Conv2d as `[rows, features]`; padded positions of a text batch are left out.

    Args:
        value: `[batch, channels, height, width]` of a Conv2d, else `[..., features]`.
        module: the layer that took or gave it.
        mask: bool `[batch, tokens]`, true for real tokens; None where the batch has no attention mask.
    """
    if isinstance(module, nn.Conv2d):
        return value.movedim(1, -1).flatten(0, -2)
    if mask is not None and value.dim() == 3 and value.shape[:2] == mask.shape:
        return value[mask]
    return value.reshape(-1, value.shape[-1])
