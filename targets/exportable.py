"""A model as targets see it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from edgepress.targets.records import Description, Signature

if TYPE_CHECKING:
    import torch


class Exportable(Protocol):
    """What a target sees of a model: `module(*inputs in the signature's order)`, in eval mode, gives its outputs: one
    tensor, several in the signature's order, or a mapping with the signature's names."""

    @property
    def module(self) -> torch.nn.Module: ...
    @property
    def signature(self) -> Signature: ...
    @property
    def description(self) -> Description: ...
