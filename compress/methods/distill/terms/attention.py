"""Attention maps layer by layer (TinyBERT, arXiv 1909.10351), by the divergence of MiniLM (arXiv 2002.10957)."""

from __future__ import annotations

from typing import Any

import torch

from edgepress.compress.methods.distill.terms.base import Batch, Compared, Term, masked_mean
from edgepress.compress.network.hidden_states import attention_maps
from edgepress.compress.training.batches import TeacherOutputs
from edgepress.compress.training.teacher_cache import Wanted


def attention_divergence(student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """KL(teacher || student) of attention distributions `[batch, tokens, tokens]`, averaged over the heads beforehand
    (so head counts may differ) and over the query tokens where `mask` is 1. In nats."""
    # Masked tokens have a weight of exactly 0, whose logarithm is not finite; 1e-8 is below what a softmax in 16 bits
    # tells from 0.
    tiny = 1e-8
    return masked_mean((teacher * ((teacher + tiny).log() - (student + tiny).log())).sum(-1), mask)


class Attention(Term):
    """The mean over the pairs of their divergences; embeddings have no attention."""

    outputs = {"output_attentions": True}
    layers = True

    @classmethod
    def needs(cls, compared: Compared) -> Wanted:
        return Wanted(attention=tuple(theirs for mine, theirs in compared.pairs if mine))

    def loss(self, student: Any, teacher: TeacherOutputs, batch: Batch) -> torch.Tensor:
        """Mean over the compared layers of the divergence of attention maps, averaged over the heads.

        Args:
            student: the student's output on the batch.
            teacher: the teacher's outputs on the same rows; `attention` is read.
            batch: labels and mask of these rows.
        """
        losses = []
        maps: Any = attention_maps(student)
        layers = (layer for layer in self.compared.layers if layer)
        for layer, wanted in zip(layers, teacher["attention"], strict=True):
            # State 1 is what the first layer gives, and its map is number 0: there is no map of the embedding.
            own = maps[layer - 1].float().mean(1)
            losses.append(attention_divergence(own, wanted.float(), batch.mask))
        return torch.stack(losses).mean()
