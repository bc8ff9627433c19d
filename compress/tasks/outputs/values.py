"""Numbers: one or several a row, `[batch, values]`, as a regression gives them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from edgepress.compress.data.numbers import NumberMap, numbers_of
from edgepress.compress.tasks.outputs.heads import LogitsHead, names_in
from edgepress.targets.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor

    from edgepress.compress.data.rows import Raw
    from edgepress.compress.recipe.data import Data
    from edgepress.compress.tasks.base import Features


@dataclass(frozen=True)
class Values(LogitsHead):
    """Outputs of a regression. Truth are numbers, float32 `[rows, values]`."""

    network_kind: ClassVar[str] = "regression"
    problem_type: ClassVar[str | None] = "regression"
    classes: bool = False

    def template_lines(self) -> tuple[str, ...]:
        """See `Outputs.template_lines`."""
        return (
            "# labels: [score]          # what the numbers of a row are called; columns.label may list several columns",
        )

    def names_of(self, config: Any, source: str) -> tuple[str, ...]:
        """The same of a teacher.

        Raises:
            ModelError: it is a classifier.
        """
        if config.num_labels > 1 and config.problem_type != "regression":
            raise ModelError(
                f"{source} has {config.num_labels} outputs and does not say that they are numbers: it is a classifier. "
                f"Give a regression model (problem_type: regression in config.json), or train it in the run: "
                f"teacher.training."
            )
        return names_in(config)

    def truth_of(
        self, raw: Raw, data: Data, names: Sequence[str] | None, model_names: Sequence[str] | None, fine_tuned: bool
    ) -> NumberMap:
        """See `TruthReader.truth_of`."""
        label = data.columns.label
        columns, column = (None, label) if isinstance(label, str) else (label, "value")
        known = None if fine_tuned else model_names
        return numbers_of(raw.labels, raw.origin, names or columns, known, "value" if column == "label" else column)

    def answers(self, outputs: np.ndarray) -> np.ndarray:
        """The numbers themselves."""
        return outputs

    def truth(self, features: Features) -> np.ndarray:
        """Numbers, float32 `[rows, values]`."""
        return features.labels

    def loss(self, tensors: Mapping[str, Tensor], truth: Tensor) -> Tensor:
        """Mean squared error of `logits` `[batch, values]` and numbers `[batch, values]`, in the unit of the data."""
        from torch.nn.functional import mse_loss

        return mse_loss(tensors["logits"].float(), truth)

    def soft_loss(self, student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        """Mean squared error to the teacher's numbers. A temperature has no meaning for them.

        Args:
            student: `[batch, values]`.
            teacher: `[batch, values]`.
            temperature: is not used.
        """
        from torch.nn.functional import mse_loss

        return mse_loss(student, teacher)
