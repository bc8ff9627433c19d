"""Zeros among weights that lie in a safetensors file."""

from __future__ import annotations

from pathlib import Path

from edgepress.targets.records import WeightCount


def count_zeros(path: Path) -> WeightCount:
    """Tensors of two and more dimensions, floats and int8 without a zero point, and the zeros among them."""
    from safetensors import safe_open

    weights = zeros = 0
    with safe_open(path, framework="pt") as file:  # NumPy has no bf16
        for name in file.keys():  # noqa: SIM118  # a safe_open is no mapping
            values = file.get_tensor(name)
            if values.dim() > 1 and (values.is_floating_point() or values.itemsize == 1):
                weights += values.numel()
                zeros += int((values == 0).sum())
    return WeightCount(weights=weights, zeros=zeros)
