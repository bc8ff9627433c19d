"""What the heads of transformers' sequence and image classifiers have in common, whatever their outputs mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edgepress.targets.errors import ModelError
from edgepress.targets.records import TensorSpec

if TYPE_CHECKING:
    from torch import Tensor, nn


def names_in(config: Any) -> tuple[str, ...]:
    """`id2label`, by number; empty where the configuration has none.

    >>> from types import SimpleNamespace
    >>> names_in(SimpleNamespace(id2label={1: "good", 0: "bad"}))
    ('bad', 'good')
    """
    names: dict[int, str] = getattr(config, "id2label", None) or {}
    return tuple(str(names[index]) for index in sorted(names))


def whole_logits(network: nn.Module, tensors: Mapping[str, Tensor], rows: int, kind: str) -> tuple[TensorSpec, ...]:
    """`logits`, float32 `[batch, outputs]`.

    Args:
        network: says in `config.num_labels` how many outputs there are.
        tensors: the logits of a batch.
        rows: of that batch.
        kind: what such a network is called, for the message.

    Raises:
        ModelError: the logits are of another shape.
    """
    count = int(network.config.num_labels)  # type: ignore[union-attr,arg-type]
    shape = tuple(tensors["logits"].shape)
    if shape != (rows, count):
        raise ModelError(
            f"{type(network).__name__} gives logits of shape {list(shape)}, not [batch, {count}]: it is no {kind}."
        )
    return (TensorSpec(name="logits", dtype="float32", shape=("batch", count)),)
