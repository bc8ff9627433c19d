"""Structured pruning: what a recipe says of it, and its promise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import pydantic
from pydantic import Field

from edgepress.compress.methods.base import Applied, Promise
from edgepress.compress.recipe.sections import Importance, RecoverableOptions

if TYPE_CHECKING:
    from edgepress.compress.methods.data import Data, Run
    from edgepress.compress.methods.prune.structured import PruningPlan
    from edgepress.compress.model.model import Model


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


class StructuredPruning:
    """Whole heads, neurons and channels leave; what stays is a smaller dense model."""

    options = Prune

    def plan(self, model: Model, options: Prune, data: Data) -> PruningPlan:
        from edgepress.compress.methods.prune.structured import plan_pruning

        return plan_pruning(model, options, data.calibration_batches(model), data.calibration_labels())

    def apply(self, model: Model, plan: PruningPlan, data: Data, run: Run) -> Applied:
        from edgepress.compress.methods.prune.structured import apply_pruning

        return Applied(apply_pruning(model, plan))

    def promise(self, options: Prune) -> Promise:
        return Promise(max_drop=options.max_drop, falls=("macs", "parameters"), keeps_latency=True)
