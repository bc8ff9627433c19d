"""A distillation term of your own: the teacher's ranking of the classes, pair by pair.

A term says what it `needs` of the teacher (here the logits, which are always kept) and gives a scalar `loss`.
Registered, a recipe can say `- distill: {terms: {ranking: 0.5}}`.
"""

from __future__ import annotations

from typing import Any

import torch

from edgepress.compress.methods.distill.terms import TERMS
from edgepress.compress.methods.distill.terms.base import Batch, Term
from edgepress.compress.training.batches import TeacherOutputs

MARGIN = 1.0


class Ranking(Term):
    """Mean over pairs of classes of max(0, margin - (difference of the student's logits in the teacher's order))."""

    def loss(self, student: Any, teacher: TeacherOutputs, batch: Batch) -> torch.Tensor:
        """A scalar of logits `[batch, classes]`: 0 where each pair is in the teacher's order by the margin."""
        own, wanted = student.logits.float(), teacher["logits"].float()
        order = torch.sign(wanted[:, :, None] - wanted[:, None, :])  # [batch, classes, classes]
        lead = (own[:, :, None] - own[:, None, :]) * order
        return (torch.clamp(MARGIN - lead, min=0) * (order > 0)).sum() / (order > 0).sum().clamp(min=1)


TERMS["ranking"] = "my_term:Ranking"
