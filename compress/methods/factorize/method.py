"""Low-rank factors by SVD: plan, factors, promise."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgepress.compress.methods.base import Applied, Promise
from edgepress.compress.methods.factorize.options import Factorize

if TYPE_CHECKING:
    from edgepress.compress.methods.data import Data, Run
    from edgepress.compress.methods.factorize.svd import RankPlan
    from edgepress.compress.model.model import Model


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
