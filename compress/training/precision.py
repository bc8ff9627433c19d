"""Whether training in bf16 pays on this processor: many have no units for it, and take many times as long."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

from edgepress.compress.recipe.sections import Training

# As large as a layer of a small transformer at a batch of 32 short rows.
ROWS, WIDTH, TIMES = 512, 384, 5
WORTH_TELLING = 1.2
# Below it, bf16 pays for its rounding: a ratio near 1 would turn the choice over from run to run.
WORTH_TAKING = 0.8


@cache
def bf16_cost() -> float:
    """How many times as long a linear layer takes in bf16 as in fp32 on this CPU; found out once, in a few ms."""
    import torch

    def fastest(dtype: torch.dtype) -> float:
        rows, weights = torch.ones(ROWS, WIDTH, dtype=dtype), torch.ones(WIDTH, WIDTH, dtype=dtype)
        times = []
        for _ in range(TIMES):
            start = time.perf_counter()
            torch.nn.functional.linear(rows, weights)
            times.append(time.perf_counter() - start)
        return min(times)

    return fastest(torch.bfloat16) / fastest(torch.float32)


def with_precision(training: Training) -> Training:
    """`training` with `auto` replaced by the precision that this machine trains faster in."""
    import torch

    if training.precision != "auto":
        return training
    quick = torch.cuda.is_bf16_supported() if torch.cuda.is_available() else bf16_cost() < WORTH_TAKING
    return training.model_copy(update={"precision": "bf16" if quick else "fp32"})


def trainings(sections: Iterable[Any]) -> Iterator[Training]:
    """Every training that these sections of a recipe ask for: a teacher's, a distillation's, recoveries."""
    for section in sections:
        for name in ("training", "recover"):
            if isinstance(found := getattr(section, name, None), Training):
                yield found


def bf16_warning(sections: Iterable[Any]) -> str | None:
    """One line where one of the sections trains in bf16 and this processor is slower at it than in fp32; else None."""
    import torch

    if torch.cuda.is_available() or not any(one.precision == "bf16" for one in trainings(sections)):
        return None
    cost = bf16_cost()
    if cost < WORTH_TELLING:
        return None
    return (
        f"the recipe trains in bf16, and this processor takes {cost:.1f} times as long for it as for fp32: it has no "
        f"units for bf16. Set precision: auto or fp32 in the training, or train on another machine."
    )
