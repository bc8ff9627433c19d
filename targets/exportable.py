"""A model as targets see it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from edgepress.targets.records import Description, Feeds, Signature

if TYPE_CHECKING:
    import torch


class Exportable(Protocol):
    """What a target sees of a model: `module(*inputs in the signature's order)`, in eval mode, gives its outputs: one
    tensor, several in the signature's order, or a mapping with the signature's names."""

    @property
    def module(self) -> torch.nn.Module: ...
    @property
    def signature(self) -> Signature: ...
    @property
    def description(self) -> Description: ...


class Stepping(Exportable, Protocol):
    """A model that answers step by step: `signature.state` names what the next step takes of what this one gives."""

    @property
    def example(self) -> Feeds:
        """Feeds of a step to trace it with, no size of them 0 or 1."""
        ...

    @property
    def encoder(self) -> Stepping | None:
        """What reads a source before the first step; its outputs go into each step. None of a decoder alone."""
        ...


def stepping_of(model: Exportable) -> Stepping | None:
    """The form of a model that answers step by step, its `stepping`; None where it has none."""
    found: Stepping | None = getattr(model, "stepping", None)
    return found


@dataclass(frozen=True, eq=False)
class TrainedInput:
    """A range that a model was trained with, of what one of its layers reads.

    Args:
        weight: float32, the layer's own, by which it is found in files that keep no names: `targets.graph.trained`.
        low: lower end, in the tensor's unit.
        high: upper end.
    """

    weight: np.ndarray
    low: float
    high: float


def trained_inputs_of(model: Exportable) -> tuple[TrainedInput, ...]:
    """The ranges that a model was trained with, its `trained_inputs`; none where it has none."""
    found: tuple[TrainedInput, ...] = getattr(model, "trained_inputs", ())
    return found
