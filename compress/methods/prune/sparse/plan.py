"""Which layers become sparse, and how much: the plan, and the model with its zeros named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from edgepress.compress.methods.prune.sparse.masks import Masks, erdos_renyi, masks_of, n_of_m, zeros_of
from edgepress.compress.methods.prune.sparse.options import Dynamic, Magnitude, NOfM, Scheduled, SparseOptions
from edgepress.compress.model.edits import Edit
from edgepress.compress.model.model import Model
from edgepress.compress.model.sparsity import sparse_weights
from edgepress.targets.errors import StageError
from edgepress.targets.records import Record

KINDS: dict[type[nn.Module], str] = {nn.Linear: "linear", nn.Conv2d: "conv", nn.Embedding: "embedding"}
# A layer with less than this share of the weights stays dense: classifiers of a few classes, first convolutions.
SMALL = 1e-3

SCOPES = {
    "layer": "each layer by itself",
    "global": "all layers together",
    "erdos-renyi": "each layer by its Erdős-Rényi density",
}


class LayerPlan(Record):
    """One layer: so many of its `weights` are to be zero; with a global scope `zeros` by the weights of now."""

    module: str
    weights: int
    zeros: int

    def describe(self) -> str:
        return f"{self.module:60} {self.weights:9} weights, {self.zeros:9} zero ({self.zeros / self.weights:6.1%})"


class SparsityPlan(Record):
    """All layers that become sparse. `how` names the rule; `notes` tell of layers that stay dense."""

    options: SparseOptions
    how: str
    layers: tuple[LayerPlan, ...]
    notes: tuple[str, ...] = ()

    @property
    def changes(self) -> bool:
        return any(layer.zeros for layer in self.layers)

    @property
    def modules(self) -> tuple[str, ...]:
        return tuple(layer.module for layer in self.layers)

    @property
    def summary(self) -> str:
        """One line: how many weights of how many layers, and by which rule."""
        zeros, weights = sum(layer.zeros for layer in self.layers), sum(layer.weights for layer in self.layers)
        return f"{zeros / weights:.1%} of {weights} weights in {len(self.layers)} layers zero, {self.how}"

    def describe(self) -> str:
        return "\n".join([self.summary, *(layer.describe() for layer in self.layers), *self.notes])

    def __str__(self) -> str:
        return self.describe()


def layers_of(model: Model, options: SparseOptions) -> dict[str, nn.Parameter]:
    """The weights that may become sparse, by module: those of the kinds asked for, each once, without small ones.

    Raises:
        StageError: there are none.
    """
    found: dict[str, nn.Parameter] = {}
    for name, module in model.network.named_modules():
        kind, weight = KINDS.get(type(module)), getattr(module, "weight", None)
        # A tied weight has one pattern of zeros: counted twice it would be planned twice, and the second mask would
        # undo the first.
        taken = any(weight is other for other in found.values())
        if kind in options.layers and not taken and not _excluded(name, options.exclude):
            found[name] = weight  # type: ignore[assignment]
    total = sum(weight.numel() for weight in found.values())
    found = {name: weight for name, weight in found.items() if weight.numel() >= SMALL * total}
    if not found:
        raise StageError(
            f"prune: {type(model.network).__name__} has no layer left of kind {', '.join(options.layers)} "
            f"({len(options.exclude)} excluded). Name other kinds in 'layers' or exclude less."
        )
    return found


def _excluded(name: str, exclude: Sequence[str]) -> bool:
    return any(f".{part}." in f".{name}." for part in exclude)


def plan_magnitude(model: Model, options: Scheduled) -> SparsityPlan:
    """The smallest weights of each layer, or of all together; for other scores than magnitude, how many of each."""
    weights = layers_of(model, options)
    masks = masks_of({name: weight.detach().abs() for name, weight in weights.items()}, options.sparsity, options.scope)
    where = SCOPES[options.scope]
    when = "at once"
    if not isinstance(options, Magnitude) or options.schedule == "cubic":
        when = f"by a cubic schedule over {options.begin:.0%} to {options.end:.0%} of the recovery"
    return SparsityPlan(options=options, how=f"by {options.method} in {where}, {when}", layers=_planned(masks))


def plan_dynamic(model: Model, options: Dynamic) -> SparsityPlan:
    """So many weights of each layer as its density leaves."""
    weights = layers_of(model, options)
    densities = [1 - options.sparsity] * len(weights)
    if options.distribution == "erdos-renyi":
        densities = erdos_renyi([weight.shape for weight in weights.values()], options.sparsity)
    layers = tuple(
        LayerPlan(module=name, weights=weight.numel(), zeros=zeros_of(1 - density, weight.numel()))
        for (name, weight), density in zip(weights.items(), densities, strict=True)
    )
    how = f"by {options.method}, {options.distribution}, from {options.start} weights"
    return SparsityPlan(options=options, how=how, layers=layers)


def plan_n_of_m(model: Model, options: NOfM) -> SparsityPlan:
    """`n` of each `m` weights along the inputs, in every layer whose inputs `m` divides.

    Raises:
        StageError: `m` divides the inputs of no layer.
    """
    weights = layers_of(model, options)
    fits = {name: weight for name, weight in weights.items() if not weight.shape[1] % options.m}
    pattern = f"{options.n}:{options.m}"
    rest = {name: weight.shape[1] for name, weight in weights.items() if name not in fits}
    if not fits:
        name, inputs = next(iter(rest.items()))
        raise StageError(
            f"prune: {pattern} needs inputs that {options.m} divides, and no layer has them; {name} has {inputs}. "
            f"Use another 'm', or the method magnitude."
        )
    dense = ", ".join(f"{name} ({inputs})" for name, inputs in rest.items())
    notes = (f"dense, their inputs are no multiple of {options.m}: {dense}",) if rest else ()
    # Planned from the weights themselves: the count of zeros is exact even where a group holds zeros already.
    masks = {name: n_of_m(weight, options.n, options.m) for name, weight in fits.items()}
    return SparsityPlan(options=options, how=f"{pattern} along the inputs", layers=_planned(masks), notes=notes)


def _planned(masks: Masks) -> tuple[LayerPlan, ...]:
    return tuple(LayerPlan(module=name, weights=mask.numel(), zeros=int((~mask).sum())) for name, mask in masks.items())


def masked(model: Model, masks: Mapping[str, torch.Tensor]) -> Model:
    """A copy of `model` whose weights outside of `masks` are zero."""
    copied = model.copy()
    with torch.no_grad():
        for name, weight in sparse_weights(copied.network, masks).items():
            weight.mul_(masks[name])
    return copied


def named(model: Model, plan: SparsityPlan) -> Model:
    """`model` with an edit for each sparse layer, by the zeros that it really has."""
    weights = sparse_weights(model.network, plan.modules)
    edits, zeros, total = [], 0, 0
    for name, weight in weights.items():
        kept, size = int((weight != 0).sum()), weight.numel()
        zeros, total = zeros + size - kept, total + size
        edits.append(_edit(name, kept, size, plan.options))
    return model.after("prune", f"{zeros / total:.1%} of {total} weights zero, {plan.how}", tuple(edits))


def _edit(name: str, kept: int, size: int, options: SparseOptions) -> Edit:
    if isinstance(options, NOfM):
        return Edit(kind="n_of_m", module=name, sizes={"n": options.n, "m": options.m})
    return Edit(kind="sparse", module=name, sizes={"kept": kept, "of": size})
