"""transformers' question answering models with both of their answers in one tensor, `logits [batch, sequence, 2]`."""

from __future__ import annotations

from functools import cache, wraps
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForQuestionAnswering


class AutoModelForAnswerSpans:
    """Whatever AutoModelForQuestionAnswering knows; logits of first tokens are `logits[..., 0]`, of last `[..., 1]`.

    One tensor is what every stage and target hands on, so that both are calibrated, compared and distilled alike.
    """

    _model_mapping = AutoModelForQuestionAnswering._model_mapping

    @classmethod
    def from_config(cls, config: Any, **options: Any) -> nn.Module:
        """One with random weights."""
        return _stacking(AutoModelForQuestionAnswering.from_config(config, **options))

    @classmethod
    def from_pretrained(cls, source: str, **options: Any) -> tuple[nn.Module, dict[str, Any]]:
        """That of a folder or hub id, and transformers' report."""
        network, report = AutoModelForQuestionAnswering.from_pretrained(source, **options)
        return _stacking(network), report


def _stacking(network: nn.Module) -> nn.Module:
    kind: Any = type(network)
    network.__class__ = _stacking_class(kind)
    return network


@cache
def _stacking_class(kind: Any) -> type[nn.Module]:
    """The class under its own name, which configurations hold; its output has `logits` too."""

    @wraps(kind.forward)
    def forward(self: Any, *inputs: Any, **named: Any) -> Any:
        found = kind.forward(self, *inputs, **named)
        found.logits = torch.stack((found.start_logits, found.end_logits), -1)
        return found

    made: type[nn.Module] = type(kind.__name__, (kind,), {"forward": forward, "__module__": kind.__module__})
    return made
