"""The labels and the teacher's softened logits (arXiv 1503.02531)."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional as F

from edgepress.compress.methods.distill.terms.base import Batch, Term
from edgepress.compress.training.batches import TeacherOutputs


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
    own, wanted = (F.log_softmax(logits / temperature, -1) for logits in (student, teacher))
    return (1 - alpha) * F.cross_entropy(student, labels) + alpha * softened_divergence(own, wanted, temperature)


def softened_divergence(student: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
    """T² * KL(teacher || student), mean over the batch, in nats.

    Args:
        student: logarithms of probabilities that the temperature softened, `[batch, classes]`.
        teacher: the same of the teacher.
        temperature: T.
    """
    return temperature**2 * F.kl_div(student, teacher, reduction="batchmean", log_target=True)


class SoftTargets(Term):
    """The share `alpha` of it is the teacher's, the rest the labels'."""

    def loss(self, student: Any, teacher: TeacherOutputs, batch: Batch) -> torch.Tensor:
        """Cross-entropy with the labels and divergence from the teacher's softened answers, weighted by `alpha`.

        Args:
            student: the student's output on the batch.
            teacher: the teacher's outputs on the same rows; `logits` is read.
            batch: labels and mask of these rows.
        """
        own, wanted = student.logits.float(), teacher["logits"].float()
        return distillation_loss(own, wanted, batch.labels, self.options.temperature, self.options.alpha)
