"""One vector of length 1 a row: an embedding, whose direction says what the row is like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgepress.compress.data.numbers import ScoreMap
from edgepress.compress.tasks.outputs.heads import LogitsHead
from edgepress.targets.errors import DataError, ModelError, StageError
from edgepress.targets.records import TensorSpec

if TYPE_CHECKING:
    from torch import Tensor, nn

    from edgepress.compress.data.rows import Raw
    from edgepress.compress.recipe.data import Data
    from edgepress.compress.tasks.base import Features


@dataclass(frozen=True)
class Vectors(LogitsHead):
    """Outputs of an encoder. Truth are pairs and their scores, float32 `[rows, 3]`; see `sentences.sides_of`."""

    classes: bool = False

    def specs(self, network: nn.Module, tensors: Mapping[str, Tensor], rows: int) -> tuple[TensorSpec, ...]:
        """`sentence_embedding`, as sentence-transformers calls it, float32 `[batch, width]`.

        Args:
            network: the model.
            tensors: its vectors for a batch.
            rows: of that batch.

        Raises:
            ModelError: they are no vectors.
        """
        shape = tuple(tensors["logits"].shape)
        if len(shape) != 2 or shape[0] != rows:
            raise ModelError(
                f"{type(network).__name__} gives outputs of shape {list(shape)}, not [batch, width]: these are no "
                f"vectors."
            )
        # Not `embedding`: torch calls its look-ups so, and two values of one name make a circle of an ONNX graph.
        return (TensorSpec(name="sentence_embedding", dtype="float32", shape=("batch", shape[1])),)

    def labels(self, config: Any) -> tuple[str, ...]:
        """None: the numbers of a vector have no names."""
        return ()

    def template_lines(self) -> tuple[str, ...]:
        """Nothing: the columns of pairs and scores say it all."""
        return ()

    def names_of(self, config: Any, source: str) -> tuple[str, ...]:
        """None, of any encoder."""
        return ()

    def head(self, names: Sequence[str]) -> dict[str, Any]:
        """What a configuration says of such outputs."""
        return {"output_kind": "vectors", "id2label": {}, "label2id": {}}

    def truth_of(
        self, raw: Raw, data: Data, names: Sequence[str] | None, model_names: Sequence[str] | None, fine_tuned: bool
    ) -> ScoreMap:
        """See `TruthReader.truth_of`.

        Raises:
            DataError: data.labels names what has no names.
        """
        if data.labels is not None or not isinstance(data.columns.label, str):
            raise DataError("the numbers of a vector have no names, and a pair has one score: leave data.labels out.")
        return ScoreMap()

    def answers(self, outputs: np.ndarray) -> np.ndarray:
        """The vectors themselves."""
        return outputs

    def truth(self, features: Features) -> np.ndarray:
        """Pairs and scores, float32 `[rows, 3]`."""
        return features.labels

    def loss(self, tensors: Mapping[str, Tensor], truth: Tensor) -> Tensor:
        """Raises StageError: a vector without a teacher has nothing to be compared with."""
        raise StageError(
            "vectors are learned from a teacher alone: set distill.alpha to 1, leave control and teacher.training out, "
            "and choose importance activation or magnitude."
        )

    def soft_loss(self, student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        """1 - cosine of the student's and the teacher's vector, mean over the batch: half of the squared distance of
        vectors of length 1. A temperature has no meaning for them.

        Args:
            student: `[batch, width]`.
            teacher: `[batch, width]`.
            temperature: is not used.
        """
        from torch.nn.functional import cosine_similarity

        return 1 - cosine_similarity(student, teacher, dim=-1).mean()
