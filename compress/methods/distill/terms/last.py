"""What the terms share that compare the last hidden state alone."""

from __future__ import annotations

from typing import Any

import torch

from edgepress.compress.methods.distill.terms.base import Compared
from edgepress.compress.network.hidden_states import at_grid, hidden_states
from edgepress.compress.training.teacher_cache import Wanted


def last_kept(compared: Compared) -> Wanted:
    """The teacher's side of all pairs: what the terms that compare every layer keep too, so that both fit together.
    Where no such term has a weight, the last pair is the only one."""
    grids = tuple(grid for _, grid in compared.places)
    return Wanted(hidden=tuple(theirs for _, theirs in compared.pairs), grids=grids)


def last_state(student: Any, compared: Compared) -> torch.Tensor:
    """The student's side of the last pair, `[batch, positions, channels]`, averaged to the pair's grid."""
    states: Any = hidden_states(student)
    return at_grid(states[compared.layers[-1]], *compared.placed[-1])


def pooled(state: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """A state `[batch, positions, channels]` as one vector a row, the mean over its real positions.

    >>> pooled(torch.tensor([[[1.0], [3.0], [9.0]]]), torch.tensor([[1, 1, 0]]))
    tensor([[2.]])
    """
    if mask is None:
        return state.mean(1)
    real = mask[:, :, None].to(state.dtype)
    return (state * real).sum(1) / real.sum(1)
