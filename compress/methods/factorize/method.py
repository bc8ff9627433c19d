"""Low-rank factors by SVD: what a recipe says of them, and their promise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import pydantic
from pydantic import Field

from edgepress.compress.methods.base import Applied, Promise
from edgepress.compress.recipe.sections import Fraction, RecoverableOptions

if TYPE_CHECKING:
    from edgepress.compress.methods.data import Data, Run
    from edgepress.compress.methods.factorize.svd import RankPlan
    from edgepress.compress.model.model import Model


class Factorize(RecoverableOptions):
    """Low-rank factors of Linear, Conv2d and Embedding layers, where the two factors cost less than the original.

    The rank comes from `energy` (share of the squared singular values kept), from `budget` (share of the factorizable
    parameters kept) or from `rank` itself. Reference: arXiv 1505.06798 (convolutions), 2403.07378 (whitening)."""

    kind: ClassVar[str] = "factorize"
    method: Literal["svd"] = "svd"
    energy: Fraction | None = None
    budget: Fraction | None = None
    rank: Annotated[int, Field(ge=1)] | None = None
    layers: tuple[Literal["linear", "conv", "embedding"], ...] = ("linear", "conv", "embedding")
    exclude: tuple[str, ...] = ()
    activation_aware: bool = True

    @pydantic.model_validator(mode="after")
    def _one_rule(self) -> Factorize:
        if sum(value is not None for value in (self.energy, self.budget, self.rank)) != 1:
            raise ValueError("give exactly one of 'energy', 'budget' and 'rank'")
        return self


class LowRank:
    """Layers become two thin ones where that costs less."""

    options = Factorize

    def plan(self, model: Model, options: Factorize, data: Data) -> RankPlan:
        from edgepress.compress.methods.factorize.svd import plan_ranks

        return plan_ranks(model, options, data.calibration_batches(model))

    def apply(self, model: Model, plan: RankPlan, data: Data, run: Run) -> Applied:
        from edgepress.compress.methods.factorize.svd import apply_ranks

        return Applied(apply_ranks(model, plan))

    def promise(self, options: Factorize) -> Promise:
        return Promise(max_drop=options.max_drop, falls=("macs", "parameters"), keeps_latency=True)
