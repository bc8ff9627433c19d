"""Rounding in which each input takes over the errors of those before it: GPTQ (arXiv 2210.17323)."""

from __future__ import annotations

import numpy as np

from edgepress.targets.blockwise.blocks import (
    Blocks,
    Bytes,
    Floats,
    Grid,
    by_rows,
    fit_grid,
    in_blocks,
    joined,
    quantize,
)

DAMPING = 0.01
"""Of the mean of the diagonal, added to it: as in the paper."""


def compensated(weights: Floats, bits: int, block: int, products: Floats) -> Blocks:
    """Codes whose errors in the outputs of calibration rows cancel out, as far as later inputs can make up for them.

    Args:
        weights: `[outputs, inputs]`.
        bits: 4 or 8.
        block: inputs that share a scale; it is fitted when its block is reached, to what the errors before left of it.
        products: XᵀX of the inputs of calibration rows, `[inputs, inputs]`.
    """
    alive = np.diag(products) > 0
    if not alive.any():  # nothing is known of the inputs
        return quantize(weights, bits, block)
    upper = _factor(products, alive)
    importance = in_blocks(np.diag(products)[None].astype(np.float32), block)[0]
    return joined([_rounded(rows, bits, block, upper, importance) for rows in by_rows(weights)])


def _rounded(weights: Floats, bits: int, block: int, upper: Floats, importance: Floats) -> Blocks:
    left, grids, codes = weights.copy(), [], []
    for number, start in enumerate(range(0, weights.shape[1], block)):
        stop = start + block  # beyond the last input in its block, which slices do not mind
        part = left[:, start:stop]
        grid = fit_grid(in_blocks(part, block), bits, importance[number : number + 1])
        found, errors = _round(part, weights[:, start:stop] == 0, grid, upper[start:stop, start:stop])
        left[:, stop:] -= errors @ upper[start:stop, stop:]
        grids.append(grid)
        codes.append(np.concatenate([found, np.repeat(grid.zeros, block - found.shape[1], 1)], 1))
    scales, zeros = (np.concatenate([getattr(one, name) for one in grids], 1) for name in ("scales", "zeros"))
    return Blocks(np.stack(codes, 1), Grid(scales, zeros, bits), weights.shape[1])


def _factor(products: Floats, alive: np.ndarray) -> Floats:
    """The upper Cholesky factor of the inverse, in double precision: small eigenvalues matter here."""
    damped = products.astype(np.float64)
    diagonal = np.diag(damped).copy()
    np.fill_diagonal(damped, np.where(alive, diagonal, 1.0) + DAMPING * diagonal[alive].mean())
    inverse = np.linalg.inv(damped)
    return np.asarray(np.linalg.cholesky((inverse + inverse.T) / 2).T, np.float32)


def _round(part: Floats, absent: np.ndarray, grid: Grid, upper: Floats) -> tuple[Bytes, Floats]:
    """Codes of one block `[outputs, inputs]`, and what each error is in units of its input's own spread. Weights that
    are `absent` were pruned, and stay so."""
    codes, errors = np.empty(part.shape, np.uint8), np.empty_like(part)
    for place in range(part.shape[1]):
        column = part[:, place].copy()
        nearest = grid.codes(column[:, None, None])[:, 0, 0]
        codes[:, place] = np.where(absent[:, place], grid.zeros[:, 0], nearest)
        value = grid.values(codes[:, place, None, None])[:, 0, 0]
        errors[:, place] = (column - value) / upper[place, place]
        part[:, place + 1 :] -= errors[:, place, None] * upper[place, place + 1 :]
    return codes, errors
