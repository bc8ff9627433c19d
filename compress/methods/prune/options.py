"""Structured pruning: what a recipe says of it."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import pydantic
from pydantic import Field

from edgepress.compress.recipe.sections import Importance, RecoverableOptions


class Prune(RecoverableOptions):
    """Structured pruning: shares of attention heads, FFN neurons and convolution channels to remove."""

    kind: ClassVar[str] = "prune"
    method: Literal["structured"] = "structured"
    heads: Annotated[float, Field(ge=0, le=1)] = 0.0
    ffn: Annotated[float, Field(ge=0, le=1)] = 0.0
    channels: Annotated[float, Field(ge=0, le=1)] = 0.0
    importance: Importance = "activation"
    round_to: Annotated[int, Field(ge=1)] = 1

    @pydantic.model_validator(mode="after")
    def _something(self) -> Prune:
        if self.heads == self.ffn == self.channels == 0:
            raise ValueError("nothing to prune: give a share for 'heads', 'ffn' or 'channels'")
        for name in ("heads", "ffn", "channels"):
            if getattr(self, name) == 1:
                raise ValueError(f"'{name}: 1.0' would prune everything; a share below 1 leaves a model")
        return self
