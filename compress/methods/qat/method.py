"""Quantization-aware training: plan, training, promise; one class for what the ranges follow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgepress.compress.methods.base import Applied, Promise
from edgepress.compress.methods.qat.options import Learned, Observed, QuantizationAware

if TYPE_CHECKING:
    from edgepress.compress.methods.data import Data, Run
    from edgepress.compress.methods.qat.plan import QatPlan
    from edgepress.compress.model.model import Model


class QuantizationAwareTraining:
    """The weights learn to live with 8 bits; what the ranges follow is the options' own."""

    options: type[QuantizationAware]

    def plan(self, model: Model, options: QuantizationAware, data: Data) -> QatPlan:
        from edgepress.compress.methods.qat.plan import plan_qat

        return plan_qat(model, options, data.calibration_batches(model))

    def apply(self, model: Model, plan: QatPlan, data: Data, run: Run) -> Applied:
        from edgepress.compress.methods.qat.apply import apply_qat

        return apply_qat(model, plan, data, run)

    def promise(self, options: QuantizationAware) -> Promise:
        """No more lost than is allowed; nothing becomes smaller before targets make it int8. What the fake-quantized
        model is worth beside post-training quantization, `apply` judges itself."""
        return Promise(max_drop=options.max_drop)


class ObservedRanges(QuantizationAwareTraining):
    """Ranges by a moving average."""

    options = Observed


class LearnedSteps(QuantizationAwareTraining):
    """Steps that are trained (LSQ)."""

    options = Learned
