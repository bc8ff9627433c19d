"""The weighted sum of distillation terms, and which layer of the teacher each layer of the student follows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from typing import Any

import torch
from torch import nn

from edgepress.compress.methods.distill.options import Distill
from edgepress.compress.methods.distill.terms import TERMS
from edgepress.compress.methods.distill.terms.base import CLASSES, Batch, Compared, Term
from edgepress.compress.tasks.base import Outputs
from edgepress.compress.training.batches import TeacherOutputs
from edgepress.compress.training.teacher_cache import Wanted
from edgepress.targets.errors import StageError


class DistillationObjective(nn.Module):
    """The whole loss: the sum of the terms that the options give a weight, each times it."""

    def __init__(
        self, options: Distill, compared: Compared, layers: bool | None = None, kind: Outputs = CLASSES
    ) -> None:
        """
        Args:
            options: weights of the terms, and what the terms themselves ask of them.
            compared: which layers the terms that compare layers compare.
            layers: those terms alone, or the others alone; all of them for None.
            kind: of the task's outputs.
        """
        super().__init__()
        self.kind = kind
        found = {name: find_term(name) for name in options.weights}
        names = [name for name, term in found.items() if layers is None or term.layers == layers]
        self.names = tuple(names)
        self.broken = ""
        """The first term whose loss was not finite; empty as long as all are."""
        self.weights = tuple(options.weights[name] for name in names)
        self.terms = nn.ModuleList(found[name](options, compared) for name in names)
        self.outputs: Mapping[str, bool] = outputs_of(names)

    @property
    def _terms(self) -> list[Term]:
        return list(self.terms)  # type: ignore[arg-type]  # a ModuleList knows no more than that they are modules

    def forward(self, output: Any, labels: torch.Tensor, teacher: TeacherOutputs, mask: torch.Tensor | None) -> Any:
        """The weighted sum of the terms.

        Args:
            output: the student's, with what the terms ask its forward for.
            labels: `[batch, ...]`, as the task's kind of outputs has them.
            teacher: the teacher's outputs on the same rows.
            mask: `[batch, tokens]`, 1 for real tokens; None where there is none, as with images.
        """
        batch = Batch(labels, mask, self.kind)
        losses = [term.loss(output, teacher, batch) for term in self._terms]
        total = sum(weight * loss for weight, loss in zip(self.weights, losses, strict=True))
        if not torch.isfinite(torch.as_tensor(total)).all():
            # Once, on the way out: asked of each term at each step it would wait for the device as often.
            self.broken = self._broken(losses)
        return total

    def _broken(self, losses: Sequence[torch.Tensor]) -> str:
        """The first term whose loss is not finite; empty where only their sum is."""
        pairs = zip(self.names, losses, strict=True)
        return next((name for name, loss in pairs if not torch.isfinite(loss).all()), "")


def find_term(name: str) -> type[Term]:
    """The class of a term; KeyError where `TERMS` has none of that name."""
    module, _, attribute = TERMS[name].partition(":")
    found: type[Term] = getattr(import_module(module), attribute)
    return found


def outputs_of(names: Iterable[str]) -> dict[str, bool]:
    """What the terms of these names together ask the student's forward for besides the logits."""
    return {key: on for name in names for key, on in find_term(name).outputs.items()}


def needs_layers(options: Distill) -> bool:
    """Whether a term that has a weight compares layers."""
    return any(find_term(name).layers for name in options.weights)


def check_kind(options: Distill, kind: Outputs, task: str) -> None:
    """Raises StageError where a term needs classes, and the task has none."""
    if not kind.classes and (wrong := next((name for name in options.weights if find_term(name).classes), None)):
        raise StageError(f"distill: the term {wrong!r} compares classes, and {task} has none. Leave it out.")


def without_labels(options: Distill, task: str) -> Distill:
    """The options for rows that may have no labels: the teacher's share is all of it where the recipe does not say it.

    Args:
        options: as the recipe has them.
        task: its name, for the message.

    Raises:
        StageError: the recipe gives the labels a share.
    """
    alpha = options.alpha if "alpha" in options.model_fields_set else 1.0
    if alpha < 1 or options.control:
        raise StageError(
            f"distill: {task} learns from its teacher alone, and labels are given a share: set alpha to 1 and control "
            f"to false, or leave both out."
        )
    return options.model_copy(update={"alpha": alpha})


def needs_every_layer(options: Distill) -> bool:
    """Whether a term that has a weight compares more than the last layer."""
    return any(term.layers and not term.last for term in map(find_term, options.weights))


def needs_of(options: Distill, compared: Compared, precision: str, kind: Outputs = CLASSES) -> Wanted:
    """What all terms together need of the teacher.

    Args:
        options: which terms have a weight.
        compared: which layers they compare.
        precision: that the teacher computes in.
        kind: of the task's outputs; of some only the likeliest are kept.
    """
    found: dict[str, Any] = {"precision": "bf16" if precision == "bf16" else "fp32"}
    if kind.keeps_likeliest:
        found |= {"likeliest": options.likeliest, "temperature": options.temperature}
    for name in options.weights:
        # Terms that ask for the same layers share what is kept; what one term leaves at its default another may set.
        found |= find_term(name).needs(compared).model_dump(exclude_defaults=True)
    return Wanted(**found)


def layer_map(student_depth: int, teacher_depth: int, given: Sequence[int] | None) -> tuple[tuple[int, int], ...]:
    """Pairs (student layer, teacher layer), both counted from 1 as in `hidden_states`; 0 is the embedding.

    Without `given` (teacher layers from 0, one a student layer) they are spaced evenly and the last ones meet.

    >>> layer_map(3, 6, None)
    ((1, 2), (2, 4), (3, 6))

    Raises:
        StageError: the map's length or an index does not fit.
    """
    if given is None:
        return tuple((i, max(1, round(i * teacher_depth / student_depth))) for i in range(1, student_depth + 1))
    if len(given) != student_depth or max(given) >= teacher_depth:
        raise StageError(
            f"distill.layer_map is {list(given)}; it needs {student_depth} teacher layers (one for each layer of the "
            f"student), each between 0 and {teacher_depth - 1}"
        )
    return tuple((i, layer + 1) for i, layer in enumerate(given, 1))
