"""Sparsity: what a recipe says of it, by method."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import pydantic
from pydantic import Field

from edgepress.compress.recipe.sections import Fraction, RecoverableOptions, Share

Steps = Annotated[int, Field(ge=1)]
Sparsity = Annotated[Fraction, Field(description="share of the weights that become zero")]
Every = Annotated[Steps, Field(description="steps from one change of the zeros to the next")]


class SparseOptions(RecoverableOptions):
    """What all of them have: kinds of layers, and modules, subtrees or ends of names that are left dense."""

    kind: ClassVar[str] = "prune"
    layers: tuple[Literal["linear", "conv", "embedding"], ...] = ("linear", "conv")
    exclude: Annotated[tuple[str, ...], Field(description="modules, subtrees or ends of names left dense")] = ()

    def needs_training(self) -> None:
        """Raises ValueError where there is none: what works inside of a training has to be given one."""
        if self.recover is None:
            raise ValueError(f"{self.method} works while the model trains: give 'recover' with a training")


class Scheduled(SparseOptions):
    """Sparsity that grows while the recovery trains: from `begin` to `end` (shares of its steps), every `every` steps,
    by the cubic schedule of arXiv 1710.01878. `scope: global` ranks the weights of all layers together, `erdos-renyi`
    gives layers the densities of arXiv 1707.04780."""

    sparsity: Sparsity
    scope: Annotated[
        Literal["layer", "global", "erdos-renyi"],
        Field(
            description="rank each layer's weights, or all together, or each layer's with less sparsity in small ones"
        ),
    ] = "layer"
    begin: Annotated[Share, Field(description="share of the recovery before the first zero")] = 0.0
    end: Annotated[Share, Field(description="share of the recovery after which the zeros stay")] = 0.5
    every: Every = 10

    @pydantic.model_validator(mode="after")
    def _in_order(self) -> Scheduled:
        if self.begin >= self.end:
            raise ValueError(f"the schedule ends before it begins: 'begin' is {self.begin:g}, 'end' {self.end:g}")
        return self


class Magnitude(Scheduled):
    """Magnitude pruning: the weights of the smallest absolute value become zero, at once (`one-shot`, arXiv 1506.02626)
    or little by little while the recovery trains (`cubic`, arXiv 1710.01878: `begin`, `end`, `every`)."""

    method: Literal["magnitude"] = "magnitude"
    schedule: Annotated[Literal["one-shot", "cubic"], Field(description="at once, or while the recovery trains")] = (
        "one-shot"
    )

    @pydantic.model_validator(mode="after")
    def _trains(self) -> Magnitude:
        if self.schedule == "cubic":
            self.needs_training()
        return self


class NOfM(SparseOptions):
    """N:M sparsity (arXiv 2104.08378): of each `m` weights in a row along the inputs, the `n` largest stay. 2:4 is what
    TensorRT has kernels for. Layers whose inputs no `m` divides stay dense, and the plan says which."""

    method: Literal["n_of_m"] = "n_of_m"
    n: Annotated[Steps, Field(description="weights that stay of each group")] = 2
    m: Annotated[int, Field(ge=2, description="weights of a group, in a row along the inputs")] = 4

    @pydantic.model_validator(mode="after")
    def _fewer(self) -> NOfM:
        if self.n >= self.m:
            raise ValueError(f"'n' of each 'm' weights stay, so n must be below m, got n {self.n} and m {self.m}")
        return self


class Movement(Scheduled):
    """Movement pruning (arXiv 2005.07683): the weights that the recovery moves towards zero become zero, whatever their
    size; the sparsity grows by the cubic schedule, from `begin` on: before, scores are gathered alone."""

    method: Literal["movement"] = "movement"
    begin: Annotated[Share, Field(description="share of the recovery before the first zero")] = 0.1

    @pydantic.model_validator(mode="after")
    def _trains(self) -> Movement:
        self.needs_training()
        return self


class Dynamic(SparseOptions):
    """Sparse from the first step of the recovery to the last. Every `every` steps, up to `end` of them, a share of each
    layer's weights is dropped and as many grow elsewhere: `drop` at first, by a cosine to nothing.

    `distribution`: every layer the same sparsity, or `erdos-renyi`: the larger a layer, the sparser. `start`: the
    largest weights of the model, or weights at random."""

    sparsity: Sparsity
    distribution: Annotated[
        Literal["uniform", "erdos-renyi"], Field(description="the same in every layer, or less in small ones")
    ] = "erdos-renyi"
    start: Annotated[Literal["magnitude", "random"], Field(description="which weights there are at first")] = (
        "magnitude"
    )
    drop: Annotated[Fraction, Field(description="share of a layer's weights that moves at first")] = 0.3
    end: Annotated[Fraction, Field(description="share of the recovery after which the zeros stay")] = 0.75
    every: Every = 10

    @pydantic.model_validator(mode="after")
    def _trains(self) -> Dynamic:
        self.needs_training()
        return self


class Set(Dynamic):
    """Sparse evolutionary training (arXiv 1707.04780): the smallest weights are dropped, others grow at random. Sparse
    from the first step of the recovery to the last; `drop`, falling by a cosine, is the share that moves every `every`
    steps up to `end`. `distribution` and `start` say where the weights are at first."""

    method: Literal["set"] = "set"


class RigL(Dynamic):
    """RigL (arXiv 1911.11134): the smallest weights are dropped, and those grow whose gradient is largest. Sparse from
    the first step of the recovery to the last; `drop`, falling by a cosine, is the share that moves every `every` steps
    up to `end`. `distribution` and `start` say where the weights are at first."""

    method: Literal["rigl"] = "rigl"
