"""Structured pruning: importance → PruningPlan → a smaller dense model.

A plan is proven before it is handed out: the pruned network must compute what the full one computes when the layers
behind the removed units read zeros.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch
from torch import nn

from edgepress.compress.methods.prune.options import Prune
from edgepress.compress.model.edits import resize_edits, structure
from edgepress.compress.model.model import Model
from edgepress.compress.network.blocks import ffn_groups, head_groups
from edgepress.compress.network.importance import Importance, importance_of
from edgepress.compress.network.probing import probe_logits
from edgepress.compress.network.slicing import Cut, Group, cut, cuts_of, silence
from edgepress.compress.tasks import load_task
from edgepress.targets.errors import StageError, told
from edgepress.targets.records import Feeds, Record

GroupKind = Literal["heads", "ffn", "channels", "hidden"]
# The outputs of the pruned network may differ from those of the silenced one by this share of the largest logit.
TOLERANCE = 1e-3


class GroupPlan(Record):
    """What one group keeps. `removed_importance` is the share of the group's summed importance that leaves."""

    kind: GroupKind
    module: str
    before: int
    kept: tuple[int, ...]
    removed_importance: float
    cuts: tuple[Cut, ...]
    attributes: dict[str, int] = {}

    def describe(self) -> str:
        share = f"{100 * self.removed_importance:5.1f} % of importance removed"
        return f"{self.kind:8} {self.module:60} {self.before:5} -> {len(self.kept):5}  {share}"


class PruningPlan(Record):
    """Everything that leaves the network, as data."""

    importance: Importance
    groups: tuple[GroupPlan, ...]
    notes: tuple[str, ...] = ()

    @property
    def changes(self) -> bool:
        return any(group.cuts for group in self.groups)

    @property
    def summary(self) -> str:
        """One line, e.g. `heads 12 -> 6, ffn 1536 -> 768`, sums over the layers."""
        parts = []
        for kind in dict.fromkeys(group.kind for group in self.groups):
            ours = [group for group in self.groups if group.kind == kind]
            parts.append(f"{kind} {sum(g.before for g in ours)} -> {sum(len(g.kept) for g in ours)}")
        return f"{', '.join(parts)} (by {self.importance})"

    def describe(self) -> str:
        return "\n".join([self.summary, *(group.describe() for group in self.groups), *self.notes])

    def __str__(self) -> str:
        return self.describe()


def plan_pruning(
    model: Model, options: Prune, calibration: Sequence[Feeds], labels: Sequence[np.ndarray]
) -> PruningPlan:
    """Decide which heads, neurons and channels leave; each layer group loses the same share.

    Args:
        options: the shares to remove, how units are scored, the multiples that sizes are rounded to.
        calibration: calibration batches, each `{input: array}`; the plan is checked on the first.
        labels: int class labels `[batch]`, one array for each batch of `calibration`; only `taylor` reads them.

    Raises:
        StageError: the model has none of what shall be pruned, or a group would lose everything.
    """
    groups, notes = _groups(model.network, options, calibration)
    shares = {"heads": options.heads, "ffn": options.ffn, "channels": options.channels}
    sizes = [kept_of(group, shares[group.kind], _multiple(group, options.round_to)) for group in groups]
    return plan_sizes(model, groups, sizes, options.importance, calibration, labels, notes)


def plan_sizes(
    model: Model,
    groups: Sequence[Group],
    sizes: Sequence[int],
    importance: Importance,
    calibration: Sequence[Feeds],
    labels: Sequence[np.ndarray],
    notes: Sequence[str] = (),
) -> PruningPlan:
    """Keep the `sizes[i]` most important units of each group; the plan is checked on the first calibration batch.

    Args:
        model: stays as it is.
        groups: heads, neurons or channels that are scored together.
        importance: how units are scored; `magnitude` needs no data.
        labels: int class labels `[batch]`, one array for each batch of `calibration`; only `taylor` reads them.
        notes: what the plan tells its reader besides.
    """
    loss = load_task(model.task).outputs.loss
    scores = importance_of(model.network, groups, importance, calibration, labels, loss)
    chosen = tuple(_choose(*each) for each in zip(groups, sizes, scores, strict=True))
    plan = PruningPlan(importance=importance, groups=chosen, notes=tuple(notes))
    if plan.changes and calibration:
        _prove(model.network, plan, calibration[0])
    return plan


def apply_pruning(model: Model, plan: PruningPlan, stage: str = "prune") -> Model:
    """The smaller dense model; `model` stays as it is.

    Args:
        plan: of this very model.
        stage: what the lineage calls it.
    """
    pruned = copy.deepcopy(model.network)
    before = structure(pruned)
    prune_network(pruned, plan)
    return model.after(stage, plan.summary, resize_edits(before, pruned), pruned)


def prune_network(network: nn.Module, plan: PruningPlan) -> None:
    """Make the plan's cuts in place."""
    cut(network, (one for group in plan.groups for one in group.cuts))
    for group in plan.groups:
        for name, value in group.attributes.items():
            setattr(network.get_submodule(group.module), name, value)


