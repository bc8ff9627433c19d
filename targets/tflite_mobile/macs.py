"""Multiply-accumulates of one signature of a .tflite, by its static shapes, and how many of them are int8."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

from edgepress.targets.errors import TargetError
from edgepress.targets.records import MacCount
from edgepress.targets.tflite_mobile.view import View

PRODUCTS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "BATCH_MATMUL")
# They multiply inside; refused rather than counted as nothing.
OPAQUE = ("TRANSPOSE_CONV", "CONV_3D", "LSTM", "UNIDIRECTIONAL_SEQUENCE_LSTM")


def count_macs(path: Path, signature: str, rows: int = 1) -> MacCount:
    """What one row after the other multiplies; the weights are read anew for each of them.

    Args:
        path: of the .tflite.
        signature: name of one of its programs.
        rows: how many calls.

    A float input with int8 weights counts: the runtime rounds the input to int8 and multiplies integers.

    Raises:
        TargetError: an operator whose work is not known here.
    """
    view = View.of(path)
    total = int8 = 0
    weights: dict[int, int] = {}
    for name, tensors in view.operators(signature):
        if name in OPAQUE:
            raise TargetError(f"the MACs of the operator {name} cannot be counted; use another target for this model")
        if name in PRODUCTS:
            left, right, output = tensors[0], tensors[1], tensors[-1]
            macs = _macs(name, left, right, output)
            total += macs
            int8 += macs if view.is_int8(right) and (view.is_int8(left) or view.is_float(left)) else 0
            if view.is_constant(right):
                weights[right.buffer] = prod(right.shape) * (1 if view.is_int8(right) else 4)
    return MacCount(rows * total, rows * int8, rows * sum(weights.values()))


def _macs(name: str, left: Any, right: Any, output: Any) -> int:
    """Case 1, convolution: outputs x kernel x input channels; its weight is [out, height, width, in].
    Case 2, depthwise: outputs x kernel; its weight is [1, height, width, out].
    Case 3, product: outputs x the inner dimension, the last of the left factor."""
    if name == "CONV_2D":
        return int(prod(output.shape) * prod(right.shape[1:]))
    if name == "DEPTHWISE_CONV_2D":
        return int(prod(output.shape) * prod(right.shape[1:3]))
    return int(prod(output.shape) * left.shape[-1])
