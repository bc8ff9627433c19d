"""How much each unit of a group matters: by its weights, by what flows through it, or by what the loss says of it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from edgepress.compress.network.probing import Observer, evaluating, observe, rows_of, tensors
from edgepress.compress.network.slicing import Group, Member, is_depthwise
from edgepress.targets.errors import StageError
from edgepress.targets.records import Feeds

Importance = Literal["magnitude", "activation", "taylor"]
Loss = Callable[[Mapping[str, torch.Tensor], torch.Tensor], torch.Tensor]
"""(outputs by name, truth of the batch) -> mean loss, a scalar."""


def class_loss(outputs: Mapping[str, torch.Tensor], truth: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy of `logits` `[batch, classes]` with class numbers `[batch]`, in nats."""
    return cross_entropy(outputs["logits"].float(), truth)


def importance_of(
    network: nn.Module,
    groups: Sequence[Group],
    kind: Importance,
    calibration: Sequence[Feeds],
    labels: Sequence[np.ndarray],
    loss: Loss = class_loss,
) -> list[np.ndarray]:
    """Scores `[units]` of each group, larger = keep. `calibration` and `labels` are read as `kind` needs them.

    Args:
        network: holds the groups; stays as it is.
        groups: units that are scored against each other.
        loss: that of the task, which `taylor` differentiates.
    """
    if kind == "magnitude":
        return [magnitude(network, group) for group in groups]
    if kind == "activation":
        return activation(network, groups, calibration)
    return taylor(network, groups, calibration, labels, loss)


def magnitude(network: nn.Module, group: Group) -> np.ndarray:
    """L2 norm of all weights that a unit would take with it, `[units]`."""
    squares = np.zeros(group.units)
    for member in group.members:
        _add(squares, member, _squared_norms(network, member))
    return np.sqrt(squares)


def activation(network: nn.Module, groups: Sequence[Group], calibration: Sequence[Feeds]) -> list[np.ndarray]:
    """Norm of a unit's reading weights x RMS of what they read on calibration data (Wanda, arXiv 2306.11695).

    Args:
        network: holds the groups; runs on the data.
        groups: units that are scored against each other.
    """
    names = {member.module for group in groups for member in group.readers()}
    sums: dict[str, torch.Tensor | float] = dict.fromkeys(names, 0.0)
    rows = dict.fromkeys(names, 0)

    def observer(name: str) -> Observer:
        def see(module: nn.Module, inputs: torch.Tensor, output: torch.Tensor, mask: torch.Tensor | None) -> None:
            values = rows_of(inputs, module, mask)
            sums[name] = sums[name] + values.double().square().sum(0)
            rows[name] += len(values)

        return see

    observe(network, {name: observer(name) for name in names}, calibration)
    scores = []
    for group in groups:
        squares = np.zeros(group.units)
        for member in group.readers():
            # A module that never ran has a sum and a count of 0: its score is 0 then, not NaN.
            mean_square = torch.as_tensor(sums[member.module]).cpu().numpy() / max(rows[member.module], 1)
            _add(squares, member, _squared_norms(network, member) * mean_square)
        scores.append(np.sqrt(squares))
    return scores


def taylor(
    network: nn.Module,
    groups: Sequence[Group],
    calibration: Sequence[Feeds],
    labels: Sequence[np.ndarray],
    loss: Loss = class_loss,
) -> list[np.ndarray]:
    """Sum over samples of |d loss / d gate| for a gate of 1 on each unit, `[units]` (arXiv 1905.10650, 1611.06440).

    The derivative is the sum of activation x gradient over the unit's features and positions.

    Args:
        network: is copied before gradients are taken.
        groups: units that are scored against each other.
        calibration: calibration batches, each `{input: array}`.
        labels: the truth of the rows `[batch, ...]`, one array for each batch.
        loss: that of the task.

    Raises:
        StageError: there is no calibration data, or labels do not go with it.
    """
    if not calibration or len(calibration) != len(labels):
        raise StageError(
            f"importance 'taylor' needs labelled calibration batches: got {len(calibration)} batches and "
            f"{len(labels)} label arrays. Choose 'magnitude' or 'activation', or give calibration data with labels."
        )
    # A student may have frozen weights, and without a gradient on the way a unit behind them would score nothing.
    network = copy.deepcopy(network).requires_grad_(True)
    read: dict[str, list[torch.Tensor]] = {}

    def keep(name: str) -> object:
        def hook(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
            # Activations are no leaves: torch would free their gradients on the way back.
            inputs[0].retain_grad()
            read.setdefault(name, []).append(inputs[0])
            return inputs

        return network.get_submodule(name).register_forward_pre_hook(hook)

    for name in {member.module for group in groups for member in group.readers()}:
        keep(name)
    scores = [np.zeros(group.units) for group in groups]
    with torch.enable_grad(), evaluating(network):
        for feeds, truth in zip(calibration, labels, strict=True):
            # Graphs of earlier batches would be kept alive by these inputs.
            read.clear()
            logits = network(**tensors(feeds, network)).logits
            # A mean would make each sample's gradient smaller the larger its batch is.
            (len(logits) * loss({"logits": logits}, torch.from_numpy(truth).to(logits.device))).backward()
            for score, group in zip(scores, groups, strict=True):
                score += _gate_gradients(network, group, read)
    return scores


def _gate_gradients(network: nn.Module, group: Group, read: dict[str, list[torch.Tensor]]) -> np.ndarray:
    total = np.zeros((1, group.units))
    for member in group.readers():
        for inputs in read.get(member.module, []):
            product = (inputs * inputs.grad).detach()  # type: ignore[operator]
            if isinstance(network.get_submodule(member.module), nn.Conv2d):
                product = product.movedim(1, -1)
            # Summed over positions before the absolute value: a gate is one number for the whole row, so its
            # derivatives at the positions may cancel.
            features = product.reshape(len(product), -1, product.shape[-1]).sum(1).double().cpu().numpy()
            total = total + features @ _one_hot(member, group.units)
    scores: np.ndarray = np.abs(total).sum(0)
    return scores


def _one_hot(member: Member, units: int) -> np.ndarray:
    matches: np.ndarray = member.unit[:, None] == np.arange(units)
    return matches.astype(np.float64)


def _add(total: np.ndarray, member: Member, values: np.ndarray) -> None:
    # Features that belong to no unit (-1) stay whatever is pruned, and would be added to the last one.
    ours = member.unit >= 0
    np.add.at(total, member.unit[ours], values[ours])


def _squared_norms(network: nn.Module, member: Member) -> np.ndarray:
    """Squared L2 norm of each feature's weights on the member's side, `[features]`."""
    parent, _, attribute = member.module.rpartition(".")
    module = getattr(network.get_submodule(parent), attribute)
    if isinstance(module, nn.Parameter):
        weight = module.reshape(-1, len(member.unit)).T
    elif isinstance(module, nn.Embedding) or (member.side == "in" and not is_depthwise(module)):
        weight = module.weight.transpose(0, 1).flatten(1)
    else:
        weight = module.weight.reshape(len(member.unit), -1)
    squares: np.ndarray = weight.detach().double().square().sum(1).cpu().numpy()
    return squares
