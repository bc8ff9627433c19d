"""How the tokens of a row lie to each other in the last layer, whatever widths and heads: the relations of MiniLMv2
(arXiv 2012.15828), of hidden states instead of queries, keys and values, which no network hands out."""

from __future__ import annotations

from math import gcd, sqrt
from typing import Any

import torch

from edgepress.compress.methods.distill.terms.base import Batch, masked_mean
from edgepress.compress.methods.distill.terms.last import LastLayer
from edgepress.compress.training.batches import TeacherOutputs

MOST_HEADS = 12


def relation_heads(own: int, wanted: int) -> int:
    """Into how many heads both widths are cut: the most up to 12 that divide both.

    >>> relation_heads(384, 768), relation_heads(128, 384), relation_heads(5, 7)
    (12, 8, 1)
    """
    shared = gcd(own, wanted)
    return max(heads for heads in range(1, MOST_HEADS + 1) if shared % heads == 0)


def log_relations(state: torch.Tensor, heads: int, mask: torch.Tensor | None) -> torch.Tensor:
    """log softmax(A Aᵀ / sqrt(width of a head)) of a state A `[batch, tokens, width]`, cut into heads: from each token
    to all real ones, `[batch, heads, tokens, tokens]`.

    Args:
        state: of a row's tokens.
        heads: how many it is cut into.
        mask: 1 for real tokens, `[batch, tokens]`.
    """
    cut = state.unflatten(-1, (heads, -1)).transpose(1, 2)
    products = cut @ cut.transpose(-1, -2) / sqrt(cut.shape[-1])
    if mask is not None:
        # Not -inf: 0 * log 0 would make the divergence NaN where a padded token stands.
        products = products.masked_fill(mask[:, None, None, :] == 0, torch.finfo(products.dtype).min)
    logs: torch.Tensor = products.log_softmax(-1)
    return logs


def relation_divergence(own: torch.Tensor, wanted: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """KL(teacher || student) in nats of logarithms `[batch, heads, tokens, tokens]`, mean over heads and tokens."""
    each = (wanted.exp() * (wanted - own)).sum(-1).mean(1)
    return masked_mean(each, mask)


class TokenRelations(LastLayer):
    """KL between the distributions softmax(A Aᵀ / sqrt(d)) of the last hidden states A, from each token to each. Needs
    neither equal widths nor equal heads nor a projection."""

    def loss(self, student: Any, teacher: TeacherOutputs, batch: Batch) -> torch.Tensor:
        """Mean over heads and real tokens of the divergence, in nats.

        Args:
            student: the student's output on the batch.
            teacher: the teacher's outputs on the same rows; the last of `hidden` is read.
            batch: labels and mask of these rows.
        """
        heads = relation_heads(*self.compared.widths[-1])
        own, wanted = (log_relations(state.float(), heads, batch.mask) for state in self.states(student, teacher))
        return relation_divergence(own, wanted, batch.mask)
