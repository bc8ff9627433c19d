"""Small stand-ins: features held in memory, and a tiny BERT as a Model."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, BertConfig

from edgepress.compress.model.model import Model
from edgepress.compress.training import fit as training
from edgepress.targets.records import Artifact, Candidate, Comparison, FileEntry, Signature, TensorSpec


@contextmanager
def cut_off(batch: int) -> Iterator[None]:
    """A training inside the block is killed as by Ctrl-C when it asks for this batch, counted from 1."""
    calls = 0

    class Cut(training.Collator):
        def __call__(self, rows: list[int]) -> dict[str, Any]:
            nonlocal calls
            calls += 1
            if calls == batch:
                raise KeyboardInterrupt
            return super().__call__(rows)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(training, "Collator", Cut)
        yield


class TokenFeatures:
    """Rows of token ids of different lengths; label 1 where token 5 occurs."""

    def __init__(self, rows: int, seed: int = 0, longest: int = 12) -> None:
        random = np.random.default_rng(seed)
        self.lengths = random.integers(3, longest + 1, rows)
        self.ids = [random.integers(6, 40, length) for length in self.lengths]
        self.labels = (np.arange(rows) % 2).astype(np.int64)
        for row in np.flatnonzero(self.labels):
            self.ids[row][random.integers(0, self.lengths[row])] = 5
        self.digest = hashlib.sha256(b"".join(row.tobytes() for row in self.ids)).hexdigest()

    def __len__(self) -> int:
        return len(self.ids)

    def batch(self, indices: Sequence[int] | np.ndarray, length: int | None = None) -> dict[str, np.ndarray]:
        longest = length or max(int(self.lengths[index]) for index in indices)
        ids = np.zeros((len(indices), longest), np.int64)
        for row, index in enumerate(indices):
            ids[row, : self.lengths[index]] = self.ids[index]
        return {"input_ids": ids, "attention_mask": (ids > 0).astype(np.int64)}


def tiny_bert(seed: int = 0, layers: int = 2, hidden: int = 32, **options: int) -> Model:
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=40, hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=2, intermediate_size=48,
        max_position_embeddings=32, num_labels=2, **options,
    )  # fmt: skip
    network = AutoModelForSequenceClassification.from_config(config, attn_implementation="eager").eval()
    inputs = tuple(
        TensorSpec(name=name, dtype="int64", shape=("batch", "sequence")) for name in ("input_ids", "attention_mask")
    )
    outputs = (TensorSpec(name="logits", dtype="float32", shape=("batch", 2)),)
    signature = Signature(inputs=inputs, outputs=outputs, bounds={"batch": (1, 64), "sequence": (2, 32)})
    return Model(network, "text-classification", signature)


def write_artifact(folder: Path, target: str = "onnxruntime-cpu", name: str = "fp32") -> Artifact:
    """An artifact of five bytes that no target exported."""
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(b"12345")
    artifact = Artifact(
        name=name, target=target, candidate=Candidate(name=name, precision="fp32"), precision="fp32",
        files=(FileEntry.of(folder, "model.onnx"),), signature=tiny_bert().signature, parameters=1, int8_mac_share=0.0,
        comparison=Comparison(samples=1, max_abs_diff=0, agreement=1, sqnr_db=None),
    )  # fmt: skip
    artifact.write(folder / "artifact.json")
    return artifact
