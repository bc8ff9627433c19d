"""What a term of the distillation loss is: what it needs of the teacher, and its loss on a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from edgepress.compress.network.hidden_states import Grid, State
from edgepress.compress.tasks.base import Outputs
from edgepress.compress.tasks.outputs.classes import Classes
from edgepress.compress.training.batches import TeacherOutputs
from edgepress.compress.training.teacher_cache import Wanted

if TYPE_CHECKING:
    from edgepress.compress.methods.distill.options import Distill


CLASSES = Classes()


@dataclass(frozen=True)
class Compared:
    """Which layers of student and teacher are compared; empty where no term compares any.

    Args:
        pairs: (student's, teacher's) numbers of hidden states, 0 the embedding.
        widths: for each pair the channels (student's, teacher's).
        places: for each pair the student's state and the grid that both are averaged to; without them all positions are
            compared.
    """

    pairs: Sequence[tuple[int, int]] = ()
    widths: Sequence[tuple[int, int]] = ()
    places: Sequence[tuple[State, Grid | None]] = ()

    @property
    def layers(self) -> tuple[int, ...]:
        """The student's hidden states."""
        return tuple(mine for mine, _ in self.pairs)

    @property
    def hidden(self) -> Wanted:
        """The teacher's hidden states of all pairs, each on its pair's grid."""
        return Wanted(hidden=tuple(theirs for _, theirs in self.pairs), grids=tuple(grid for _, grid in self.places))

    @property
    def placed(self) -> tuple[tuple[State, Grid | None], ...]:
        """`places`, of every pair."""
        return tuple(self.places) or tuple((State(0, own), None) for own, _ in self.widths)


@dataclass(frozen=True)
class Batch:
    """What a loss may know of a batch besides the two networks' outputs.

    Args:
        labels: as the task's kind of outputs has them: class numbers int64 `[batch]`, or float32 `[batch, outputs]`.
        mask: 1 for real tokens, `[batch, tokens]`; None for images.
        kind: of the task's outputs.
    """

    labels: torch.Tensor
    mask: torch.Tensor | None
    kind: Outputs = CLASSES


class Term(nn.Module):
    """One term. As a module it may have parameters of its own, which are trained along and then thrown away.

    `outputs`: what it asks the student's forward for besides the logits. `layers`: whether it compares layers, so that
    the layer map is needed; `last`: whether the last pair of them is enough. `classes`: whether it needs a row to have
    one class of several.
    """

    outputs: Mapping[str, bool] = {}
    layers: bool = False
    last: bool = False
    classes: bool = False

    def __init__(self, options: Distill, compared: Compared) -> None:
        """
        Args:
            options: the recipe's distillation.
            compared: the layer map.
        """
        super().__init__()
        self.options = options
        self.compared = compared

    @classmethod
    def needs(cls, compared: Compared) -> Wanted:
        """What must be kept of the teacher besides its logits."""
        return Wanted()

    def loss(self, student: Any, teacher: TeacherOutputs, batch: Batch) -> torch.Tensor:
        """The term on one batch, before its weight.

        Args:
            student: what the network gave: `logits [batch, classes]`, and what `outputs` asked for.
            teacher: `logits [batch, classes]`, and lists of what `needs` asked for, one entry a pair.
            batch: labels and mask.

        Returns:
            A scalar.
        """
        raise NotImplementedError


def masked_mean(values: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """The mean of `values` `[batch, tokens]` over the tokens where `mask` is 1; over all of them without one.

    >>> masked_mean(torch.tensor([[1.0, 5.0, 9.0]]), torch.tensor([[1, 1, 0]])).item()
    3.0
    """
    if mask is None:
        return values.mean()
    # Of the batch's tokens, not of each row's: a mean of means would let a row of two tokens count as much as one of a
    # hundred.
    return (values * mask).sum() / mask.sum()
