"""One method on one model: plan, apply, and train back what was taken away."""

from __future__ import annotations

from edgepress.compress.methods.base import Applied, method_of
from edgepress.compress.methods.data import Data, Run
from edgepress.compress.methods.distill.distill import distill, plan_distillation
from edgepress.compress.methods.distill.options import Distill
from edgepress.compress.model.model import Model
from edgepress.compress.recipe.sections import RecoverableOptions, StageOptions


def transform(model: Model, options: StageOptions, recovery: Distill, data: Data, run: Run) -> Applied:
    """What the method of `options` makes of `model`, which stays as it is.

    Args:
        model: what the stage before left.
        options: say the method and what it is to do.
        recovery: how a recovery is trained where the options ask for one: its logits and labels, as layers may no
            longer match the teacher's.
        data: rows and teacher.
        run: seed, scratch and progress.

    Raises:
        StageError: the method cannot do what is asked of this model.
    """
    method = method_of(options)
    plan = method.plan(model, options, data)
    applied = method.apply(model, plan, data, run)
    if not isinstance(options, RecoverableOptions):
        return applied
    details = {"plan": plan.describe(), **applied.details}
    # A plan that changed nothing is not trained: that would hide it.
    if options.recover is None or not plan.changes:
        return Applied(applied.model, details, applied.control)
    again = plan_distillation(applied.model, recovery.logits_only(options.recover), data)
    trained, training = distill(applied.model, again, data, run, "recovery", applied.hooks)
    ended = applied.finish(trained) if applied.finish is not None else Applied(trained)
    details |= {**ended.details, "recovery": training}
    return Applied(ended.model, details, applied.control, complaints=ended.complaints)
