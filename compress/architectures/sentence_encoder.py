"""Sentence embeddings: an encoder of transformers, its tokens pooled to one vector of length 1 (arXiv 1908.10084)."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from transformers import AutoModel
from transformers.modeling_outputs import SequenceClassifierOutput

from edgepress.compress.architectures.own_code import OwnCode, OwnCodeConfig
from edgepress.compress.architectures.sentence_folder import pooling_of
from edgepress.targets.errors import ModelError

PREFIX = "backbone"


class SentenceEncoder(nn.Module):
    """`backbone(**inputs)` → one vector a text, float32 `[batch, embedding_width]`, of length 1.

    Its configuration is the encoder's, with `sentence_pooling` (mean or cls) and `embedding_width`. Where the encoder's
    states have another width a linear layer stands between, so that a narrow student gives vectors as its teacher does.
    """

    base_model_prefix = PREFIX

    def __init__(self, backbone: Any) -> None:
        """
        Raises:
            ModelError: the encoder does not say how wide its states are.
        """
        super().__init__()
        config = backbone.config
        if not isinstance(width := getattr(config, "hidden_size", None), int):
            raise ModelError(f"{type(backbone).__name__} says no hidden_size: it is no encoder of texts.")
        if isinstance(getattr(backbone, "pooler", None), nn.Module):
            backbone.pooler = None  # BERT's layer for the next sentence, which nobody would read
        wanted = getattr(config, "embedding_width", width)
        self.backbone = backbone
        self.config = _marked(config, getattr(config, "sentence_pooling", "mean"), wanted)
        self.projection: nn.Module = nn.Identity() if wanted == width else nn.Linear(width, wanted)

    @property
    def input_names(self) -> frozenset[str]:
        """Of the encoder's forward."""
        return frozenset(inspect.signature(self.backbone.forward).parameters)

    def forward(self, attention_mask: torch.Tensor, **inputs: Any) -> SequenceClassifierOutput:
        """The vectors as `logits`, and what else the encoder was asked for.

        Args:
            attention_mask: 1 for real tokens, `[batch, sequence]`; without it the padding would be part of the mean.
            inputs: the encoder's others, and `output_hidden_states` or `output_attentions`.
        """
        found = self.backbone(attention_mask=attention_mask, **inputs)
        state = found.last_hidden_state
        vectors = state[:, 0] if self.config.sentence_pooling == "cls" else mean_of(state, attention_mask)
        return SequenceClassifierOutput(
            logits=F.normalize(self.projection(vectors), dim=-1),
            hidden_states=getattr(found, "hidden_states", None),
            attentions=getattr(found, "attentions", None),
        )


def mean_of(state: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The mean over real tokens of states `[batch, sequence, hidden]`, `[batch, hidden]`.

    >>> mean_of(torch.tensor([[[1.0], [3.0], [9.0]]]), torch.tensor([[1, 1, 0]]))
    tensor([[2.]])
    """
    real = mask.unsqueeze(-1).to(state.dtype)
    return (state * real).sum(1) / real.sum(1).clamp(min=1e-9)


class AutoModelForTextEmbedding:
    """Sentence encoders by their configuration: any that AutoModel knows, or the user's own code."""

    _model_mapping = AutoModel._model_mapping

    @classmethod
    def from_config(cls, config: Any, **options: Any) -> nn.Module:
        """One with random weights, as AutoModel's."""
        if isinstance(config, OwnCodeConfig):
            return OwnCode(config)
        return SentenceEncoder(AutoModel.from_config(config, **options))

    @classmethod
    def from_pretrained(cls, source: str, **options: Any) -> tuple[nn.Module, dict[str, Any]]:
        """The encoder of a folder or hub id with the pooling that lies beside it, and AutoModel's report.

        Raises:
            ModelError: what lies beside it is damaged or asks for what is not known here.
        """
        for name in ("num_labels", "ignore_mismatched_sizes"):
            options.pop(name, None)  # there is no head that could have another size
        backbone, report = AutoModel.from_pretrained(source, **options)
        width = int(getattr(backbone.config, "hidden_size", 0))
        _marked(backbone.config, pooling_of(source, width), width)
        return SentenceEncoder(backbone), {kind: _renamed(names) for kind, names in report.items()}


def _marked(config: Any, pooling: str, width: int) -> Any:
    """The configuration with what its outputs are."""
    config.num_labels, config.output_kind = 0, "vectors"
    config.sentence_pooling, config.embedding_width = pooling, width
    return config


def _renamed(names: Any) -> Any:
    """Names of the encoder's weights as those of the whole; what its pooler lacks is not missed."""
    if not isinstance(names, list | set | tuple):
        return names
    found = [name if isinstance(name, str) else name[0] for name in names]
    return [f"{PREFIX}.{name}" for name in found if not name.startswith("pooler.")]
