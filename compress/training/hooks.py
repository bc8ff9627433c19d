"""What a method does inside a training: a callback of the Trainer that also says which epochs may be kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from transformers import TrainerCallback

from edgepress.compress.model.sparsity import sparse_weights

if TYPE_CHECKING:
    from edgepress.compress.model.model import Model


class Hook(TrainerCallback):
    """A method's part in a training: transformers' own events, and `counts`.

    `model.network` of an event is the network that trains. A hook sees each event before progress, validation and
    checkpoints do. Until `on_train_begin` it is plain data, for every process of a run gets a copy; a training that was
    cut off goes on with a fresh one, so what it must remember lies in the weights or beside the checkpoint.
    """

    def counts(self, step: int, steps: int) -> bool:
        """Whether the weights after `step` of `steps` optimizer steps are what the method is there for; an epoch that
        ends before is never the best one. The last step always counts."""
        return True


class HoldZeros(Hook):
    """Weights of sparse layers that are zero when the training begins are zero after each of its steps."""

    def __init__(self, modules: tuple[str, ...]) -> None:
        self.modules = modules
        self.held: list[tuple[torch.Tensor, torch.Tensor]] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        weights = sparse_weights(given["model"].network, self.modules)
        self.held = [(weight, weight.detach() != 0) for weight in weights.values()]

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        with torch.no_grad():
            for weight, kept in self.held:
                weight.mul_(kept)


def hooks_for(model: Model, asked: tuple[Hook, ...]) -> tuple[Hook, ...]:
    """The hooks of a training: those that were asked for, and one that holds the zeros that none of them answers for.

    Args:
        model: what is trained; its edits name the sparse layers.
        asked: the method's own; a `HoldZeros` among them says itself which weights of its modules stay zero.
    """
    answered = {name for hook in asked if isinstance(hook, HoldZeros) for name in hook.modules}
    rest = tuple(name for name in model.sparse_modules if name not in answered)
    return (*asked, HoldZeros(rest)) if rest else asked
