"""What the terms share that compare the last hidden state alone."""

from __future__ import annotations

from typing import Any

import torch

from edgepress.compress.methods.distill.terms.base import Compared, Term
from edgepress.compress.network.hidden_states import at_grid, hidden_states
from edgepress.compress.training.batches import TeacherOutputs
from edgepress.compress.training.teacher_cache import Wanted


class LastLayer(Term):
    """A term of the last pair. It keeps what the terms that compare every layer keep, so that both fit together; where
    no such term has a weight, the last pair is the only one."""

    outputs = {"output_hidden_states": True}
    layers = True
    last = True

    @classmethod
    def needs(cls, compared: Compared) -> Wanted:
        return compared.hidden

    def states(self, student: Any, teacher: TeacherOutputs) -> tuple[torch.Tensor, torch.Tensor]:
        """Both sides of the last pair, `[batch, positions, channels]`, on the pair's grid.

        Args:
            student: the student's output on the batch, in the precision that it trains in.
            teacher: the teacher's outputs on the same rows; the last of `hidden` is read, as float32.
        """
        states: Any = hidden_states(student)
        return at_grid(states[self.compared.layers[-1]], *self.compared.placed[-1]), teacher["hidden"][-1].float()


def pooled(state: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """A state `[batch, positions, channels]` as one vector a row, the mean over its real positions.

    >>> pooled(torch.tensor([[[1.0], [3.0], [9.0]]]), torch.tensor([[1, 1, 0]]))
    tensor([[2.]])
    """
    if mask is None:
        return state.mean(1)
    real = mask[:, :, None].to(state.dtype)
    return (state * real).sum(1) / real.sum(1)
