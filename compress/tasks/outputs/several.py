"""Several labels a row, each of which may apply or not: logits `[batch, labels]`, above 0 is yes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from edgepress.compress.data.label_sets import SetMap, sets_of
from edgepress.compress.tasks.outputs.heads import LogitsHead

if TYPE_CHECKING:
    from torch import Tensor

    from edgepress.compress.data.rows import Raw
    from edgepress.compress.recipe.data import Data
    from edgepress.compress.tasks.base import Features


@dataclass(frozen=True)
class SeveralLabels(LogitsHead):
    """Outputs of a classifier whose labels don't exclude each other. Truth is 0 or 1, float32 `[rows, labels]`."""

    problem_type: ClassVar[str | None] = "multi_label_classification"
    classes: bool = False

    def template_lines(self) -> tuple[str, ...]:
        """See `Outputs.template_lines`."""
        return (
            "# labels: [red, round]     # label names in the model's order; columns.label may list columns of 0 and 1",
            '# separator: ","           # between the labels in one cell, where it is no list',
        )

    def truth_of(
        self, raw: Raw, data: Data, names: Sequence[str] | None, model_names: Sequence[str] | None, fine_tuned: bool
    ) -> SetMap:
        """See `TruthReader.truth_of`."""
        flags = not isinstance(data.columns.label, str)
        known = (data.labels or data.columns.labels) if flags else names
        return sets_of(raw.labels, raw.origin, known, model_names, data.separator, flags, fine_tuned)

    def answers(self, outputs: np.ndarray) -> np.ndarray:
        """1 where the logit is above 0 (a probability above one half), int64 `[rows, labels]`.

        >>> SeveralLabels().answers(np.array([[0.1, -0.9]])).tolist()
        [[1, 0]]
        """
        return (outputs > 0).astype(np.int64)

    def truth(self, features: Features) -> np.ndarray:
        """0 or 1, float32 `[rows, labels]`."""
        return features.labels

    def loss(self, tensors: Mapping[str, Tensor], truth: Tensor) -> Tensor:
        """Mean binary cross-entropy of logits `[batch, labels]` and truth `[batch, labels]`, in nats."""
        from torch.nn.functional import binary_cross_entropy_with_logits

        return binary_cross_entropy_with_logits(tensors["logits"].float(), truth)

    def soft_loss(self, student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        """T² * KL(teacher || student) of each label's two probabilities, mean over labels and rows, in nats.

        Args:
            student: logits `[batch, labels]`.
            teacher: logits `[batch, labels]`.
            temperature: T, which softens both.
        """
        import torch
        from torch.nn.functional import logsigmoid

        own, wanted = student / temperature, teacher / temperature
        yes = wanted.sigmoid() * (logsigmoid(wanted) - logsigmoid(own))
        no = (-wanted).sigmoid() * (logsigmoid(-wanted) - logsigmoid(-own))
        loss: torch.Tensor = temperature**2 * (yes + no).mean()
        return loss
