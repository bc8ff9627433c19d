"""Knowledge distillation from a finished teacher: plan, training, promise."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgepress.compress.methods.base import Applied, Promise
from edgepress.compress.methods.distill.options import Distill

if TYPE_CHECKING:
    from edgepress.compress.methods.data import Data, Run
    from edgepress.compress.methods.distill.distill import DistillationPlan
    from edgepress.compress.model.model import Model


class Distillation:
    """A finished teacher shows the student what it gives on the training rows."""

    options = Distill

    def plan(self, model: Model, options: Distill, data: Data) -> DistillationPlan:
        from edgepress.compress.methods.distill.distill import plan_distillation

        return plan_distillation(model, options, data)

    def apply(self, model: Model, plan: DistillationPlan, data: Data, run: Run) -> Applied:
        from edgepress.compress.methods.distill.distill import apply_distillation

        return apply_distillation(model, plan, data, run)

    def promise(self, options: Distill) -> Promise:
        """More accuracy; a training says nothing about size or speed."""
        return Promise(max_drop=None)
