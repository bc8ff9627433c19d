"""A model's own predictions in torch: batches of similar length, no gradients, progress for long runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch

from edgepress.benchmarks.desk import judged
from edgepress.benchmarks.metrics import metric
from edgepress.benchmarks.metrics.base import value_of
from edgepress.compress.model.model import Model
from edgepress.compress.tasks import load_task
from edgepress.compress.tasks.base import batches

if TYPE_CHECKING:
    from edgepress.compress.tasks.base import Features

BATCH = 64


@torch.no_grad()
def logits_of(model: Model, features: Features, advance: Callable[[int], object] | None = None) -> np.ndarray:
    """Logits `[rows, ...]`, float32, in the order of the rows; NaN where nothing is judged.

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
        output = judged(features, index, output)
        if rows is None:
            rows = np.empty((len(features), *output.shape[1:]), np.float32)
        rows[index] = output
        if advance:
            advance(len(index))
    assert rows is not None
    return rows


def metric_of(model: Model, features: Features, key: str = "accuracy") -> float:
    """One metric of a model's answers against the labels.

    Args:
        model: whose logits are judged, in torch.
        features: the rows, with their labels.
        key: of `METRICS`; one that is against the labels.
    """
    kind = metric(key)
    truth = load_task(model.task).outputs.truth(features)
    return value_of(kind, kind.counts(truth, logits_of(model, features)))
