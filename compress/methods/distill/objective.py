"""The weighted sum of distillation terms, and which layer of the teacher each layer of the student follows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from edgepress.compress.methods.distill.terms import attention_divergence, distillation_loss, masked_mse
from edgepress.compress.model.hidden_states import Grid, State, at_grid, attention_maps, hidden_states
from edgepress.compress.recipe.recipe import Distill
from edgepress.compress.training.batches import TeacherOutputs
from edgepress.targets.errors import StageError


class DistillationObjective(nn.Module):
    """The whole loss. Where student and teacher differ in width, a learned projection stands between (TinyBERT's W_h);
    it is thrown away with the objective; of feature maps it is linear over the channels, a 1 x 1 convolution.

    Args:
        layers: the student's hidden states to compare, 0 the embedding.
        widths: (student, teacher) channels of each.
        places: the student's state and the grid that it is averaged to; without them all positions are compared.
    """

    def __init__(
        self,
        options: Distill,
        layers: Sequence[int],
        widths: Sequence[tuple[int, int]],
        places: Sequence[tuple[State, Grid | None]] | None = None,
    ) -> None:
        super().__init__()
        self.options = options
        self.layers = tuple(layers)
        self.places = tuple(places) if places is not None else tuple((State(0, own), None) for own, _ in widths)
        self.attention_layers = tuple(layer for layer in layers if layer)
        self.projections = nn.ModuleList(
            nn.Linear(own, wanted) if own != wanted else nn.Identity() for own, wanted in widths
        )
        self.outputs: Mapping[str, bool] = {}
        if options.hidden:
            self.outputs = {"output_hidden_states": True}
        if options.attention:
            self.outputs = {**self.outputs, "output_attentions": True}

    def forward(self, output: Any, labels: torch.Tensor, teacher: TeacherOutputs, mask: torch.Tensor | None) -> Any:
        options = self.options
        loss = distillation_loss(
            output.logits.float(), teacher["logits"].float(), labels, options.temperature, options.alpha
        )
        if options.hidden:
            states: Any = hidden_states(output)
            compared = zip(self.layers, self.places, self.projections, teacher["hidden"], strict=True)
            for layer, place, projection, wanted in compared:
                own = projection(at_grid(states[layer], *place)).float()
                loss = loss + options.hidden / len(self.projections) * masked_mse(own, wanted.float(), mask)
        if options.attention:
            maps: Any = attention_maps(output)
            for layer, wanted in zip(self.attention_layers, teacher["attention"], strict=True):
                own = maps[layer - 1].float().mean(1)
                loss = loss + options.attention / len(self.attention_layers) * attention_divergence(
                    own, wanted.float(), mask
                )
        return loss


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
