"""Zeros among the weights of an ONNX file: how many there are, and which products have N of each M along their inputs.

An int8 weight is zero where it is its zero point. Patterns are those of NVIDIA's sparse kernels: along the axis that a
product sums over, as TensorRT asks it of 2:4.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgepress.targets.onnx_graph.view import View, attribute
from edgepress.targets.records import Record, WeightCount

if TYPE_CHECKING:
    import onnx

# Inputs of a node that hold an integer weight and its zero point, by operator.
ZERO_POINTS = {
    "DequantizeLinear": (0, 2), "MatMulInteger": (1, 3), "ConvInteger": (1, 3), "QLinearMatMul": (3, 5),
    "QLinearConv": (3, 5), "DynamicQuantizeMatMul": (1, 3), "MatMulIntegerToFloat": (1, 5), "QGemm": (3, 5),
}  # fmt: skip
# Position of the weight among a product's inputs.
PRODUCTS = {
    "MatMul": 1, "Gemm": 1, "Conv": 1, "MatMulInteger": 1, "ConvInteger": 1, "DynamicQuantizeMatMul": 1,
    "MatMulIntegerToFloat": 1, "QLinearMatMul": 3, "QLinearConv": 3, "QGemm": 3,
}  # fmt: skip
TRANSPARENT = ("Cast", "Identity", "QuantizeLinear")


class Pattern(Record):
    """Products that carry weights: `fitting` have at most N weights that are not zero in each M along their inputs."""

    n: int
    m: int
    products: int
    fitting: int


def count_zeros(path: Path) -> WeightCount:
    """Constants of two and more dimensions, and the zeros among them."""
    import onnx

    model = onnx.load(path)
    view, points, packed = View.of(model), _zero_points(model), packed_weights(model)
    grids = {name for node in packed.values() for name in node.input[1:]}
    weights = zeros = 0
    for node in packed.values():
        absent = packed_zeros(view, node)
        weights, zeros = weights + absent.size, zeros + int(np.count_nonzero(absent))
    for name in _constants(model):
        if name in grids:
            continue
        values = view.constant(name)
        if values is not None and _is_weight(values):
            weights += values.size
            zeros += int(np.count_nonzero(_is_zero(view, values, points.get(name))))
    return WeightCount(weights=weights, zeros=zeros)


def packed_weights(model: onnx.ModelProto) -> dict[str, onnx.NodeProto]:
    """{codes: the first MatMulNBits that reads them}."""
    found: dict[str, onnx.NodeProto] = {}
    for node in model.graph.node:
        if node.op_type == "MatMulNBits":
            found.setdefault(node.input[1], node)
    return found


def packed_zeros(view: View, node: onnx.NodeProto) -> np.ndarray:
    """Where the weight of a MatMulNBits is zero, `[outputs, inputs]`: its code is its block's zero."""
    bits, inputs = (int(attribute(node, name, 0)) for name in ("bits", "K"))  # type: ignore[arg-type]
    codes = _unpacked(view, node.input[1], bits)
    if len(node.input) > 3 and node.input[3]:
        points = _unpacked(view, node.input[3], bits)[:, : codes.shape[1], None]
    else:
        points = np.full((1, 1, 1), 2 ** (bits - 1), np.uint8)
    return np.asarray(codes == points).reshape(len(codes), -1)[:, :inputs]


def _unpacked(view: View, name: str, bits: int) -> np.ndarray:
    values = view.constant(name)
    assert values is not None and bits in (4, 8)
    if bits == 8:
        return values
    return np.stack([values & 15, values >> 4], -1).reshape(*values.shape[:-1], -1)


def pattern_of(path: Path, n: int, m: int) -> Pattern:
    """How many of the products with weights keep to `n` of each `m`; one whose inputs `m` does not divide does not.

    Args:
        path: of an fp32, fp16 or int8 graph.
        n: weights of a group that may differ from zero.
        m: weights of a group, in a row along the inputs.
    """
    import onnx

    model = onnx.load(path)
    view, points = View.of(model), _zero_points(model)
    found = [zeros for node in model.graph.node if (zeros := _inputs_last(view, node, points)) is not None]
    return Pattern(n=n, m=m, products=len(found), fitting=sum(_keeps(zeros, n, m) for zeros in found))


def _keeps(zeros: np.ndarray, n: int, m: int) -> bool:
    if zeros.shape[-1] % m:
        return False
    groups = zeros.reshape(*zeros.shape[:-1], -1, m)
    return bool((groups.sum(-1) >= m - n).all())


def _inputs_last(view: View, node: onnx.NodeProto, points: dict[str, _Point]) -> np.ndarray | None:
    """Where the weight of a product is zero, its inputs as the last axis; None for other nodes."""
    if node.op_type not in PRODUCTS or view.is_fixed(node):
        return None
    zeros = _zeros_behind(view, node.input[PRODUCTS[node.op_type]], points)
    if zeros is None or zeros.ndim < 2:
        return None
    if "Conv" in node.op_type or (node.op_type in ("Gemm", "QGemm") and attribute(node, "transB", 0)):
        return np.moveaxis(zeros, 1, -1)
    return np.moveaxis(zeros, -2, -1)


def _zeros_behind(view: View, name: str, points: dict[str, _Point]) -> np.ndarray | None:
    """Where the constant behind `name` is zero, through dequantization and transposition; None for what is computed."""
    values = view.constant(name)
    if values is not None:
        return _is_zero(view, values, points.get(name))
    node = view.producers.get(name)
    if node is None or node.op_type not in (*TRANSPARENT, "DequantizeLinear", "Transpose"):
        return None
    zeros = _zeros_behind(view, node.input[0], points)
    if zeros is None or node.op_type != "Transpose":
        return zeros
    order = attribute(node, "perm", list(range(zeros.ndim))[::-1])
    assert isinstance(order, list)
    return zeros.transpose(order)


_Point = tuple[str, int]
"""The name of a zero point, and the axis that it runs along."""


def _zero_points(model: onnx.ModelProto) -> dict[str, _Point]:
    found = {}
    for node in model.graph.node:
        weight, point = ZERO_POINTS.get(node.op_type, (0, len(node.input)))
        if point < len(node.input) and node.input[point]:
            axis = attribute(node, "axis", 1) if node.op_type == "DequantizeLinear" else -1
            found[node.input[weight]] = (node.input[point], 0 if "Conv" in node.op_type else int(axis))  # type: ignore[arg-type]
    return found


def _is_zero(view: View, values: np.ndarray, point: _Point | None) -> np.ndarray:
    zero = view.constant(point[0]) if point is not None else None
    if point is None or zero is None:
        return np.asarray(values == 0)
    if zero.size == 1:
        return np.asarray(values == zero.reshape(()))
    shape = [1] * values.ndim
    shape[point[1]] = zero.size
    return np.asarray(values == zero.reshape(shape))


def _constants(model: onnx.ModelProto) -> list[str]:
    inner = [node.output[0] for node in model.graph.node if node.op_type == "Constant"]
    return [tensor.name for tensor in model.graph.initializer] + inner


def _is_weight(values: np.ndarray) -> bool:
    return values.ndim > 1 and (values.dtype.kind == "f" or values.dtype.itemsize == 1)
