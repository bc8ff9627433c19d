"""Channel groups of a convolutional network, from torch-pruning's dependency graph (DepGraph, arXiv 2301.12900)."""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from edgepress.compress.network.blocks import attentions, is_factor
from edgepress.compress.network.probing import tensors
from edgepress.compress.network.slicing import Group, Member, can_cut, is_depthwise
from edgepress.targets.errors import StageError, told
from edgepress.targets.records import Feeds

LONGEST_S = 120.0
"""Not every search comes to an end; see `_end_after`."""


def channel_groups(network: nn.Module, example: Feeds) -> tuple[list[Group], list[str]]:
    """Groups of output channels that must leave together (residuals, depthwise, batch norm), and why others stay.

    The layer that writes the logits is in no group. Groups are rooted at convolutions.
    """
    traced = copy.deepcopy(network).eval().requires_grad_(True)  # the graph is read from autograd
    graph = _dependency_graph(traced, example)
    _end_after(graph, LONGEST_S, type(network).__name__)
    names: dict[Any, str] = {module: name for name, module in traced.named_modules()}
    names |= {parameter: name for name, parameter in traced.named_parameters()}
    heads = [layer for a in attentions(traced) for layer in (a.query, a.key, a.value, a.output)]
    attention = {name for layer in heads for name in (layer.reader, layer.writer)}
    found, notes = [], []
    # Its outputs are the classes: a pruned one would be an answer that nobody can give any more.
    for raw in graph.get_all_groups(ignored_layers=[_last_layer(traced, example)], root_module_types=[nn.Conv2d]):
        group = _group(graph, raw, names)
        if reason := _obstacle(traced, group, attention):
            notes.append(f"{group.name}: kept, {reason}")
        else:
            found.append(group)
    return found, notes


def _dependency_graph(network: nn.Module, example: Feeds) -> Any:
    import torch_pruning

    inputs = {name: value[:1] for name, value in tensors(example, network).items()}
    with warnings.catch_warnings():  # torch-pruning announces bare parameters that it takes care of
        warnings.simplefilter("ignore")
        try:
            return torch_pruning.DependencyGraph().build_dependency(
                network, example_inputs=inputs, output_transform=lambda output: output.logits, verbose=False
            )
        except Exception as fault:  # the tracer fails in as many ways as there are architectures
            raise StageError(
                f"prune: the channels of {type(network).__name__} cannot be traced ({told(fault)}). "
                f"Remove 'channels' from the recipe."
            ) from fault


def _end_after(graph: Any, seconds: float, network: str) -> None:
    """Have the search for groups end: where channels are split and joined many times over (FocalNet), torch-pruning
    follows each way anew and comes to no end.

    Args:
        graph: torch-pruning's.
        seconds: from now on.
        network: its class, for the message.
    """
    end = time.monotonic() + seconds

    def asked(triggers: Callable[[Any], bool], function: Any) -> bool:
        if time.monotonic() > end:
            raise StageError(
                f"prune: the channels of {network} depend on one another in too many ways: which of them belong "
                f"together is not found within {seconds:g} s. Remove 'channels' from the recipe."
            )
        return triggers(function)

    for node in graph.module2node.values():
        for dependency in node.dependencies:
            dependency.is_triggered_by = partial(asked, dependency.is_triggered_by)


def _last_layer(network: nn.Module, example: Feeds) -> nn.Module:
    """The Linear or Conv2d that runs last: its outputs are the classes."""
    ran: list[nn.Module] = []
    layers = [module for module in network.modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    handles = [layer.register_forward_hook(lambda module, *_: ran.append(module)) for layer in layers]
    with torch.no_grad():
        network(**{name: value[:1] for name, value in tensors(example, network).items()})
    for handle in handles:
        handle.remove()
    return ran[-1]


def _group(graph: Any, raw: Any, names: dict[Any, str]) -> Group:
    """torch-pruning's list of (layer, side, indices) with, for each index, the root channel it comes from."""
    members = tuple(_members(graph, raw, names))
    root = names[raw[0].dep.target.module]
    return Group("channels", root, int(raw[0].dep.target.module.out_channels), members)


def _members(graph: Any, raw: Any, names: dict[Any, str]) -> Iterator[Member]:
    seen = set()
    for item in raw.items:
        module = item.dep.target.module
        if module not in names:  # additions, reshapes and the like hold no weights
            continue
        side = "in" if item.dep.handler == graph.get_pruner_of_module(module).prune_in_channels else "out"
        if is_depthwise(module) or not isinstance(module, nn.Linear | nn.Conv2d):
            side = "out"
        if (module, side) in seen:  # both sides of a depthwise or norm layer are one
            continue
        seen.add((module, side))
        width = graph.get_in_channels(module) if side == "in" else graph.get_out_channels(module)
        # Behind a flatten one channel is many features, behind a concatenation only some: what has no root belongs to
        # none.
        unit = np.full(max(width, max(item.idxs) + 1), -1)
        unit[np.asarray(item.idxs)] = np.asarray(item.root_idxs)
        yield Member(names[module], "in" if side == "in" else "out", unit)


def _obstacle(network: nn.Module, group: Group, attention: set[str]) -> str:
    if group.name.endswith(".first") and is_factor(network, group.name):
        return "its channels are the rank of a factorized layer"
    modules = dict(network.named_modules())
    for member in group.members:
        module = modules.get(member.module)
        if member.module in attention:
            return f"its channels run into the attention of {member.module}"
        if isinstance(module, nn.Conv2d) and module.groups > 1 and not is_depthwise(module):
            return f"{member.module} is a grouped convolution"
        if not can_cut(network, member.module):
            return f"{member.module} ({type(module).__name__}) cannot be made smaller"
    return "" if group.readers() else "no layer reads its channels alone"