def kept_of(group: Group, share: float, multiple: int = 1) -> int:
    """How many units stay when `share` of them leaves: the nearest `multiple`, at least one multiple, at most all.

    Raises:
        StageError: nothing would stay.
    """
    # Half up, and a hair for binary fractions: 12 * (1 - 0.375) is 7.5 and must round alike on every machine.
    exact = group.units * (1 - share)
    if math.floor(exact + 0.5 + 1e-9) == 0:
        raise StageError(
            f"prune: {group.kind} {share:g} would remove all {group.units} {group.kind} of {group.name}. "
            f"Use a share of at most {1 - 0.5 / group.units:.3g}."
        )
    return min(group.units, max(multiple, multiple * math.floor(exact / multiple + 0.5 + 1e-9)))


def _multiple(group: Group, round_to: int) -> int:
    """`round_to` counts neurons and channels; a head is a multiple of its own size already."""
    return 1 if group.kind == "heads" else round_to


def _choose(group: Group, size: int, scores: np.ndarray) -> GroupPlan:
    # Stable, so that equal scores fall the same way on every run; sorted, so that kept units stay in the order that
    # other tensors index them by.
    kept = tuple(sorted(int(i) for i in np.argsort(-scores, kind="stable")[:size]))
    total = float(scores.sum())
    return GroupPlan(
        kind=group.kind,
        module=group.name,
        before=group.units,
        kept=kept,
        removed_importance=0.0 if total == 0 else max(0.0, 1 - float(scores[list(kept)].sum()) / total),
        cuts=cuts_of(group, kept),
        attributes={} if size == group.units else {name: per_unit * size for name, per_unit in group.attributes},
    )


def _groups(network: nn.Module, options: Prune, calibration: Sequence[Feeds]) -> tuple[list[Group], list[str]]:
    groups: list[Group] = []
    notes: list[str] = []
    finders: tuple[tuple[str, Callable[[nn.Module], list[Group]]], ...] = (("heads", head_groups), ("ffn", ffn_groups))
    for kind, find in finders:
        if getattr(options, kind):
            groups += _some(find(network), kind, network)
    if options.channels:
        if not any(isinstance(module, nn.Conv2d) for module in network.modules()):
            raise _nothing("channels", network)
        if not calibration:
            raise StageError("prune: channels need one calibration batch to trace the network; there is none")
        from edgepress.compress.network.channels import channel_groups

        found, notes = channel_groups(network, calibration[0])
        groups += _some(found, "channels", network, notes)
    return groups, notes


def _some(groups: list[Group], kind: str, network: nn.Module, notes: Sequence[str] = ()) -> list[Group]:
    if not groups:
        raise _nothing(kind, network, notes)
    return groups


def _nothing(kind: str, network: nn.Module, notes: Sequence[str] = ()) -> StageError:
    what = {"heads": "attention heads", "ffn": "feed-forward neurons", "channels": "convolution channels"}
    present = [name for name, find in (("heads", head_groups), ("ffn", ffn_groups)) if find(network)]
    if any(isinstance(m, nn.Conv2d) for m in network.modules()) and not present and kind != "channels":
        present.append("channels")
    why = f" ({notes[0]}{', as others are' if len(notes) > 1 else ''})" if notes else ""
    return StageError(
        f"prune: {type(network).__name__} has no {what[kind]} that can be pruned; "
        f"it has {' and '.join(present) or f'none of heads, ffn and channels{why}'}. Remove '{kind}' from the recipe."
    )


def _prove(network: nn.Module, plan: PruningPlan, feeds: Feeds) -> None:
    """Raises StageError where the pruned network fails, or does not compute what the silenced full one does."""
    pruned = copy.deepcopy(network)
    prune_network(pruned, plan)
    try:
        got = probe_logits(pruned, feeds)
    except (RuntimeError, ValueError, TypeError, IndexError) as fault:
        raise StageError(
            f"prune: {type(network).__name__} does not run when pruned like this: {told(fault)}"
        ) from fault
    silent = copy.deepcopy(network)
    cuts = [one for group in plan.groups for one in group.cuts]
    # The reference is the full network whose readers see zeros where units will be missing: what cutting must equal.
    silence(silent, cuts)
    want = probe_logits(silent, feeds)
    if got.shape != want.shape or not bool(torch.isfinite(got).all()):
        raise StageError(
            f"prune: {type(network).__name__} pruned like this gives {tuple(got.shape)} logits or no numbers"
        )
    # A norm over fewer features has another mean and variance by right: shapes and finite numbers are all that can be
    # proven.
    if _normalises(network, cuts):
        return
    error = float((got - want).abs().max())
    if error > TOLERANCE * max(1.0, float(want.abs().max())):
        raise StageError(
            f"prune: {type(network).__name__} uses its heads or channels in a way unknown here: pruned logits are off "
            f"by {error:.2g}. Leave out the kind of pruning that is not supported for this architecture."
        )


def _normalises(network: nn.Module, cuts: Sequence[Cut]) -> bool:
    """Whether a layer norm runs over cut features; it then sees other statistics, and the proof of equality fails."""
    modules = dict(network.named_modules())
    return any(
        one.module not in modules or isinstance(modules[one.module], nn.LayerNorm | nn.Embedding) for one in cuts
    )
