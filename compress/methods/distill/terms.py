"""Terms of the distillation loss: softened logits, hidden states, attention."""

from __future__ import annotations

import torch
from torch.nn import functional as F


def distillation_loss(
    student: torch.Tensor, teacher: torch.Tensor, labels: torch.Tensor, temperature: float, alpha: float
) -> torch.Tensor:
    """(1 - alpha) * cross-entropy + alpha * T² * KL(teacher_T || student_T), mean over the batch, in nats.

    T² keeps the soft part's gradients of the same size whatever the temperature (arXiv 1503.02531, section 2).

    Args:
        student: logits `[batch, classes]`.
        teacher: logits `[batch, classes]`.
        labels: `[batch]`, int64.

    >>> student, teacher = torch.tensor([[0.0, 0.0]]), torch.tensor([[2.0, 0.0]])
    >>> round(distillation_loss(student, teacher, torch.tensor([0]), temperature=2.0, alpha=1.0).item(), 4)
    0.4438
    """
    soft = F.kl_div(
        F.log_softmax(student / temperature, -1),
        F.log_softmax(teacher / temperature, -1),
        reduction="batchmean",
        log_target=True,
    )
    return (1 - alpha) * F.cross_entropy(student, labels) + alpha * temperature**2 * soft


def masked_mse(student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Mean squared difference of hidden states `[batch, tokens, hidden]` over the tokens where `mask` is 1."""
    squares = (student - teacher).pow(2).mean(-1)
    if mask is None:
        return squares.mean()
    return (squares * mask).sum() / mask.sum()


def attention_divergence(student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """KL(teacher || student) of attention distributions `[batch, tokens, tokens]`, averaged over the heads beforehand
    (so head counts may differ) and over the query tokens where `mask` is 1. In nats."""
    tiny = 1e-8
    divergence = (teacher * ((teacher + tiny).log() - (student + tiny).log())).sum(-1)
    if mask is None:
        return divergence.mean()
    return (divergence * mask).sum() / mask.sum()
