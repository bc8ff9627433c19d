"""Log-mel spectrogram as two convolutions with fixed weights, so that every exporter takes it."""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from edgepress.targets.graph.fixed import FIXED


class FixedProducts(nn.Module):
    """The weights of the two products and the bias of the second, as buffers: they are computed, not learned.

    Args:
        basis: windowed cosines, then sines, `[2 * bins, 1, 1, window]`.
        filters: triangles of the mel scale, `[mels, bins, 1, 1]`.
        floor: added to each energy.
    """

    basis: torch.Tensor
    filters: torch.Tensor
    offset: torch.Tensor

    def __init__(self, basis: np.ndarray, filters: np.ndarray, floor: float) -> None:
        super().__init__()
        self.register_buffer("basis", _float(basis))
        self.register_buffer("filters", _float(filters))
        self.register_buffer("offset", torch.full((len(filters),), floor))


def _float(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, np.float32))


class LogMel(nn.Module):
    """PCM `[batch, samples]` in -1..1 → log-mel energies `[batch, 1, mels, frames]`, nats.

    Periodic Hann window, power spectrum, HTK's mel scale (Stevens et al. 1937, JASA 8(3)), natural logarithm after
    `floor` was added; frames = 1 + (samples - window) // hop. The Fourier transform is a product with its windowed
    basis, of the bins that a filter reads: 2 * bins * window multiply-accumulates a frame, and no operation that a
    target could lack. A spectrum spans more than 8 bits hold, so these products stay float where the rest becomes int8.

    Args:
        rate: samples a second.
        window: samples of a frame.
        hop: samples from one frame to the next.
        fft: length of the transform, from `window` on.
        mels: bands.
        low: Hz where the lowest begins.
        high: Hz where the highest ends, at most rate / 2.
        floor: added to every energy, before the logarithm.
    """

    def __init__(
        self, rate: int, window: int, hop: int, fft: int, mels: int, low: float, high: float, floor: float
    ) -> None:
        super().__init__()
        filters = mel_filters(rate, fft, mels, low, high)
        read = np.flatnonzero(filters.any(axis=(0, 2, 3)))
        basis = fourier_basis(window, fft)[np.concatenate([read, read + fft // 2 + 1])]
        self.hop, self.bins = hop, len(read)
        self.add_module(FIXED, FixedProducts(basis, filters[:, read], floor))

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        fixed = cast("FixedProducts", self.get_submodule(FIXED))
        parts = functional.conv2d(samples[:, None, None, :], fixed.basis, stride=(1, self.hop))
        real, imaginary = parts[:, : self.bins], parts[:, self.bins :]
        power = real * real + imaginary * imaginary
        # The floor is a bias and no clamp: a step between the products and the logarithm would be made int8.
        energy = functional.conv2d(power, fixed.filters, fixed.offset)
        return torch.log(energy).transpose(1, 2)


def fourier_basis(window: int, fft: int) -> np.ndarray:
    """Windowed cosines, then sines, float64 `[2 * bins, 1, 1, window]` with bins = fft / 2 + 1.

    >>> fourier_basis(2, 2)[:2, 0, 0, :].round(6).tolist()  # the cosines; Hann of 2 samples is (0, 1)
    [[0.0, 1.0], [0.0, -1.0]]
    """
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    angles = 2 * np.pi * np.outer(np.arange(fft // 2 + 1), np.arange(window)) / fft
    whole: np.ndarray = np.concatenate([np.cos(angles) * hann, -np.sin(angles) * hann])[:, None, None, :]
    return whole


def mel_filters(rate: int, fft: int, mels: int, low: float, high: float) -> np.ndarray:
    """transformers' triangular filters, `[mels, bins, 1, 1]`."""
    from transformers.audio_utils import mel_filter_bank

    filters: np.ndarray = mel_filter_bank(fft // 2 + 1, mels, low, high, rate, norm=None, mel_scale="htk")
    return np.ascontiguousarray(filters.T)[:, :, None, None]
