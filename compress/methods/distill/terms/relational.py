"""How rows lie to each other, whatever the networks' widths: relational distillation (RKD, arXiv 1904.05068)."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch.nn import functional as F

from edgepress.compress.methods.distill.terms.base import Batch
from edgepress.compress.methods.distill.terms.last import LastLayer, pooled
from edgepress.compress.training.batches import TeacherOutputs


def distances_of(rows: torch.Tensor) -> torch.Tensor:
    """Distances between all rows `[batch, channels]` in units of their mean, `[batch, batch]`.

    >>> distances_of(torch.tensor([[0.0], [3.0], [6.0]]))[0]
    tensor([0.0000, 0.7500, 1.5000])
    """
    # The root of a sum of squares has no gradient at 0, where every row lies to itself: those are left at 0.
    squares = (rows[:, None] - rows[None]).pow(2).sum(-1)
    apart = squares > 0
    distances = torch.where(apart, squares.where(apart, squares.new_ones(())).sqrt(), squares.new_zeros(()))
    return distances / distances[apart].mean() if apart.any() else distances


def angles_of(rows: torch.Tensor) -> torch.Tensor:
    """Cosines of the angles that any two rows make at a third: entry i, j, k of rows `[batch, channels]` is the angle
    between i and k, seen from j; `[batch, batch, batch]`.

    >>> angles_of(torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0], [2.0, 0.0]]))[0, 1]
    tensor([1., 0., 0., 1.])
    """
    directions = F.normalize(rows[:, None] - rows[None], dim=-1)  # [i, j]: from j to i
    return torch.einsum("ijc,kjc->ijk", directions, directions)


class _Relation(LastLayer):
    @abstractmethod
    def relation(self, rows: torch.Tensor) -> torch.Tensor:
        """What is compared, of rows `[batch, channels]`."""

    def loss(self, student: Any, teacher: TeacherOutputs, batch: Batch) -> torch.Tensor:
        """Huber loss between both networks' relations of the rows of the batch; 0 for a batch of one row.

        Args:
            student: the student's output on the batch.
            teacher: the teacher's outputs on the same rows; the last of `hidden` is read.
            batch: labels and mask of these rows.
        """
        own, wanted = (pooled(state.float(), batch.mask) for state in self.states(student, teacher))
        return F.smooth_l1_loss(self.relation(own), self.relation(wanted))


class Distances(_Relation):
    """RKD-D: Huber loss of the distances between the rows of a batch, in units of their mean (equations 5 and 6)."""

    def relation(self, rows: torch.Tensor) -> torch.Tensor:
        """See `distances_of`."""
        return distances_of(rows)


class Angles(_Relation):
    """RKD-A: Huber loss of the cosines of all angles that three rows of a batch make (equations 7 and 8)."""

    def relation(self, rows: torch.Tensor) -> torch.Tensor:
        """See `angles_of`."""
        return angles_of(rows)
