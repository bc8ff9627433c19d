"""One class of several a row: logits `[batch, classes]`, the largest is the answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgepress.compress.data.classes import classes_of
from edgepress.compress.tasks.outputs.heads import LogitsHead, class_names, soft_classes
from edgepress.targets.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

    from edgepress.compress.data.labels import LabelMap
    from edgepress.compress.data.rows import Raw
    from edgepress.compress.recipe.data import Data
    from edgepress.compress.tasks.base import Features


@dataclass(frozen=True)
class Classes(LogitsHead):
    """Outputs of a classifier. Truth are class numbers, int64 `[rows]`."""

    classes: bool = True

    def template_lines(self) -> tuple[str, ...]:
        """See `Outputs.template_lines`."""
        return (
            "# labels: [cat, dog]       # class names in the model's order, where the data has numbers or other names",
        )

    def names_of(self, config: Any, source: str) -> tuple[str, ...]:
        """The same of a teacher.

        Raises:
            ModelError: it is a regression model, which tells no classes apart.
        """
        return class_names(config, source)

    def truth_of(
        self, raw: Raw, data: Data, names: Sequence[str] | None, model_names: Sequence[str] | None, fine_tuned: bool
    ) -> LabelMap:
        """See `TruthReader.truth_of`."""
        if not isinstance(data.columns.label, str):
            raise DataError(
                f"data.columns.label names {len(data.columns.label)} columns, and a row of this task has one class. "
                f"Name one column."
            )
        return classes_of(raw.labels, raw.origin, names, model_names, fine_tuned)

    def answers(self, outputs: np.ndarray) -> np.ndarray:
        """The class of the largest logit, int64 `[rows]`.

        >>> Classes().answers(np.array([[0.1, 0.9], [2.0, -1.0]])).tolist()
        [1, 0]
        """
        largest: np.ndarray = outputs.argmax(-1)
        return largest

    def truth(self, features: Features) -> np.ndarray:
        """Class numbers, int64 `[rows]`."""
        return features.labels

    def loss(self, tensors: Mapping[str, Tensor], truth: Tensor) -> Tensor:
        """Mean cross-entropy of the logits `[batch, classes]` with class numbers `[batch]`, in nats."""
        from torch.nn.functional import cross_entropy

        return cross_entropy(tensors["logits"].float(), truth)

    def soft_loss(self, student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        """T² * KL(teacher || student) of the softened class probabilities, mean over the batch, in nats.

        Args:
            student: logits `[batch, classes]`.
            teacher: logits `[batch, classes]`.
            temperature: T, which softens both.
        """
        return soft_classes(student, teacher, temperature)
