"""What a training step is fed: rows in batches of similar length, and the teacher's outputs for these very rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from edgepress.targets.records import Signature

if TYPE_CHECKING:
    from edgepress.compress.tasks.base import Features

TeacherOutputs = Mapping[str, Any]
# Rows looked at together when batches of similar length are formed: large enough to waste little padding, small
# enough that the order stays random.
BUCKET_BATCHES = 50


class Indices(Dataset[int]):
    """Row numbers; the rows themselves are made when a batch is collated."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> int:
        return index


class BucketSampler(Sampler[int]):
    """A fresh random order each epoch with neighbours of similar length; the same for the same seed and epoch."""

    def __init__(self, lengths: np.ndarray | None, size: int, batch: int, seed: int) -> None:
        self.lengths, self.size, self.batch, self.seed = lengths, size, batch, seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[int]:
        random = np.random.default_rng((self.seed, self.epoch))
        order = random.permutation(self.size)
        if self.lengths is None:
            return iter(order.tolist())
        bucket = self.batch * BUCKET_BATCHES
        pieces = [order[start : start + bucket] for start in range(0, self.size, bucket)]
        ordered = np.concatenate([piece[np.argsort(-self.lengths[piece], kind="stable")] for piece in pieces])
        whole = self.size // self.batch * self.batch
        batches = ordered[:whole].reshape(-1, self.batch)
        # Batches of long rows first and of short rows last would be an order that the network learns from.
        random.shuffle(batches)
        return iter(np.concatenate([batches.reshape(-1), ordered[whole:]]).tolist())


class Collator:
    """Row numbers -> inputs `[batch, ...]`, labels `[batch]` and the teacher's outputs for these very rows."""

    def __init__(
        self, features: Features, signature: Signature, teacher: Callable[[np.ndarray], TeacherOutputs] | None
    ) -> None:
        self.features = features
        self.signature = signature
        self.teacher = teacher

    def __call__(self, rows: list[int]) -> dict[str, Any]:
        index = np.asarray(rows)
        feeds = self.signature.select(self.features.batch(index))
        inputs = {name: torch.from_numpy(value) for name, value in feeds.items()}
        labels = torch.from_numpy(self.features.labels[index])
        return {"labels": labels, "inputs": inputs, "teacher": self.teacher(index) if self.teacher else {}}
