"""Hidden states of any network at a size that two networks share: which ones are compared, and on which grid.

A network whose states all have the same positions is compared layer by layer. One that works at falling resolutions
(a CNN, Swin) is compared at the last state of each stage, as FitNets does (arXiv 1412.6550): a stage is a run of states
of one resolution. Maps are averaged to the smaller of both sizes, at most LARGEST a side, so that a cache of them stays
of the size of a transformer's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional as F

from edgepress.targets.errors import StageError

LARGEST = 8
# What may stand before the patches: nothing, a class token, a class and a distillation token (DeiT).
PREFIXES = (0, 1, 2)

Grid = tuple[int, int]


@dataclass(frozen=True)
class State:
    """The shape of one hidden state: positions and channels of a row, and of an image its grid (height, width) behind
    `prefix` tokens that stand for no place; `grid` is None for texts and where the positions form none."""

    positions: int
    width: int
    grid: Grid | None = None
    prefix: int = 0


def hidden_states(output: Any) -> tuple[torch.Tensor, ...] | None:
    """All hidden states of a network's output, embedding first; an encoder-decoder's are those of its encoder, which
    keep the tokens' order. None where the network gives none."""
    found = getattr(output, "hidden_states", None)
    return found if found is not None else getattr(output, "encoder_hidden_states", None)


def attention_maps(output: Any) -> tuple[torch.Tensor, ...] | None:
    """Attention maps `[batch, heads, positions, positions]` a layer, of an encoder-decoder its encoder's; None where
    the network gives none."""
    found = getattr(output, "attentions", None)
    return found if found is not None else getattr(output, "encoder_attentions", None)


def as_tokens(hidden: torch.Tensor) -> torch.Tensor:
    """Hidden states as `[batch, tokens, channels]`; feature maps `[batch, channels, h, w]` become h*w tokens."""
    # Row by row, as vision transformers cut their patches: position i of both means the same place.
    return hidden.flatten(2).transpose(1, 2) if hidden.ndim == 4 else hidden


def state_of(hidden: torch.Tensor, image: Grid | None) -> State:
    """The shape of a hidden state, a map `[batch, channels, h, w]` or tokens `[batch, positions, channels]`.

    >>> state_of(torch.zeros(1, 17, 8), image=(32, 32))
    State(positions=17, width=8, grid=(4, 4), prefix=1)

    Args:
        image: height and width of the network's input, by whose ratio tokens are laid out; None for texts.
    """
    tokens = as_tokens(hidden)
    positions, width = tokens.shape[1:]
    if hidden.ndim == 4:
        return State(positions, width, (hidden.shape[2], hidden.shape[3]))
    for prefix in PREFIXES if image is not None else ():
        height = round(math.sqrt((positions - prefix) * image[0] / image[1])) if image else 0
        if height and (positions - prefix) % height == 0:
            grid = (height, (positions - prefix) // height)
            # Without the image's own ratio 17 positions could be 1 x 17: a wrong grid would average strangers.
            if image and grid[0] * image[1] == grid[1] * image[0]:
                return State(positions, width, grid, prefix)
    return State(positions, width)


def stage_ends(states: Sequence[State]) -> tuple[int, ...]:
    """Numbers of the last state of each run of one size.

    >>> stage_ends([State(64, 8), State(64, 8), State(16, 16), State(4, 32)])
    (1, 2, 3)
    """
    last = len(states) - 1
    return tuple(i for i, state in enumerate(states) if i == last or states[i + 1].positions != state.positions)


def is_hierarchical(states: Sequence[State]) -> bool:
    """Whether the states behind the embedding differ in size."""
    return len({state.positions for state in states[1:]}) > 1


def shared_grid(own: State, wanted: State) -> Grid | None:
    """The grid on which two states can be compared, None where they have none in common.

    >>> shared_grid(State(196, 8, (14, 14)), State(3136, 8, (56, 56)))
    (7, 7)
    """
    if own.grid is None or wanted.grid is None:
        return None
    height, width = (_halved(min(pair)) for pair in zip(own.grid, wanted.grid, strict=True))
    return height, width


def _halved(side: int) -> int:
    while side > LARGEST:
        side = -(-side // 2)
    return side


def at_grid(hidden: torch.Tensor, state: State, grid: Grid | None) -> torch.Tensor:
    """A hidden state as tokens `[batch, positions, channels]`, averaged to `grid`; all its positions for None."""
    tokens = as_tokens(hidden)
    if grid is None or (state.grid == grid and not state.prefix):
        return tokens
    assert state.grid is not None
    maps = tokens[:, state.prefix :].transpose(1, 2).unflatten(2, state.grid)
    return as_tokens(F.adaptive_avg_pool2d(maps, grid))


@dataclass(frozen=True)
class Pair:
    """Two states that are compared, by their numbers in `hidden_states`, and the grid both are averaged to; None
    compares every position with its own."""

    student: int
    teacher: int
    own: State
    wanted: State
    grid: Grid | None = None


def pair(student: int, teacher: int, own: Sequence[State], wanted: Sequence[State]) -> Pair:
    """State `student` of the student and state `teacher` of the teacher.

    Args:
        own: all hidden states of the student, the embedding first.
        wanted: all hidden states of the teacher, the embedding first.

    Raises:
        StageError: they have other numbers of positions and no grid in common.
    """
    mine, theirs = own[student], wanted[teacher]
    # Of equal maps only large ones are averaged: a first stage of 56 x 56 would fill the teacher's cache alone.
    huge = mine.grid is not None and not mine.prefix and max(mine.grid) > LARGEST
    if mine.positions == theirs.positions and not (huge and is_hierarchical(wanted)):
        return Pair(student, teacher, mine, theirs)
    if (grid := shared_grid(mine, theirs)) is None:
        raise StageError(
            f"distill: hidden state {student} of the student has {mine.positions} positions, state {teacher} of the "
            f"teacher has {theirs.positions}. Set distill.layer_map to layers of equal size, or hidden to 0."
        )
    return Pair(student, teacher, mine, theirs, grid)


def by_stage(own: Sequence[State], wanted: Sequence[State]) -> list[tuple[int, int]]:
    """Pairs (student state, teacher state) at the ends of stages: those of equal resolution; where no two are equal,
    the last stages alone, which both networks' answers are made of.

    >>> small, large = State(16, 8, (4, 4)), State(64, 8, (8, 8))
    >>> by_stage([large, small, small], [large, large, small])
    [(0, 1), (2, 2)]
    """
    places = {_place(wanted[end]): end for end in stage_ends(wanted)}
    equal = [(end, places[_place(own[end])]) for end in stage_ends(own) if _place(own[end]) in places]
    return equal or [(len(own) - 1, len(wanted) - 1)]


def _place(state: State) -> Grid | int:
    return state.grid if state.grid is not None else state.positions
