"""The two protocols of a task: `Task`, and `Features`, the rows as a model takes them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from edgepress.benchmarks.desk import batches as batches
from edgepress.compress.data.splits import Rows
from edgepress.compress.recipe.recipe import Data
from edgepress.targets.errors import ModelError, told
from edgepress.targets.records import Description, Feeds, Signature, TensorSpec

MAX_BATCH = 64
"""Models are exported for batches of 1 to this."""


class Features(Protocol):
    """Rows as model inputs. Memory is bounded by the tokens or raw images, whatever the batches' padding."""

    labels: np.ndarray
    """Class numbers, int64 `[rows]`."""
    lengths: np.ndarray | None
    """Tokens of each row, int64 `[rows]`; None where rows have no length."""
    digest: str
    """Hex sha256 of everything that a batch is made of."""

    def __len__(self) -> int: ...

    def batch(self, indices: Sequence[int] | np.ndarray, length: int | None = None) -> dict[str, np.ndarray]:
        """Model inputs of some rows, padded to the longest of them, or padded or cut to `length`."""
        ...


class Task(Protocol):
    """What differs between texts and images."""

    name: str
    metrics: tuple[str, ...]
    """Keys of `benchmarks.metrics.METRICS`; the first one is primary unless the recipe's `metric` names another."""

    def load_processor(self, source: str) -> Any:
        """The tokenizer or image pre-processing beside a model: a local folder or hub id.

        Raises:
            ModelError: it is missing or cannot be used.
        """
        ...

    def begin_processor(self, config: Mapping[str, Any]) -> Any | None:
        """What the configuration of a teacher that is trained in the run says of its inputs; None where nothing does.

        Raises:
            ModelError: the task has no such inputs.
        """
        ...

    def fit_processor(self, processor: Any | None, train: Rows, data: Data) -> Any:
        """The processor with what its folder left open taken from the training rows and the recipe.

        Args:
            processor: of the teacher's folder; None for an image teacher that is trained in the run.
        """
        ...

    def features(self, rows: Rows, processor: Any, data: Data) -> Features:
        """Rows as model inputs; `processor` comes from `fit_processor`."""
        ...

    def signature(self, network: nn.Module, processor: Any, data: Data) -> Signature:
        """Inputs, output and bounds of a network, tried once at its largest sequence.

        Raises:
            ModelError: the network does not take the inputs that the task gives it.
        """
        ...

    def sample_feeds(self, features: Features, batch: int, sequence: int | None) -> Feeds:
        """Real rows in exactly this shape, for latency; the same ones at every call."""
        ...

    def describe(self, processor: Any) -> Description:
        """What the processor does to its input, as far as it travels with a model."""
        ...

    def save_processor(self, processor: Any, folder: Path) -> None:
        """Write the files that other tools read it from (tokenizer.json ..., or preprocessor_config.json)."""
        ...


def forward_names(network: nn.Module) -> set[str]:
    """The inputs that a network's forward names."""
    return set(inspect.signature(network.forward).parameters)


def tried(network: nn.Module, inputs: tuple[TensorSpec, ...], feeds: Feeds, hint: str) -> TensorSpec:
    """The logits of one forward pass as a spec.

    Args:
        network: runs once in eval mode, and is left in the mode it was in.
        inputs: what the task gives it.
        feeds: an array for each input; its first dimension is the batch.

    Raises:
        ModelError: the pass fails, or its logits are not `[batch, classes]`; `hint` says what to change.
    """
    names = [spec.name for spec in inputs]
    kind = type(network).__name__
    if missing := sorted(set(names) - forward_names(network)):
        raise ModelError(
            f"{kind} takes no input {missing[0]!r}, which this task gives it: it is no model for this task."
        )
    tensors = {name: torch.from_numpy(np.array(feeds[name])).to(next(network.parameters()).device) for name in names}
    training = network.training
    try:
        with torch.no_grad():
            logits = network.eval()(**tensors).logits
    except (RuntimeError, ValueError, IndexError, AttributeError, TypeError) as fault:
        shapes = ", ".join(f"{name} {list(feeds[name].shape)}" for name in names)
        raise ModelError(f"{kind} fails on {shapes}: {told(fault)}. {hint}") from None
    finally:
        network.train(training)
    classes = int(network.config.num_labels)  # type: ignore[union-attr,arg-type]
    if tuple(logits.shape) != (len(feeds[names[0]]), classes):
        raise ModelError(
            f"{kind} gives logits of shape {list(logits.shape)}, not [batch, {classes}]: it is no classifier."
        )
    return TensorSpec(name="logits", dtype="float32", shape=("batch", classes))
