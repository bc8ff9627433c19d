"""Which int8 products of an ONNX graph can leave 16 bits on x86 processors without VNNI.

Their kernels multiply u8 by s8 and add neighbours in saturating 16 bits (VPMADDUBSW): 255 * w0 + 255 * w1 must stay
within -32768..32767, that is, weights of one sign must sum to 128 at most. With VNNI the sum is taken in 32 bits.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgepress.targets.onnx_graph.macs import CONV, FACTORS, INTEGER
from edgepress.targets.onnx_graph.view import View

HIGHEST = 255
LARGEST, SMALLEST = 2**15 - 1, -(2**15)


def saturating_share(*paths: Path) -> float | None:
    """Share of the weight pairs of all int8 products of these graphs that can saturate, 0..1; None where they have no
    such weights."""
    import onnx

    pairs = risky = 0
    for view in (View.of(onnx.load(path)) for path in paths):
        for node in {id(node): node for node in view.producers.values()}.values():
            weight = _int8_weight(view, node) if node.op_type in FACTORS else None
            if weight is not None:
                neighbours = paired(rows_of(weight, node.op_type in CONV))
                pairs += neighbours.shape[0] * neighbours.shape[2]
                risky += int(_can_saturate(neighbours).sum())
    return risky / pairs if pairs else None


def rows_of(weight: np.ndarray, convolution: bool) -> np.ndarray:
    """`[inner, outputs]`: of a convolution `[out, in, *kernel]` the kernel's places before its channels, as the kernels
    for images with channels last read it."""
    if not convolution:
        return weight.reshape(-1, weight.shape[-2], weight.shape[-1])[0] if weight.ndim > 2 else weight
    return np.moveaxis(weight, 1, -1).reshape(len(weight), -1).T


def paired(rows: np.ndarray) -> np.ndarray:
    """`[inner / 2, 2, outputs]` of `[inner, outputs]`; an odd one is paired with zeros, as the kernels do."""
    padded = np.pad(rows.astype(np.int32), ((0, len(rows) % 2), (0, 0)))
    return padded.reshape(len(padded) // 2, 2, -1)


def _can_saturate(pairs: np.ndarray) -> np.ndarray:
    # The worst activations are 255 wherever the weight has the sign that is asked for, and 0 elsewhere.
    highest = HIGHEST * np.clip(pairs, 0, None).sum(1)
    lowest = HIGHEST * np.clip(pairs, None, 0).sum(1)
    found: np.ndarray = (highest > LARGEST) | (lowest < SMALLEST)
    return found


def _int8_weight(view: View, node: object) -> np.ndarray | None:
    """The s8 weights of a product, dequantized in the graph or not."""
    from onnx import NodeProto

    assert isinstance(node, NodeProto)
    name = node.input[FACTORS[node.op_type][1]]
    producer = view.producers.get(name)
    if node.op_type not in INTEGER:
        if producer is None or producer.op_type != "DequantizeLinear":
            return None
        name = producer.input[0]
    value = view.constant(name)
    return value if value is not None and value.dtype == np.int8 and value.ndim >= 2 else None
