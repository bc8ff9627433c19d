"""Hidden states layer by layer, through learned projections where widths differ (TinyBERT, arXiv 1909.10351)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from edgepress.compress.methods.distill.terms.base import Batch, Compared, Term, masked_mean
from edgepress.compress.network.hidden_states import at_grid, hidden_states
from edgepress.compress.training.batches import TeacherOutputs
from edgepress.compress.training.teacher_cache import Wanted

if TYPE_CHECKING:
    from edgepress.compress.methods.distill.options import Distill


def masked_mse(student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Mean squared difference of hidden states `[batch, tokens, hidden]` over the tokens where `mask` is 1."""
    return masked_mean((student - teacher).pow(2).mean(-1), mask)


class HiddenStates(Term):
    """The mean over the pairs of their mean squared differences. Where student and teacher differ in width, a learned
    projection stands between (TinyBERT's W_h); of feature maps it is linear over the channels, a 1 x 1 convolution."""

    outputs = {"output_hidden_states": True}
    layers = True

    def __init__(self, options: Distill, compared: Compared) -> None:
        super().__init__(options, compared)
        self.projections = nn.ModuleList(
            nn.Linear(own, wanted) if own != wanted else nn.Identity() for own, wanted in compared.widths
        )

    @classmethod
    def needs(cls, compared: Compared) -> Wanted:
        return compared.hidden

    def loss(self, student: Any, teacher: TeacherOutputs, batch: Batch) -> torch.Tensor:
        """Mean over the compared layers of the masked mean squared difference.

        Args:
            student: the student's output on the batch.
            teacher: the teacher's outputs on the same rows; `hidden` is read.
            batch: labels and mask of these rows.
        """
        losses, compared = [], self.compared
        states: Any = hidden_states(student)
        each = zip(compared.layers, compared.placed, self.projections, teacher["hidden"], strict=True)
        for layer, place, projection, wanted in each:
            own = projection(at_grid(states[layer], *place)).float()
            losses.append(masked_mse(own, wanted.float(), batch.mask))
        return torch.stack(losses).mean()
