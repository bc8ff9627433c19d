"""A model's own predictions in torch: batches of similar length, no gradients, progress for long runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch

from edgepress.compress.model.model import Model
from edgepress.compress.tasks import load_task
from edgepress.compress.tasks.base import batches

if TYPE_CHECKING:
    from edgepress.compress.tasks.base import Features

BATCH = 64


@torch.inference_mode()
def logits_of(model: Model, features: Features, advance: Callable[[int], object] | None = None) -> np.ndarray:
    """Logits `[rows, classes]`, float32, in the order of the rows.

    Args:
        model: runs where its weights are.
        features: the rows.
        advance: is told of each batch how many rows it had.
    """
    module = model.module
    device = next(module.parameters()).device
    names = [spec.name for spec in model.signature.inputs]
    rows: np.ndarray | None = None
    for index, feeds in batches(features, BATCH):
        output = module(*(torch.from_numpy(feeds[name]).to(device) for name in names)).float().cpu().numpy()
        if rows is None:
            rows = np.empty((len(features), output.shape[-1]), np.float32)
        rows[index] = output
        if advance:
            advance(len(index))
    assert rows is not None
    return rows


def accuracy_of(model: Model, features: Features) -> float:
    """Share of rows whose answer is the right one."""
    outputs = load_task(model.task).outputs
    return float((outputs.answers(logits_of(model, features)) == outputs.truth(features)).mean())
