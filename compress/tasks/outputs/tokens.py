"""One class of several for each word of a row: logits `[batch, positions, classes]`, read at its first token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from edgepress.compress.data.truths.tags import tags_of
from edgepress.compress.tasks.outputs.heads import LogitsHead, class_names, judged_loss, judged_tokens, soft_judged
from edgepress.targets.errors import DataError, ModelError
from edgepress.targets.records import TensorSpec

if TYPE_CHECKING:
    from torch import Tensor, nn

    from edgepress.compress.data.rows import Raw
    from edgepress.compress.data.truths.tags import TagMap
    from edgepress.compress.recipe.data import Data
    from edgepress.compress.tasks.base import Features


@dataclass(frozen=True)
class TokenClasses(LogitsHead):
    """Outputs of a tagger. Truth are class numbers, int64 `[rows, positions]`, -100 where nothing is judged: padding,
    special tokens, and all but the first token of a word."""

    network_kind: ClassVar[str] = "token classifier"
    classes: bool = False

    @property
    def sampled(self) -> bool:
        """Classes of words are compared on a device."""
        return True

    def template_lines(self) -> tuple[str, ...]:
        """See `Outputs.template_lines`."""
        return ("# labels: [O, B-PER, I-PER]  # tags in the model's order, where the data has numbers or other names",)

    def specs(self, network: nn.Module, tensors: Mapping[str, Tensor], rows: int) -> tuple[TensorSpec, ...]:
        """`logits`, float32 `[batch, sequence, classes]`.

        Args:
            network: says in `config.num_labels` how many classes there are.
            tensors: the logits of a batch.
            rows: of that batch.

        Raises:
            ModelError: the logits are of another shape.
        """
        count = int(network.config.num_labels)  # type: ignore[union-attr,arg-type]
        shape = tuple(tensors["logits"].shape)
        if len(shape) != 3 or (shape[0], shape[2]) != (rows, count):
            raise ModelError(
                f"{type(network).__name__} gives logits of shape {list(shape)}, not [batch, positions, {count}]: it is "
                f"no {self.network_kind}."
            )
        return (TensorSpec(name="logits", dtype="float32", shape=("batch", "sequence", count)),)

    def names_of(self, config: Any, source: str) -> tuple[str, ...]:
        """The same of a teacher. Raises ModelError for a regression model."""
        return class_names(config, source)

    def truth_of(
        self, raw: Raw, data: Data, names: Sequence[str] | None, model_names: Sequence[str] | None, fine_tuned: bool
    ) -> TagMap:
        """See `TruthReader.truth_of`."""
        if not isinstance(data.columns.label, str):
            raise DataError(
                f"data.columns.label names {len(data.columns.label)} columns, and a row of this task has one list of "
                f"tags. Name one column."
            )
        return tags_of(raw.labels, raw.origin, names, model_names, fine_tuned)

    def answers(self, outputs: np.ndarray) -> np.ndarray:
        """The class of the largest logit of each position, int64 `[rows, positions]`."""
        largest: np.ndarray = outputs.argmax(-1)
        return largest

    def truth(self, features: Features) -> np.ndarray:
        """Class numbers of words, `[rows, positions]`."""
        return features.labels

    def judged(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The logits of the first tokens of words, `[words, classes]`, row after row.

        Args:
            logits: `[batch, positions, classes]`.
            labels: `[batch, most positions]`.
        """
        return judged_tokens(logits, labels)

    def loss(self, tensors: Mapping[str, Tensor], truth: Tensor) -> Tensor:
        """Mean cross-entropy over the words of logits `[batch, positions, classes]` with classes
        `[batch, most positions]`, in nats; 0 where no word has a token."""
        return judged_loss(self.judged(tensors["logits"].float(), truth), truth)

    def soft_loss(self, student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        """T² * KL(teacher || student) of the softened class probabilities, mean over the words, in nats.

        Args:
            student: logits of words `[words, classes]`.
            teacher: the same of the teacher.
            temperature: T, which softens both.
        """
        return soft_judged(student, teacher, temperature)
