"""The two parts of soft targets, each with a weight of its own: decoupled distillation (arXiv 2203.08679).

KL(teacher || student) = TCKD + (1 - p) NCKD, where p is the teacher's probability of the right class: the surer a
teacher is, the less its answers about the other classes count. Decoupled, they count by a weight of their own,
`other_classes` (beta in the paper, 1 to 8), beside `target_class` (alpha, 1). Set distill.alpha to 0, so that the soft
targets do not count twice.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch

from edgepress.compress.methods.distill.terms.base import Batch, Term
from edgepress.compress.tasks.outputs.heads import softened_divergence
from edgepress.compress.training.batches import TeacherOutputs


def target_class_divergence(
    student: torch.Tensor, teacher: torch.Tensor, labels: torch.Tensor, temperature: float
) -> torch.Tensor:
    """TCKD: T² * KL between the distributions (right class, any other), mean over the batch, in nats.

    Args:
        student: logits `[batch, classes]`.
        teacher: logits `[batch, classes]`.
        labels: int64 `[batch]`.
        temperature: T, which softens both.

    >>> even, sure = torch.zeros(1, 3), torch.tensor([[100.0, 0.0, 0.0]])
    >>> round(target_class_divergence(even, sure, torch.tensor([0]), 1.0).item(), 4)  # ln 3
    1.0986
    """
    own, wanted = (_right_and_others(logits / temperature, labels) for logits in (student, teacher))
    return softened_divergence(own, wanted, temperature)


def other_classes_divergence(
    student: torch.Tensor, teacher: torch.Tensor, labels: torch.Tensor, temperature: float
) -> torch.Tensor:
    """NCKD: T² * KL between the distributions over all classes but the right one, mean over the batch, in nats.

    Args:
        student: logits `[batch, classes]`.
        teacher: logits `[batch, classes]`.
        labels: int64 `[batch]`.
        temperature: T, which softens both.

    >>> even, sure = torch.zeros(1, 3), torch.tensor([[7.0, 100.0, 0.0]])
    >>> round(other_classes_divergence(even, sure, torch.tensor([0]), 1.0).item(), 4)  # ln 2
    0.6931
    """
    own, wanted = (_without_right(logits / temperature, labels).log_softmax(-1) for logits in (student, teacher))
    return softened_divergence(own, wanted, temperature)


def _right_and_others(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Logarithms of the probabilities of the right class and of all others, `[batch, 2]`."""
    logs = logits.log_softmax(-1)
    # A sum of logarithms, not 1 - p: of a teacher that is sure, 1 - p is 0 in float32 and its logarithm is not finite.
    others = _without_right(logs, labels).logsumexp(-1)
    return torch.stack([logs.gather(1, labels[:, None])[:, 0], others], -1)


def _without_right(values: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """`[batch, classes]` without each row's right class, `[batch, classes - 1]`."""
    others = torch.arange(values.shape[1], device=values.device)[None] != labels[:, None]
    return values[others].reshape(len(values), -1)


class _Part(Term):
    classes = True

    @staticmethod
    @abstractmethod
    def divergence(
        student: torch.Tensor, teacher: torch.Tensor, labels: torch.Tensor, temperature: float
    ) -> torch.Tensor:
        """The part, of logits `[batch, classes]`."""

    def loss(self, student: Any, teacher: TeacherOutputs, batch: Batch) -> torch.Tensor:
        """The part at the recipe's temperature; of two classes `other_classes` is 0, as there is one other.

        Args:
            student: the student's output on the batch.
            teacher: the teacher's outputs on the same rows; `logits` is read.
            batch: labels and mask of these rows.
        """
        own, wanted = student.logits.float(), teacher["logits"].float()
        return self.divergence(own, wanted, batch.labels, self.options.temperature)


class TargetClass(_Part):
    """TCKD: how sure the teacher is of the right class, and so how hard the row is."""

    divergence = staticmethod(target_class_divergence)


class OtherClasses(_Part):
    """NCKD: which of the wrong classes the teacher takes for likely, and where most of its knowledge is."""

    divergence = staticmethod(other_classes_divergence)
