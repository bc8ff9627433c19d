"""Sparsity inside a training: magnitude on a schedule, movement, and masks that move (SET, RigL).

All of them keep a mask for each layer, and after each step weights outside of it are zero. The mask is the pattern of
the weights' own zeros, so that a training that was cut off finds it in its checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from edgepress.compress.methods.prune.sparse.masks import Masks, cosine, cubic, largest, masks_of, moved
from edgepress.compress.methods.prune.sparse.options import Dynamic, RigL, Scheduled
from edgepress.compress.model.sparsity import sparse_weights
from edgepress.compress.training.hooks import HoldZeros

SCORES = "scores.safetensors"


class Masked(HoldZeros):
    """Masks over a training; what they become is the subclass's."""

    def __init__(self, modules: tuple[str, ...]) -> None:
        super().__init__(modules)
        self.weights: dict[str, nn.Parameter] = {}
        self.masks: Masks = {}

    def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        self.weights = sparse_weights(given["model"].network, self.modules)
        self.masks = {name: weight.detach() != 0 for name, weight in self.weights.items()}

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Weights that are not there take no gradient: neither steps nor an optimizer's moments know of them."""
        for name, weight in self.weights.items():
            if weight.grad is not None:
                weight.grad.mul_(self.masks[name])

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        with torch.no_grad():
            for name, weight in self.weights.items():
                weight.mul_(self.masks[name])


class Schedule:
    """The cubic schedule over the steps of one training.

    Args:
        options: begin, end, every and the final sparsity.
        steps: optimizer steps of the training.
    """

    def __init__(self, options: Scheduled, steps: int) -> None:
        self.options = options
        self.first = int(options.begin * steps)
        self.last = max(self.first + 1, int(options.end * steps))

    def due(self, step: int) -> bool:
        """Whether the masks change at this step: every so many of them, and at the last."""
        regular = self.first <= step < self.last and not (step - self.first) % self.options.every
        return regular or step == self.last

    def sparsity(self, step: int) -> float:
        return cubic(step, self.first, self.last, 0.0, self.options.sparsity)


class Gradual(Masked):
    """Magnitude pruning by the cubic schedule (arXiv 1710.01878): what is zero stays so, and is among the smallest."""

    def __init__(self, modules: tuple[str, ...], options: Scheduled) -> None:
        super().__init__(modules)
        self.options = options

    def counts(self, step: int, steps: int) -> bool:
        return step >= Schedule(self.options, steps).last

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        # The Trainer counts the step after this event.
        schedule, step = Schedule(self.options, state.max_steps), state.global_step + 1
        super().on_optimizer_step(args, state, control, **given)
        if schedule.due(step):
            sizes = {name: weight.detach().abs() for name, weight in self.weights.items()}
            found = masks_of(sizes, schedule.sparsity(step), self.options.scope)
            # A weight that is zero by chance of the optimizer is not pruned, and one that was pruned never comes back.
            self.masks = {name: mask & self.masks[name] for name, mask in found.items()}
            super().on_optimizer_step(args, state, control, **given)


