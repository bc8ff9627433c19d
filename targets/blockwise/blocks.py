"""Weights in blocks along their inputs: codes of few bits, a scale for each block, and the bytes of `MatMulNBits`.

A weight is (code - zero) * scale. With 8 bits the zero is 128, since 127 steps to either side lose nothing that shows;
with 4 bits each block has a zero of its own, as most blocks lie unevenly about 0 and there are 16 steps in all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]

# How much of a block's range is kept while the best scale is looked for: what is cut off at the ends makes the steps
# in between finer. Below 0.7 nothing was gained, whatever the weights.
SHRINK = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7)
LARGEST_PART = 2**20  # weights that are looked at together


@dataclass(frozen=True)
class Grid:
    """Where the codes of each block lie.

    Args:
        scales: float32 `[outputs, blocks]`, above 0.
        zeros: uint8 `[outputs, blocks]`, the code of the weight 0.
        bits: 4 or 8.
    """

    scales: Floats
    zeros: Bytes
    bits: int

    def codes(self, weights: Floats) -> Bytes:
        """The nearest code of each weight `[outputs, blocks, block]`."""
        codes = np.rint(weights / self.scales[..., None])
        codes += self.zeros[..., None]
        found: Bytes = np.clip(codes, 0, 2**self.bits - 1, out=codes).astype(np.uint8)
        return found

    def values(self, codes: Bytes) -> Floats:
        """What the codes `[outputs, blocks, block]` stand for.

        >>> grid = Grid(np.array([[0.5]], np.float32), np.array([[8]], np.uint8), bits=4)
        >>> grid.values(np.array([[[0, 8, 15]]], np.uint8)).tolist()
        [[[-4.0, 0.0, 3.5]]]
        """
        found: Floats = (codes.astype(np.float32) - self.zeros[..., None]) * self.scales[..., None]
        return found


@dataclass(frozen=True)
class Blocks:
    """A matrix in codes.

    Args:
        codes: uint8 `[outputs, blocks, block]`; behind the last input the codes are those of 0.
        grid: what they stand for.
        inputs: how many there are; blocks may reach beyond the last.
    """

    codes: Bytes
    grid: Grid
    inputs: int

    @property
    def bits(self) -> int:
        """Of a code."""
        return self.grid.bits

    @property
    def block(self) -> int:
        """Inputs that share a scale."""
        return int(self.codes.shape[2])

    @property
    def weights(self) -> Floats:
        """What the codes stand for, `[outputs, inputs]`."""
        return self.grid.values(self.codes).reshape(len(self.codes), -1)[:, : self.inputs]

    @property
    def data(self) -> Bytes:
        """The codes, packed: uint8 `[outputs, blocks, block * bits / 8]`."""
        return packed(self.codes, self.bits)

    @property
    def zeros(self) -> Bytes | None:
        """The zeros, packed: uint8 `[outputs, bytes]`; None where all of them are 128, which needs no saying."""
        return packed(self.grid.zeros, self.bits) if self.bits < 8 else None


def packed(codes: Bytes, bits: int) -> Bytes:
    """Codes along the last axis as bytes, the first of two in the lower half; an odd one is followed by 0.

    >>> packed(np.array([[1, 2, 15]], np.uint8), bits=4).tolist()
    [[33, 15]]
    """
    if bits == 8:
        return codes
    if codes.shape[-1] % 2:
        codes = np.concatenate([codes, np.zeros_like(codes[..., :1])], -1)
    low, high = codes[..., ::2], codes[..., 1::2]
    return np.asarray(low | (high << 4), np.uint8)


def in_blocks(weights: Floats, block: int) -> Floats:
    """`[outputs, inputs]` → `[outputs, blocks, block]`, zeros behind the last input.

    >>> in_blocks(np.array([[1.0, 2.0, 3.0]], np.float32), 2).tolist()
    [[[1.0, 2.0], [3.0, 0.0]]]
    """
    outputs, inputs = weights.shape
    blocks = -(-inputs // block)
    whole = np.zeros((outputs, blocks * block), np.float32)
    whole[:, :inputs] = weights
    return whole.reshape(outputs, blocks, block)


def fit_grid(weights: Floats, bits: int, importance: Floats | None = None) -> Grid:
    """The grid of each block with the least squared error, of those that keep a share of its range.

    Args:
        weights: `[outputs, blocks, block]`.
        bits: 4, with a zero for each block, or 8, whose zero is 128.
        importance: `[blocks, block]` or None: by how much an input's error counts, such as its mean square over
            calibration rows. 0 for all inputs of a block counts them alike.

    For each share of the range the scale is also fitted to its codes by least squares.

    References: the search is the clipping of AWQ, arXiv 2306.00978.
    """
    weigh = np.ones(weights.shape[1:], np.float32) if importance is None else importance.astype(np.float32)
    weigh = np.where(weigh.sum(-1, keepdims=True) > 0, weigh, 1.0).astype(np.float32)
    best = _grid(weights, bits, 1.0)
    least = _error(weights, best, best.codes(weights), weigh)
    for share in SHRINK:
        for grid in _refined(weights, _grid(weights, bits, share), weigh):
            error = _error(weights, grid, grid.codes(weights), weigh)
            better = error < least
            least = np.where(better, error, least)
            best = Grid(np.where(better, grid.scales, best.scales), np.where(better, grid.zeros, best.zeros), bits)
    return best


def quantize(weights: Floats, bits: int, block: int, importance: Floats | None = None) -> Blocks:
    """Each weight to its nearest code.

    Args:
        weights: `[outputs, inputs]`.
        bits: 4 or 8.
        block: inputs that share a scale.
        importance: `[inputs]` or None, see `fit_grid`.
    """
    weigh = None if importance is None else in_blocks(importance[None], block)[0]
    found = []
    for rows in by_rows(weights):
        parts = in_blocks(rows, block)
        grid = fit_grid(parts, bits, weigh)
        found.append(Blocks(grid.codes(parts), grid, weights.shape[1]))
    return joined(found)


def by_rows(weights: Floats) -> list[Floats]:
    """`[outputs, inputs]` in parts of some outputs each, which are rounded one after the other: a table of a vocabulary
    would take gigabytes at once."""
    rows = max(1, LARGEST_PART // weights.shape[1])
    return [weights[start : start + rows] for start in range(0, len(weights), rows)]


def joined(parts: list[Blocks]) -> Blocks:
    """What `by_rows` took apart."""
    first = parts[0]
    scales, zeros = (
        np.concatenate([one.grid.scales for one in parts]),
        np.concatenate([one.grid.zeros for one in parts]),
    )
    return Blocks(np.concatenate([one.codes for one in parts]), Grid(scales, zeros, first.bits), first.inputs)


def _grid(weights: Floats, bits: int, share: float) -> Grid:
    if bits == 8:
        scales = share * np.abs(weights).max(-1) / 127
        zeros = np.full(scales.shape, 128, np.uint8)
    else:
        top = 2**bits - 1
        # 0 has a code, so that what is zero stays zero; a block on one side of 0 has its zero at the end.
        low, high = np.minimum(weights.min(-1), 0) * share, np.maximum(weights.max(-1), 0) * share
        scales = (high - low) / top
        zeros = np.clip(np.rint(-low / np.where(scales > 0, scales, 1)), 0, top).astype(np.uint8)
    return Grid(np.where(scales > 0, scales, 1).astype(np.float32), zeros, bits)


def _refined(weights: Floats, grid: Grid, weigh: Floats) -> tuple[Grid, Grid]:
    """The grid, and the one with the scales that fit its codes best: <codes, weights> / <codes, codes>."""
    steps = grid.codes(weights).astype(np.float32) - grid.zeros[..., None]
    above, below = np.einsum("obi,obi,bi->ob", steps, weights, weigh), np.einsum("obi,obi,bi->ob", steps, steps, weigh)
    fitted = above / np.where(below > 0, below, 1)
    return grid, Grid(np.where(fitted > 0, fitted, grid.scales).astype(np.float32), grid.zeros, grid.bits)


def _error(weights: Floats, grid: Grid, codes: Bytes, weigh: Floats) -> Floats:
    """`[outputs, blocks]`."""
    difference = grid.values(codes)
    difference -= weights
    difference *= difference
    found: Floats = np.einsum("obi,bi->ob", difference, weigh)
    return found
