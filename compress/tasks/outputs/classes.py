"""One class of several a row: logits `[batch, classes]`, the largest is the answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgepress.targets.errors import ModelError
from edgepress.targets.records import TensorSpec

if TYPE_CHECKING:
    from torch import Tensor, nn

    from edgepress.compress.tasks.base import Features


@dataclass(frozen=True)
class Classes:
    """Outputs of a classifier. Truth are class numbers, int64 `[rows]`."""

    def tensors(self, result: Any) -> dict[str, Tensor]:
        """Its `logits`."""
        return {"logits": result.logits}

    def specs(self, network: nn.Module, tensors: Mapping[str, Tensor], rows: int) -> tuple[TensorSpec, ...]:
        """`logits`, float32 `[batch, classes]`.

        Args:
            network: says in `config.num_labels` how many classes there are.
            tensors: the logits of a batch.
            rows: of that batch.

        Raises:
            ModelError: the logits are of another shape.
        """
        classes = int(network.config.num_labels)  # type: ignore[union-attr,arg-type]
        shape = tuple(tensors["logits"].shape)
        if shape != (rows, classes):
            raise ModelError(
                f"{type(network).__name__} gives logits of shape {list(shape)}, not [batch, {classes}]: it is no "
                f"classifier."
            )
        return (TensorSpec(name="logits", dtype="float32", shape=("batch", classes)),)

    def labels(self, config: Any) -> tuple[str, ...]:
        """`id2label`, by number.

        >>> from types import SimpleNamespace
        >>> Classes().labels(SimpleNamespace(id2label={1: "good", 0: "bad"}))
        ('bad', 'good')
        """
        names: dict[int, str] = getattr(config, "id2label", None) or {}
        return tuple(str(names[index]) for index in sorted(names))

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
