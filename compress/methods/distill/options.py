"""Knowledge distillation from a finished teacher: what a recipe says of it."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import pydantic
from pydantic import Field

from edgepress.compress.methods.distill.terms import TERMS
from edgepress.compress.recipe.sections import Share, StageOptions, Training

# Terms whose weight is an option of its own, for they were there first; `terms` has the weights of the others.
NAMED, SOFT_TARGETS = ("hidden", "attention"), "soft_targets"


class Distill(StageOptions):
    """Knowledge distillation: (1 - alpha) * cross-entropy + alpha * T² * KL, plus `hidden` * mean squared difference of
    hidden states (embeddings included) and `attention` * KL of attention maps; `terms: {NAME: weight}` adds others.

    Of a decoder's vocabulary the teacher's `likeliest` tokens are kept at each place, with their probabilities and the
    mass of all others; as many as the vocabulary has make the loss exact.

    `written` is the share of the training rows whose target is the one that the teacher writes for their source
    (sequence-level distillation, arXiv 1606.07947); the others keep the true one.

    `layers_first: N` makes two trainings of it, as TinyBERT does: N epochs of the terms that compare layers, then
    `training` with the terms of the answers alone.

    References: arXiv 1503.02531 (logits), 1909.10351 (hidden states, attention), 1910.01108 (initialisation)."""

    kind: ClassVar[str] = "distill"
    method: Literal["offline"] = "offline"
    temperature: Annotated[float, Field(gt=0)] = 2.0
    alpha: Share = 0.9
    hidden: Annotated[float, Field(ge=0)] = 0.0
    attention: Annotated[float, Field(ge=0)] = 0.0
    terms: dict[str, Annotated[float, Field(ge=0)]] = {}
    likeliest: Annotated[int, Field(ge=1)] = 128
    written: Share = 0.0
    layer_map: tuple[Annotated[int, Field(ge=0)], ...] | None = None
    layers_first: Annotated[float, Field(ge=0)] = 0.0
    control: bool = False
    training: Training = Training()

    @pydantic.field_validator("terms")
    @classmethod
    def _known(cls, terms: dict[str, float]) -> dict[str, float]:
        if unknown := sorted(name for name in terms if name not in TERMS or name in (*NAMED, SOFT_TARGETS)):
            others = ", ".join(name for name in TERMS if name not in (*NAMED, SOFT_TARGETS)) or "none yet"
            raise ValueError(f"there is no other term {unknown[0]!r}: there are {others}")
        return terms

    @property
    def weights(self) -> dict[str, float]:
        """Weight of each term that has one, by its name in `TERMS`."""
        layers = {name: getattr(self, name) for name in NAMED}
        return {SOFT_TARGETS: 1.0} | {name: weight for name, weight in (layers | self.terms).items() if weight}

    def logits_only(self, training: Training) -> Distill:
        """The soft targets of this distillation alone, without a control: for a model whose layers may no longer match
        the teacher's."""
        without: dict[str, object] = {**dict.fromkeys(NAMED, 0.0), "terms": {}, "layer_map": None, "layers_first": 0.0}
        return self.model_copy(update={**without, "control": False, "training": training})
