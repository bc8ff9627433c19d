"""Low-rank factors by SVD: what a recipe says of them."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import pydantic
from pydantic import Field

from edgepress.compress.recipe.sections import Fraction, RecoverableOptions


class Factorize(RecoverableOptions):
    """Low-rank factors of Linear, Conv2d and Embedding layers, where the two factors cost less than the original.

    The rank comes from `energy` (share of the squared singular values kept), from `budget` (share of the factorizable
    parameters kept) or from `rank` itself. Reference: arXiv 1505.06798 (convolutions), 2403.07378 (whitening)."""

    kind: ClassVar[str] = "factorize"
    method: Literal["svd"] = "svd"
    energy: Fraction | None = None
    budget: Fraction | None = None
    rank: Annotated[int, Field(ge=1)] | None = None
    layers: tuple[Literal["linear", "conv", "embedding"], ...] = ("linear", "conv", "embedding")
    exclude: tuple[str, ...] = ()
    activation_aware: bool = True

    @pydantic.model_validator(mode="after")
    def _one_rule(self) -> Factorize:
        if sum(value is not None for value in (self.energy, self.budget, self.rank)) != 1:
            raise ValueError("give exactly one of 'energy', 'budget' and 'rank'")
        return self
