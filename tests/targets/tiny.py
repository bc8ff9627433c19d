"""Tiny random models of every kind, inputs for them, and what an export of one holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import BertConfig, DistilBertConfig, ElectraConfig, PretrainedConfig, ResNetConfig, ViTConfig

from edgepress.compress.model.model import Model, TaskName, network_from_config
from edgepress.targets.protocols import Target
from edgepress.targets.records import Artifact, Feeds, Signature, TensorSpec

CLASSES = 3
TEXT_BOUNDS = {"batch": (1, 6), "sequence": (2, 24)}
IMAGE_BOUNDS = {"batch": (1, 6)}
_TEXT: dict[str, Any] = {"vocab_size": 100, "num_labels": CLASSES, "max_position_embeddings": 32}
_DISTILBERT: dict[str, Any] = {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64}
_ENCODER: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
}
_RESNET: dict[str, Any] = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"}
CONFIGS: dict[str, PretrainedConfig] = {
    "bert": BertConfig(**_ENCODER, **_TEXT),
    "distilbert": DistilBertConfig(**_DISTILBERT, **_TEXT),
    "electra": ElectraConfig(embedding_size=16, **_ENCODER, **_TEXT),
    "vit": ViTConfig(image_size=16, patch_size=4, num_channels=1, num_labels=CLASSES, **_ENCODER),
    "resnet": ResNetConfig(num_channels=1, num_labels=CLASSES, **_RESNET),
}


def text_signature(bounds: dict[str, tuple[int, int]]) -> Signature:
    """input_ids and attention_mask `[batch, sequence]` → logits `[batch, 3]`."""
    shape = ("batch", "sequence")
    inputs = tuple(TensorSpec(name=name, dtype="int64", shape=shape) for name in ("input_ids", "attention_mask"))
    return Signature(inputs=inputs, outputs=(_logits(),), bounds=bounds)


def image_signature(bounds: dict[str, tuple[int, int]]) -> Signature:
    """pixel_values `[batch, 1, 16, 16]` → logits `[batch, 3]`."""
    pixels = TensorSpec(name="pixel_values", dtype="float32", shape=("batch", 1, 16, 16))
    return Signature(inputs=(pixels,), outputs=(_logits(),), bounds=bounds)


def _logits() -> TensorSpec:
    return TensorSpec(name="logits", dtype="float32", shape=("batch", CLASSES))


def make_model(kind: str, seed: int = 0) -> Model:
    """A random model of `kind` whose weights are large enough for the classes to differ."""
    torch.manual_seed(seed)
    task: TaskName = "image-classification" if kind in ("vit", "resnet") else "text-classification"
    network = network_from_config(CONFIGS[kind], task)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() == 2:
                parameter.mul_(4)
    image = task == "image-classification"
    return Model(network, task, image_signature(IMAGE_BOUNDS) if image else text_signature(TEXT_BOUNDS))


def make_feeds(signature: Signature, seed: int = 0, **sizes: int) -> dict[str, np.ndarray]:
    """Random tokens with padding at the end of odd rows, or random pixels."""
    random = np.random.default_rng(seed)
    if signature.inputs[0].name == "pixel_values":
        return {"pixel_values": random.standard_normal((sizes["batch"], 1, 16, 16)).astype(np.float32)}
    ids = random.integers(1, 100, (sizes["batch"], sizes["sequence"]))
    mask = np.ones_like(ids)
    mask[1::2, sizes["sequence"] // 2 :] = 0
    return {"input_ids": ids, "attention_mask": mask}


def make_calibration(signature: Signature) -> list[Feeds]:
    return [make_feeds(signature, seed=seed, batch=4, sequence=sequence) for seed, sequence in enumerate((5, 12))]


@dataclass(frozen=True)
class Exported:
    """An artifact in its folder, and the model it was made of."""

    target: Target
    model: Model
    calibration: Sequence[Feeds]
    artifact: Artifact
    folder: Path
