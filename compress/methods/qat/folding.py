"""Batch norms folded into the layers before them: targets round the folded weights, and so must the training.

    gamma (W x + b - mean) / sqrt(var + eps) + beta = W' x + b' - mean' + beta,  W' = f W, b' = f b, mean' = f mean

with f = gamma / sqrt(var + eps). The norm stays where it is, with factor 1 and the shift alone, so that the network's
structure does (arXiv 1712.05877, section 3.2, with statistics that are frozen).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from edgepress.compress.network.probing import hooked, probe_logits, tensors
from edgepress.compress.training.norms import norms_of
from edgepress.targets.records import Feeds

CLOSE = 1e-3  # of the largest logit


def fold_norms(network: nn.Module, feeds: Feeds) -> tuple[str, ...]:
    """Fold every batch norm that reads the output of one Conv2d or Linear and is the only one to read it, in place.

    Args:
        network: its answers stay the same up to rounding.
        feeds: a calibration batch, which shows who reads what.

    Returns:
        Names of the norms that were folded; one whose layer is read elsewhere too stays as it is.
    """
    names = {module: name for name, module in network.named_modules()}
    wanted, folded = probe_logits(network, feeds), []
    for layer, norm in pairs(network, feeds):
        kept = {module: {key: value.clone() for key, value in module.state_dict().items()} for module in (layer, norm)}
        _fold(layer, norm)
        found = probe_logits(network, feeds)
        if (found - wanted).abs().max() <= CLOSE * wanted.abs().max():
            folded.append(names[norm])
            continue
        for module, state in kept.items():
            module.load_state_dict(state)
    return tuple(folded)


def pairs(network: nn.Module, feeds: Feeds) -> list[tuple[nn.Module, nn.Module]]:
    """(layer, batch norm) where the norm reads the very tensor that the layer gave."""
    given: list[tuple[nn.Module, torch.Tensor]] = []
    found: dict[nn.Module, list[nn.Module]] = {}

    def gave(module: nn.Module, _: Any, output: torch.Tensor) -> None:
        given.append((module, output))

    def reads(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        found.setdefault(module, []).extend(layer for layer, output in given if output is inputs[0])

    layers = [module for module in network.modules() if type(module) in (nn.Conv2d, nn.Linear)]
    handles = [layer.register_forward_hook(gave) for layer in layers]
    handles += [norm.register_forward_pre_hook(reads) for norm in norms_of(network)]
    with hooked(network, handles):
        network(**tensors(feeds, network))
    return [(readers[0], norm) for norm, readers in found.items() if len(readers) == 1 and norm.running_var is not None]


def _fold(layer: Any, norm: Any) -> None:
    with torch.no_grad():
        factor = (norm.running_var.double() + norm.eps).rsqrt()
        if norm.weight is not None:
            factor *= norm.weight.double()
            norm.weight.fill_(1)
        shape: Sequence[int] = (-1, *(1,) * (layer.weight.dim() - 1))
        layer.weight.copy_(layer.weight * factor.view(shape))
        if layer.bias is not None:
            layer.bias.mul_(factor)
        norm.running_mean.mul_(factor)
        norm.running_var.fill_(1 - norm.eps)


def hold_factors(network: nn.Module, folded: Sequence[str]) -> None:
    """Factor 1 again after an optimizer's step: it is in the weights already."""
    with torch.no_grad():
        for name in folded:
            norm: Any = network.get_submodule(name)
            if norm.weight is not None:
                norm.weight.fill_(1)
