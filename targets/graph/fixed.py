"""Products with fixed weights (a Fourier basis, a filterbank), which stay float where a model becomes int8."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

FIXED = "fixed_products"
"""A submodule of this name holds such weights. Its values span more than 8 bits hold: they are no learned layer."""


def is_fixed(name: str) -> bool:
    """Whether a weight, by its path in the module, is such a one.

    >>> is_fixed("network.log_mel.fixed_products.basis"), is_fixed("network.head.weight")
    (True, False)
    """
    return FIXED in name


def fixed_digests(module: torch.nn.Module) -> list[str]:
    """`values_digest` of each such weight of a module, for formats that keep no names."""
    return [values_digest(value.detach().numpy()) for name, value in module.named_buffers() if is_fixed(name)]


def values_digest(values: np.ndarray) -> str:
    """Hex sha256 of float32 values, whatever their order: converters turn weights.

    >>> values_digest(np.array([[1.0, 2.0]])) == values_digest(np.array([[2.0], [1.0]]))
    True
    """
    return hashlib.sha256(np.sort(values.astype(np.float32), axis=None).tobytes()).hexdigest()
