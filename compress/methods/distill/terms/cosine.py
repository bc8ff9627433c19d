"""The direction of the last hidden state, which DistilBERT's triple loss adds to soft targets (arXiv 1910.01108)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional as F

from edgepress.compress.methods.distill.terms.base import Batch, Compared, masked_mean
from edgepress.compress.methods.distill.terms.last import LastLayer
from edgepress.compress.training.batches import TeacherOutputs

if TYPE_CHECKING:
    from edgepress.compress.methods.distill.options import Distill


def cosine_distance(student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """1 - cos of hidden states `[batch, tokens, hidden]`, mean over the tokens where `mask` is 1: from 0 to 2.

    >>> right, up = torch.tensor([[[2.0, 0.0]]]), torch.tensor([[[0.0, 5.0]]])
    >>> cosine_distance(right, up, None).item(), cosine_distance(right, -3 * right, None).item()
    (1.0, 2.0)
    """
    return masked_mean(1 - F.cosine_similarity(student, teacher, dim=-1), mask)


class Cosine(LastLayer):
    """1 - cos between the last hidden states, token by token; a learned projection where their widths differ. It asks
    for the direction alone, which a narrower network can follow where it cannot follow the size."""

    def __init__(self, options: Distill, compared: Compared) -> None:
        super().__init__(options, compared)
        own, wanted = compared.widths[-1]
        self.projection = nn.Linear(own, wanted) if own != wanted else nn.Identity()

    def loss(self, student: Any, teacher: TeacherOutputs, batch: Batch) -> torch.Tensor:
        """Mean over real tokens of 1 - cos.

        Args:
            student: the student's output on the batch.
            teacher: the teacher's outputs on the same rows; the last of `hidden` is read.
            batch: labels and mask of these rows.
        """
        own, wanted = self.states(student, teacher)
        return cosine_distance(self.projection(own).float(), wanted, batch.mask)
