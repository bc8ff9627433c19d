"""How alike a network finds the rows of a batch (similarity-preserving distillation, arXiv 1907.09682), by its answers
instead of a layer's activations."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional as F

from edgepress.compress.methods.distill.terms.base import Batch, Term
from edgepress.compress.training.batches import TeacherOutputs


def similarities_of(rows: torch.Tensor) -> torch.Tensor:
    """Cosines of all rows `[batch, width]` with each other, `[batch, batch]`.

    >>> similarities_of(torch.tensor([[2.0, 0.0], [0.0, 1.0]]))
    tensor([[1., 0.],
            [0., 1.]])
    """
    directions = F.normalize(rows, dim=-1)
    return directions @ directions.T


class Similarities(Term):
    """Mean squared difference of both networks' cosines between the answers of any two rows of the batch."""

    def loss(self, student: Any, teacher: TeacherOutputs, batch: Batch) -> torch.Tensor:
        """The term on one batch; 0 for a batch of one row.

        Args:
            student: the student's output on the batch.
            teacher: the teacher's outputs on the same rows; `logits` is read.
            batch: labels and mask of these rows.
        """
        own, wanted = (similarities_of(values.float()) for values in (student.logits, teacher["logits"]))
        return F.mse_loss(own, wanted)
