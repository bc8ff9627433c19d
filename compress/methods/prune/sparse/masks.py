"""Which weights stay: masks from scores, and densities of layers. All of it is arithmetic on tensors.

A mask is a bool tensor of the weight's shape, true where the weight stays.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import torch

Masks = dict[str, torch.Tensor]


def zeros_of(sparsity: float, weights: int) -> int:
    """How many of so many weights become zero: the nearest number, and never all.

    >>> zeros_of(0.5, 7), zeros_of(0.999, 10)
    (4, 9)
    """
    # A layer without a weight passes nothing on, whatever the other layers hold.
    return min(weights - 1, math.floor(sparsity * weights + 0.5))


def largest(scores: torch.Tensor, kept: int) -> torch.Tensor:
    """Mask of the `kept` highest scores, exactly so many whatever ties there are.

    >>> largest(torch.tensor([[3.0, 1.0], [1.0, 2.0]]), 2).tolist()
    [[True, False], [False, True]]
    """
    mask = torch.zeros(scores.numel(), dtype=torch.bool, device=scores.device)
    mask[torch.topk(scores.flatten(), kept, sorted=False).indices] = True
    return mask.view_as(scores)


def by_layer(scores: Mapping[str, torch.Tensor], sparsity: float) -> Masks:
    """The highest scores of each layer by itself: all layers have the same sparsity."""
    return {name: largest(each, each.numel() - zeros_of(sparsity, each.numel())) for name, each in scores.items()}


def together(scores: Mapping[str, torch.Tensor], sparsity: float) -> Masks:
    """The highest scores of all layers together. The best weight of each layer stays: a layer of zeros alone would cut
    the network in two (layer collapse, arXiv 2006.05467)."""
    flat = torch.cat([each.flatten() for each in scores.values()])
    places = _starts(scores)
    for start, each in zip(places, scores.values(), strict=True):
        flat[start + int(each.argmax())] = torch.inf
    mask = largest(flat, max(len(scores), flat.numel() - zeros_of(sparsity, flat.numel())))
    pieces = torch.split(mask, [each.numel() for each in scores.values()])
    return {name: piece.view_as(scores[name]) for name, piece in zip(scores, pieces, strict=True)}


def _starts(scores: Mapping[str, torch.Tensor]) -> Iterator[int]:
    start = 0
    for each in scores.values():
        yield start
        start += each.numel()


def masks_of(scores: Mapping[str, torch.Tensor], sparsity: float, scope: str) -> Masks:
    """`by_layer`, `together` for the scope `global`, or layer by layer with the densities of `erdos_renyi`."""
    if scope == "erdos-renyi":
        densities = erdos_renyi([each.shape for each in scores.values()], sparsity)
        return {
            name: largest(each, each.numel() - zeros_of(1 - density, each.numel()))
            for (name, each), density in zip(scores.items(), densities, strict=True)
        }
    return together(scores, sparsity) if scope == "global" else by_layer(scores, sparsity)


def n_of_m(weight: torch.Tensor, n: int, m: int) -> torch.Tensor:
    """Mask of the `n` largest of each `m` weights in a row along dimension 1: the inputs of a linear layer
    `[out, in]`, the input channels of a convolution `[out, in, height, width]` (arXiv 2104.08378, section 3).

    >>> n_of_m(torch.tensor([[1.0, -4.0, 3.0, 2.0]]), 2, 4).tolist()
    [[False, True, True, False]]

    Args:
        weight: whose dimension 1 is a multiple of `m`.
        n: how many of each `m` stay.
        m: length of a group.
    """
    rows = weight.detach().abs().movedim(1, -1)
    groups = rows.reshape(*rows.shape[:-1], -1, m)
    best = torch.topk(groups, n, dim=-1).indices
    mask = torch.zeros_like(groups, dtype=torch.bool).scatter_(-1, best, True)
    return mask.reshape(rows.shape).movedim(-1, 1)


def cubic(step: int, first: int, last: int, start: float, final: float) -> float:
    """Sparsity at a step (arXiv 1710.01878, equation 1): s_t = s_f + (s_i - s_f) (1 - (t - t_0) / (n Δt))^3.

    >>> [round(cubic(step, 0, 10, 0.0, 0.8), 3) for step in (0, 5, 10, 20)]
    [0.0, 0.7, 0.8, 0.8]

    Args:
        step: t.
        first: t_0, where the sparsity begins to grow.
        last: t_0 + n Δt, where it is `final`.
        start: s_i.
        final: s_f.
    """
    left = 1 - min(1.0, max(0.0, (step - first) / (last - first)))
    return final + (start - final) * left**3


def cosine(step: int, last: int, first_share: float) -> float:
    """Share of the weights that moves at a step (arXiv 1911.11134, section 3): α/2 (1 + cos(π t / T_end)).

    >>> round(cosine(0, 8, 0.3), 3), round(cosine(4, 8, 0.3), 3), cosine(8, 8, 0.3)
    (0.3, 0.15, 0.0)
    """
    return first_share / 2 * (1 + math.cos(math.pi * min(1.0, step / last)))


def erdos_renyi(shapes: Sequence[Sequence[int]], sparsity: float) -> list[float]:
    """Density of each layer: ε (sum of its dimensions) / (product of them), at most 1, with the one ε that leaves
    `1 - sparsity` of all weights (arXiv 1707.04780, equation 1; 1911.11134, section 3, for kernels).

    Args:
        shapes: of the weights.
        sparsity: of all of them together.
    """
    sizes = [math.prod(shape) for shape in shapes]
    sums = [sum(shape) for shape in shapes]
    full: set[int] = set()
    while True:
        free = [index for index in range(len(shapes)) if index not in full]
        left = (1 - sparsity) * sum(sizes) - sum(sizes[index] for index in full)
        epsilon = left / sum(sums[index] for index in free)
        # A layer cannot be denser than full: what it cannot take is shared out among the others, until none is over.
        dense = {index for index in free if epsilon * sums[index] > sizes[index]}
        if not dense:
            return [1.0 if index in full else epsilon * sums[index] / sizes[index] for index in range(len(shapes))]
        full |= dense


def moved(weight: torch.Tensor, mask: torch.Tensor, growth: torch.Tensor, share: float) -> torch.Tensor:
    """The mask after one round of dropping and growing; as many weights stay as before.

    Args:
        weight: its smallest absolute values inside `mask` are dropped.
        mask: of the weights that there are.
        growth: scores of the weights outside of `mask`; the highest grow. A dropped one does not grow at once.
        share: of the weights inside `mask` that moves.
    """
    there = int(mask.sum())
    count = min(int(share * there), mask.numel() - there)
    if not count:
        return mask
    # Zeros outside of the mask must not win over small weights inside.
    stays = largest(weight.abs().masked_fill(~mask, -torch.inf), there - count)
    return stays | largest(growth.masked_fill(mask, -torch.inf), count)
