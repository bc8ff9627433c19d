"""One forward pass, before anything is trained or exported: whether a network takes what its task gives it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgepress.targets.errors import ModelError, told
from edgepress.targets.records import Feeds, TensorSpec

if TYPE_CHECKING:
    from torch import Tensor, nn

MAX_BATCH = 64
"""Models are exported for batches of 1 to this."""


@dataclass(frozen=True)
class Trial:
    """What a network is tried with.

    Args:
        inputs: their names and shapes, for any batch.
        bounds: least and most of each free size in those shapes.
        feeds: one batch within the bounds, at the largest sequence.
        hint: what to change where the pass fails.
    """

    inputs: tuple[TensorSpec, ...]
    bounds: dict[str, tuple[int, int]]
    feeds: Feeds
    hint: str

    @property
    def rows(self) -> int:
        """Of the batch."""
        return len(self.feeds[self.inputs[0].name])


def tried(network: nn.Module, trial: Trial, tensors: Callable[[Any], dict[str, Tensor]]) -> dict[str, Tensor]:
    """The outputs of one forward pass in eval mode, by name; the network's own mode is kept.

    Args:
        network: any transformers model.
        trial: what it is given.
        tensors: takes the outputs that matter from what its forward returns.

    Raises:
        ModelError: the network does not take the inputs, or the pass fails.
    """
    import torch

    names = [spec.name for spec in trial.inputs]
    kind = type(network).__name__
    known = forward_names(network)
    if missing := sorted(set(names) - known) if known is not None else []:
        raise ModelError(
            f"{kind} takes no input {missing[0]!r}, which this task gives it: it is no model for this task."
        )
    device = next(network.parameters()).device
    feeds = {name: torch.from_numpy(np.array(trial.feeds[name])).to(device) for name in names}
    training = network.training
    try:
        with torch.no_grad():  # no inference tensors: BEiT keeps some for its backward pass
            return tensors(network.eval()(**feeds))
    except (RuntimeError, ValueError, IndexError, AttributeError, TypeError) as fault:
        shapes = ", ".join(f"{name} {list(trial.feeds[name].shape)}" for name in names)
        raise ModelError(f"{kind} fails on {shapes}: {told(fault)}. {trial.hint}") from None
    finally:
        network.train(training)


def takes(network: nn.Module, name: str) -> bool:
    """Whether a network's forward takes an input of that name."""
    known = forward_names(network)
    return known is None or name in known


def forward_names(network: nn.Module) -> set[str] | None:
    """The inputs that a network's forward names; None where it takes any. A wrapper says those of what it wraps."""
    if not isinstance(network, type) and hasattr(network, "input_names"):
        return set(network.input_names) if network.input_names is not None else None  # type: ignore[arg-type]
    return set(inspect.signature(network.forward).parameters)
