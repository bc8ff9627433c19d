"""Sparsity: plan, zeros, promise, one class for each method."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgepress.compress.methods.base import Applied, Promise
from edgepress.compress.methods.prune.sparse.options import Dynamic, Magnitude, Movement, NOfM, RigL, Set

if TYPE_CHECKING:
    from edgepress.compress.methods.data import Data, Run
    from edgepress.compress.methods.prune.sparse.options import SparseOptions
    from edgepress.compress.methods.prune.sparse.plan import SparsityPlan
    from edgepress.compress.model.model import Model


def promised(options: SparseOptions) -> Promise:
    """Fewer bytes after compression, and every zero in the exported file too; no MAC less, and so no speed."""
    return Promise(max_drop=options.max_drop, falls=("zstd_bytes",), keeps_zeros=True)


class MagnitudePruning:
    """The smallest weights become zero, at once or while the recovery trains."""

    options = Magnitude

    def plan(self, model: Model, options: Magnitude, data: Data) -> SparsityPlan:
        from edgepress.compress.methods.prune.sparse.plan import plan_magnitude

        return plan_magnitude(model, options)

    def apply(self, model: Model, plan: SparsityPlan, data: Data, run: Run) -> Applied:
        from edgepress.compress.methods.prune.sparse.apply import magnitude

        return magnitude(model, plan)

    def promise(self, options: Magnitude) -> Promise:
        return promised(options)


class SemiStructured:
    """N of each M weights along the inputs stay."""

    options = NOfM

    def plan(self, model: Model, options: NOfM, data: Data) -> SparsityPlan:
        from edgepress.compress.methods.prune.sparse.plan import plan_n_of_m

        return plan_n_of_m(model, options)

    def apply(self, model: Model, plan: SparsityPlan, data: Data, run: Run) -> Applied:
        from edgepress.compress.methods.prune.sparse.apply import groups

        return groups(model, plan, run)

    def promise(self, options: NOfM) -> Promise:
        return promised(options)


class MovementPruning:
    """What the recovery moves towards zero becomes zero."""

    options = Movement

    def plan(self, model: Model, options: Movement, data: Data) -> SparsityPlan:
        from edgepress.compress.methods.prune.sparse.plan import plan_magnitude

        return plan_magnitude(model, options)

    def apply(self, model: Model, plan: SparsityPlan, data: Data, run: Run) -> Applied:
        from edgepress.compress.methods.prune.sparse.apply import scheduled

        return scheduled(model, plan)

    def promise(self, options: Movement) -> Promise:
        return promised(options)


class DynamicSparse:
    """Sparse from the recovery's first step on, its zeros moving; what grows is the options' own: SET or RigL."""

    options: type[Dynamic]

    def plan(self, model: Model, options: Dynamic, data: Data) -> SparsityPlan:
        from edgepress.compress.methods.prune.sparse.plan import plan_dynamic

        return plan_dynamic(model, options)

    def apply(self, model: Model, plan: SparsityPlan, data: Data, run: Run) -> Applied:
        from edgepress.compress.methods.prune.sparse.apply import dynamic

        return dynamic(model, plan, run)

    def promise(self, options: Dynamic) -> Promise:
        return promised(options)


class SparseEvolution(DynamicSparse):
    """Weights grow at random (SET)."""

    options = Set


class RiggedLottery(DynamicSparse):
    """Weights grow where gradients are largest (RigL)."""

    options = RigL
