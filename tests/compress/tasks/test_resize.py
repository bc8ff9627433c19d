"""Resizing without torch: weights computed by hand, and the pixels that torch and Pillow compute."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from edgepress.targets.preprocess.resize import resized

TORCH = {0: {"mode": "nearest-exact"}, 2: {"mode": "bilinear"}, 3: {"mode": "bicubic"}}
SIZES = [((40, 30), (16, 24)), ((8, 8), (32, 32)), ((7, 5), (3, 11)), ((1, 9), (1, 4)), ((6, 6), (6, 6))]


@pytest.mark.parametrize("resample", TORCH)
@pytest.mark.parametrize(("before", "after"), SIZES)
def test_pixels_are_those_of_torchs_interpolation(
    resample: int, before: tuple[int, int], after: tuple[int, int]
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, *before)).astype(np.float32)
    smooth = {} if resample == 0 else {"antialias": True, "align_corners": False}
    wanted = F.interpolate(torch.from_numpy(pixels), after, **TORCH[resample], **smooth).numpy()
    ours = resized(pixels, after, resample)
    assert ours.dtype == np.float32 and ours.flags.c_contiguous
    np.testing.assert_allclose(ours, wanted, atol=1e-3)


def test_the_weights_of_a_triangle_twice_as_wide_by_hand() -> None:
    column = np.array([[0.0], [7.0], [14.0], [0.0]], np.float32)
    # Each half of four pixels weighs them 3/7, 3/7, 1/7.
    np.testing.assert_allclose(resized(column, (2, 1), 2), [[5.0], [7.0]], rtol=1e-6)


@pytest.mark.parametrize("resample", TORCH)
def test_an_image_of_one_colour_keeps_it_at_any_size(resample: int) -> None:
    grey = np.full((1, 1, 5, 7), 117.0, np.float32)
    for size in ((1, 1), (3, 20), (64, 2)):
        np.testing.assert_allclose(resized(grey, size, resample), np.full((1, 1, *size), 117.0), rtol=1e-6)
