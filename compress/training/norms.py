"""Batch normalisation in a training: a batch of one row has no statistics of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


def norms_of(network: nn.Module) -> list[nn.Module]:
    """All batch norms of a network."""
    return [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]


@contextmanager
def single_row_norms(network: nn.Module, rows: int) -> Iterator[None]:
    """Batch norms use their running statistics inside the block where the batch has one row: a single row has none of
    its own, and torch refuses to take them where the map is 1 x 1. Whatever the number of training rows, the batch size
    or the processes, one row is left over somewhere."""
    training = [module for module in norms_of(network) if module.training] if rows == 1 else []
    for module in training:
        module.eval()
    try:
        yield
    finally:
        for module in training:
            module.train()
