"""First and last token of an answer in a text: logits `[batch, positions, 2]`, read within the context."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from edgepress.benchmarks.metrics.passages import BEHIND, END, FIRST, START
from edgepress.compress.data.truths.answers import AnswerMap
from edgepress.compress.tasks.outputs.heads import LogitsHead, soft_classes
from edgepress.targets.errors import DataError, ModelError
from edgepress.targets.inference.passages import SPAN_LOGITS
from edgepress.targets.records import TensorSpec

if TYPE_CHECKING:
    from torch import Tensor, nn

    from edgepress.compress.data.rows import Raw
    from edgepress.compress.recipe.data import Data
    from edgepress.compress.tasks.base import Features

NEVER = -1e4
"""The logit of a token that no answer has; not infinite, so that 0 * log 0 stays 0."""


@dataclass(frozen=True)
class AnswerSpans(LogitsHead):
    """Outputs of a reader. Truth are `Passages`, int64 `[windows, 6]`.

    A window that does not hold the answer is learned to answer with its first token (0), as BERT does for SQuAD: left
    out, such windows, which a long document has most of, would be free to score any span above the answer's own.
    """

    network_kind: ClassVar[str] = "question answering model"
    classes: bool = False

    def template_lines(self) -> tuple[str, ...]:
        """Nothing: the columns say it all."""
        return ()

    def specs(self, network: nn.Module, tensors: Mapping[str, Tensor], rows: int) -> tuple[TensorSpec, ...]:
        """`span_logits`, float32 `[batch, sequence, 2]`: of first tokens, and of last ones.

        Args:
            network: the model.
            tensors: its logits for a batch.
            rows: of that batch.

        Raises:
            ModelError: they are of another shape.
        """
        shape = tuple(tensors["logits"].shape)
        if len(shape) != 3 or (shape[0], shape[2]) != (rows, 2):
            raise ModelError(
                f"{type(network).__name__} gives logits of shape {list(shape)}, not [batch, positions, 2]: it is no "
                f"{self.network_kind}."
            )
        return (TensorSpec(name=SPAN_LOGITS, dtype="float32", shape=("batch", "sequence", 2)),)

    def labels(self, config: Any) -> tuple[str, ...]:
        """What the two outputs are, whatever a configuration calls them."""
        return AnswerMap.names

    def names_of(self, config: Any, source: str) -> tuple[str, ...]:
        """The same of a teacher."""
        return AnswerMap.names

    def truth_of(
        self, raw: Raw, data: Data, names: Sequence[str] | None, model_names: Sequence[str] | None, fine_tuned: bool
    ) -> AnswerMap:
        """See `TruthReader.truth_of`. Raises DataError for data.labels, or several columns of answers."""
        if data.labels is not None or not isinstance(data.columns.label, str):
            raise DataError("answers have no classes, and one column: leave data.labels out, name one column.")
        return AnswerMap()

    def answers(self, outputs: np.ndarray) -> np.ndarray:
        """The logits themselves: an answer is a span of several windows of a document."""
        return outputs

    def truth(self, features: Features) -> np.ndarray:
        """`Passages`, int64 `[windows, 6]`."""
        return features.labels

    def judged(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The logits of first tokens and then those of last ones, `[2 * batch, positions]`, `NEVER` at all tokens but
        those of the context and the first one.

        Args:
            logits: `[batch, positions, 2]`.
            labels: `[batch, 6]`.
        """
        import torch

        kept = logits[:, : int(labels[:, BEHIND].max())]
        place = torch.arange(kept.shape[1], device=kept.device)
        able = (place >= labels[:, FIRST, None]) & (place < labels[:, BEHIND, None]) | (place == 0)
        return torch.cat([kept[..., side].masked_fill(~able, NEVER) for side in (0, 1)])

    def loss(self, tensors: Mapping[str, Tensor], truth: Tensor) -> Tensor:
        """Mean cross-entropy of first and last tokens, in nats, of logits `[batch, positions, 2]` and truth
        `[batch, 6]`."""
        import torch
        from torch.nn.functional import cross_entropy

        wanted = torch.cat([truth[:, START], truth[:, END]])
        return cross_entropy(self.judged(tensors["logits"].float(), truth), wanted)

    def soft_loss(self, student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        """T² * KL(teacher || student) of the softened probabilities of positions, mean over first and last tokens, in
        nats.

        Args:
            student: logits of positions, as `judged` gives them.
            teacher: the same of the teacher.
            temperature: T, which softens both.
        """
        return soft_classes(student, teacher, temperature)
