"""Tiny randomly initialised models of the architectures that the tests run through."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import AutoConfig

from edgepress.compress.model.model import Model, network_from_config
from edgepress.targets.records import Signature, TensorSpec

TEXT = {"vocab_size": 50, "num_labels": 2, "max_position_embeddings": 20}
IMAGE = {"num_labels": 3, "num_channels": 3}
CONFIGS: dict[str, dict[str, Any]] = {
    "bert": TEXT | {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48},
    "distilbert": TEXT | {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48},
    "electra": TEXT
    | {
        "embedding_size": 16,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 48,
    },
    "vit": IMAGE
    | {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "image_size": 16,
        "patch_size": 8,
    },
    "resnet": IMAGE | {"embedding_size": 8, "hidden_sizes": [16, 32], "depths": [2, 2], "layer_type": "basic"},
    "mobilenet_v2": IMAGE | {"depth_multiplier": 0.25, "image_size": 32, "tf_padding": True},
    "llama": TEXT
    | {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 48,
        "pad_token_id": 0,
    },
    "convnext": IMAGE | {"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2, "patch_size": 2},
}
TEXTS = ("bert", "distilbert", "electra", "llama")


def tiny(name: str, seed: int = 0, **changes: Any) -> Model:
    """A tiny model in eval mode; batch norms get statistics of their own, so that no two channels are alike."""
    torch.manual_seed(seed)
    text = name in TEXTS
    config = AutoConfig.for_model(name, **(CONFIGS[name] | changes))
    network = network_from_config(config, "text-classification" if text else "image-classification").eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.2, 0.2)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr]
    if text:
        return Model(network, "text-classification", text_signature())
    return Model(network, "image-classification", image_signature(config.num_channels, _image_size(name)))


def _image_size(name: str) -> int:
    return int(CONFIGS[name].get("image_size", 16))


def text_signature() -> Signature:
    names = ("input_ids", "attention_mask")
    return Signature(
        inputs=tuple(TensorSpec(name=name, dtype="int64", shape=("batch", "sequence")) for name in names),
        outputs=(TensorSpec(name="logits", dtype="float32", shape=("batch", 2)),),
        bounds={"batch": (1, 8), "sequence": (2, 20)},
    )


def image_signature(channels: int, size: int) -> Signature:
    return Signature(
        inputs=(TensorSpec(name="pixel_values", dtype="float32", shape=("batch", channels, size, size)),),
        outputs=(TensorSpec(name="logits", dtype="float32", shape=("batch", 3)),),
        bounds={"batch": (1, 8)},
    )


def feeds_of(model: Model, batches: int = 3, batch: int = 4, seed: int = 0) -> list[dict[str, np.ndarray]]:
    """Random calibration batches; texts are padded at the end."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(batches):
        if model.task == "text-classification":
            lengths = rng.integers(4, 13, size=batch)
            mask = (np.arange(12) < lengths[:, None]).astype(np.int64)
            found.append({"input_ids": rng.integers(1, 50, (batch, 12)) * mask, "attention_mask": mask})
        else:
            _, *shape = model.signature.inputs[0].shape
            found.append({"pixel_values": rng.standard_normal((batch, *shape)).astype(np.float32)})
    return found


def labels_of(feeds: list[dict[str, np.ndarray]], classes: int = 2) -> list[np.ndarray]:
    return [np.arange(len(next(iter(batch.values())))) % classes for batch in feeds]
