"""A multilayer perceptron for vectors of numbers."""

from __future__ import annotations

from collections import OrderedDict
from itertools import pairwise
from typing import Any

import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput
from transformers.models.auto.auto_factory import _BaseAutoModelClass, _LazyAutoMapping


class VectorMlpConfig(PretrainedConfig):  # type: ignore[misc]
    """`num_features` in, `hidden` neurons of each layer between."""

    model_type = "vector-mlp"

    def __init__(self, num_features: int = 1, hidden: Any = (64, 64), **options: Any) -> None:
        super().__init__(**options)
        self.num_features, self.hidden = num_features, list(hidden)
        if min(num_features, *self.hidden, 1) < 1:
            raise ValueError(f"num_features and hidden are at least 1; got {num_features} and {self.hidden}")


class VectorMlp(PreTrainedModel):  # type: ignore[misc]
    """`features`, float32 `[batch, features]` → logits `[batch, classes]`."""

    config_class = VectorMlpConfig
    base_model_prefix = "encoder"
    main_input_name = "features"

    def __init__(self, config: VectorMlpConfig) -> None:
        super().__init__(config)
        widths = [config.num_features, *config.hidden]
        layers = [(nn.Linear(before, after), nn.ReLU()) for before, after in pairwise(widths)]
        self.encoder = nn.Sequential(*(layer for pair in layers for layer in pair))
        self.classifier = nn.Linear(widths[-1], config.num_labels)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            nn.init.kaiming_uniform_(module.weight, a=5**0.5)
            nn.init.zeros_(module.bias)

    def forward(self, features: torch.Tensor) -> SequenceClassifierOutput:
        """Logits of rows of numbers."""
        return SequenceClassifierOutput(logits=self.classifier(self.encoder(features)))


class AutoModelForVectorClassification(_BaseAutoModelClass):  # type: ignore[misc]
    """Classifiers of vectors, by their configuration: transformers has no such class."""

    _model_mapping = _LazyAutoMapping(OrderedDict(), OrderedDict())