class Moving(Gradual):
    """Movement pruning (arXiv 2005.07683, equation 4): S = - sum over the steps of dL/dW * W; the highest S stay.

    The gradient is that of the masked weights (straight-through), and a weight outside of the mask keeps its value
    aside: it comes back with it when its score does. Scores and values lie beside each checkpoint.
    """

    def __init__(self, modules: tuple[str, ...], options: Scheduled) -> None:
        super().__init__(modules, options)
        self.scores: dict[str, torch.Tensor] = {}
        self.values: dict[str, torch.Tensor] = {}

    def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        super().on_train_begin(args, state, control, **given)
        # What was pruned before does not come back.
        self.scores = {
            name: torch.zeros_like(mask, dtype=torch.float32).masked_fill(~mask, -torch.inf)
            for name, mask in self.masks.items()
        }
        self.values = {name: weight.detach().clone() for name, weight in self.weights.items()}
        if state.global_step:
            self._read(_beside(args, state) / SCORES)

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        for name, weight in self.weights.items():
            if weight.grad is not None:
                # Before the gradient is masked: a weight outside of the mask scores by what it would do if it were
                # there.
                self.scores[name] -= weight.grad * self.values[name]
        super().on_pre_optimizer_step(args, state, control, **given)

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        schedule, step = Schedule(self.options, state.max_steps), state.global_step + 1
        with torch.no_grad():
            for name, weight in self.weights.items():
                self.values[name] = torch.where(self.masks[name], weight.detach(), self.values[name])
        if schedule.due(step):
            found = masks_of(self.scores, schedule.sparsity(step), self.options.scope)
            self.masks = {name: mask & (self.scores[name] > -torch.inf) for name, mask in found.items()}
        with torch.no_grad():
            for name, weight in self.weights.items():
                weight.copy_(self.values[name] * self.masks[name])

    def on_save(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        if state.is_world_process_zero:
            kept = {f"score {name}": value for name, value in self.scores.items()}
            kept |= {f"value {name}": value for name, value in self.values.items()}
            kept |= {f"mask {name}": mask for name, mask in self.masks.items()}
            save_file({name: value.contiguous().cpu() for name, value in kept.items()}, _beside(args, state) / SCORES)

    def _read(self, path: Path) -> None:
        kept = load_file(path)
        for name, weight in self.weights.items():
            self.scores[name] = kept[f"score {name}"].to(weight.device)
            self.values[name] = kept[f"value {name}"].to(weight.device)
            self.masks[name] = kept[f"mask {name}"].to(weight.device)


class Evolving(Masked):
    """Masks that move: SET (arXiv 1707.04780) grows weights at random, RigL (1911.11134) where gradients are largest.

    Both drop the smallest weights of each layer, and a grown weight starts at zero. The paper of RigL leaves out the
    optimizer's step where masks move; here it is taken, which gives grown weights their first value.
    """

    def __init__(self, modules: tuple[str, ...], options: Dynamic, seed: int) -> None:
        super().__init__(modules)
        self.options, self.seed = options, seed

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        step, last = state.global_step + 1, int(self.options.end * state.max_steps)
        if step < last and not step % self.options.every:
            self._move(step, cosine(step, last, self.options.drop))
        super().on_pre_optimizer_step(args, state, control, **given)

    def _move(self, step: int, share: float) -> None:
        # One seed a step: every process draws the same, and so does a training that was cut off.
        random = torch.Generator().manual_seed(self.seed + step)
        with torch.no_grad():
            for name, weight in self.weights.items():
                growth = self._growth(weight, random)
                self.masks[name] = moved(weight.detach(), self.masks[name], growth, share)
                weight.mul_(self.masks[name])

    def _growth(self, weight: nn.Parameter, random: torch.Generator) -> torch.Tensor:
        if isinstance(self.options, RigL):
            # A layer that this batch did not reach has no gradient: nothing says where it should grow.
            return weight.grad.abs() if weight.grad is not None else torch.zeros_like(weight)
        return torch.rand(weight.shape, generator=random).to(weight.device)


def starting(weights: Mapping[str, nn.Parameter], zeros: Mapping[str, int], start: str, seed: int) -> Masks:
    """The first masks of a dynamic training: the largest weights of each layer, or some at random.

    Args:
        weights: by module.
        zeros: how many weights of each are to be zero.
        start: `magnitude` or `random`.
        seed: of what is drawn.
    """
    random = torch.Generator().manual_seed(seed)
    found = {}
    for name, weight in weights.items():
        scores = weight.detach().abs() if start == "magnitude" else torch.rand(weight.shape, generator=random)
        found[name] = largest(scores, weight.numel() - zeros[name])
    return found


def _beside(args: Any, state: Any) -> Path:
    return Path(args.output_dir) / f"checkpoint-{state.global_step}"
