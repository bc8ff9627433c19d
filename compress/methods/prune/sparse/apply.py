"""From a plan of sparsity to the model: its zeros at once, or a hook that makes them while the recovery trains."""

from __future__ import annotations

from functools import partial

from edgepress.compress.methods.base import Applied
from edgepress.compress.methods.data import Run
from edgepress.compress.methods.prune.sparse.hooks import Evolving, Gradual, Moving, starting
from edgepress.compress.methods.prune.sparse.masks import masks_of, n_of_m
from edgepress.compress.methods.prune.sparse.options import Dynamic, Magnitude, NOfM, Scheduled
from edgepress.compress.methods.prune.sparse.plan import SparsityPlan, masked, named
from edgepress.compress.model.model import Model
from edgepress.compress.model.sparsity import sparse_weights


def magnitude(model: Model, plan: SparsityPlan) -> Applied:
    """The smallest weights of `model` at once, or a hook that takes them by the cubic schedule."""
    options = plan.options
    assert isinstance(options, Magnitude)
    if options.schedule == "cubic":
        return scheduled(model, plan)
    sizes = {name: weight.detach().abs() for name, weight in sparse_weights(model.network, plan.modules).items()}
    return Applied(named(masked(model, masks_of(sizes, options.sparsity, options.scope)), plan))


def groups(model: Model, plan: SparsityPlan, run: Run) -> Applied:
    """N of each M weights; a user hears of the layers that stay dense."""
    options = plan.options
    assert isinstance(options, NOfM)
    for note in plan.notes:
        run.progress.warn(f"{run.stage}: {note}")
    weights = sparse_weights(model.network, plan.modules)
    masks = {name: n_of_m(weight, options.n, options.m) for name, weight in weights.items()}
    return Applied(named(masked(model, masks), plan))


def scheduled(model: Model, plan: SparsityPlan) -> Applied:
    """The model as it is, and the hook that makes it sparse while the recovery trains: magnitude or movement."""
    options = plan.options
    assert isinstance(options, Scheduled)
    kind = Gradual if isinstance(options, Magnitude) else Moving
    hook = kind(plan.modules, options)
    return Applied(model, hooks=(hook,), finish=partial(_finished, plan=plan))


def dynamic(model: Model, plan: SparsityPlan, run: Run) -> Applied:
    """The model as sparse as it is to be, and the hook that moves its zeros while the recovery trains."""
    options = plan.options
    assert isinstance(options, Dynamic)
    weights = sparse_weights(model.network, plan.modules)
    masks = starting(weights, {layer.module: layer.zeros for layer in plan.layers}, options.start, run.seed)
    hook = Evolving(plan.modules, options, run.seed)
    return Applied(masked(model, masks), hooks=(hook,), finish=partial(_finished, plan=plan))


def _finished(model: Model, plan: SparsityPlan) -> Applied:
    return Applied(named(model, plan))
