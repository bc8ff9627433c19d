"""Structured pruning: plan, cuts, promise."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgepress.compress.methods.base import Applied, Promise
from edgepress.compress.methods.prune.options import Prune

if TYPE_CHECKING:
    from edgepress.compress.methods.data import Data, Run
    from edgepress.compress.methods.prune.structured import PruningPlan
    from edgepress.compress.model.model import Model


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
