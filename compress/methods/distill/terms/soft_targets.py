"""The labels and the teacher's softened logits (arXiv 1503.02531)."""

from __future__ import annotations

from typing import Any

import torch

from edgepress.compress.methods.distill.terms.base import CLASSES, Batch, Term
from edgepress.compress.tasks.base import Outputs
from edgepress.compress.training.batches import TeacherOutputs


def distillation_loss(
    student: torch.Tensor,
    teacher: torch.Tensor,
    labels: torch.Tensor,
    temperature: float,
    alpha: float,
    kind: Outputs = CLASSES,
) -> torch.Tensor:
    """(1 - alpha) * loss with the labels + alpha * loss to the teacher, as the task's kind of outputs has them.

    Of classes: (1 - alpha) * cross-entropy + alpha * T² * KL(teacher_T || student_T), mean over the batch, in nats. T²
    keeps the soft part's gradients of the same size whatever the temperature (arXiv 1503.02531, section 2).

    Args:
        student: logits `[batch, classes]`.
        teacher: logits `[batch, classes]`.
        labels: `[batch]`, int64; of tokens `[batch, positions]`, logits likewise.
        temperature: T, which softens both.
        alpha: the teacher's share; the labels are not looked at where it is 1.
        kind: of the task's outputs.

    >>> student, teacher = torch.tensor([[0.0, 0.0]]), torch.tensor([[2.0, 0.0]])
    >>> round(distillation_loss(student, teacher, torch.tensor([0]), temperature=2.0, alpha=1.0).item(), 4)
    0.4438
    """
    soft = kind.soft_loss(kind.judged(student, labels), kind.judged(teacher, labels), temperature)
    if alpha == 1:
        return soft
    return (1 - alpha) * kind.loss({"logits": student}, labels) + alpha * soft


class SoftTargets(Term):
    """The share `alpha` of it is the teacher's, the rest the labels'."""

    def loss(self, student: Any, teacher: TeacherOutputs, batch: Batch) -> torch.Tensor:
        """The task's loss with the labels and with the teacher's softened answers, weighted by `alpha`.

        Args:
            student: the student's output on the batch.
            teacher: the teacher's outputs on the same rows; `logits` is read.
            batch: labels and mask of these rows.
        """
        own, wanted = student.logits.float(), teacher["logits"].float()
        return distillation_loss(own, wanted, batch.labels, self.options.temperature, self.options.alpha, batch.kind)
