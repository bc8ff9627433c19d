"""Multiply-accumulates of an ONNX graph, counted on the shapes of a real run, and how many of them are int8.

Shapes are read from the runtime, since inference fails on the dynamic shapes of exported transformers.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from edgepress.targets.errors import TargetError
from edgepress.targets.onnx_graph.view import View, attribute, name_nodes, reader, subgraphs
from edgepress.targets.records import Feeds, MacCount

if TYPE_CHECKING:
    import onnx

Shape = tuple[int, ...]


# Position of the two factors among a node's inputs, by operator (any domain).
MATMUL = {
    "MatMul": (0, 1), "FusedMatMul": (0, 1), "MatMulInteger": (0, 1), "MatMulInteger16": (0, 1),
    "MatMulIntegerToFloat": (0, 1), "DynamicQuantizeMatMul": (0, 1), "QLinearMatMul": (0, 3),
}  # fmt: skip
GEMM = {"Gemm": (0, 1), "FusedGemm": (0, 1), "QGemm": (0, 3)}
CONV = {"Conv": (0, 1), "FusedConv": (0, 1), "ConvInteger": (0, 1), "QLinearConv": (0, 3)}
TRANSPOSED_CONV = {"ConvTranspose": (0, 1)}
# Its weight is packed: how many inputs there are stands in its attribute K.
PACKED = {"MatMulNBits": (0, 1)}
FACTORS = PACKED | MATMUL | GEMM | CONV | TRANSPOSED_CONV
# These multiply int8 by themselves. FusedMatMul and the like only where both factors come from int8.
INTEGER = frozenset({
    "MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "QLinearMatMul", "QGemm", "ConvInteger",
    "QLinearConv",
})  # fmt: skip
INT8_INSIDE = 4  # the accuracy level at which MatMulNBits rounds its activations to int8
# Operators that multiply inside; they are refused rather than counted as nothing.
OPAQUE = frozenset({
    "Attention", "QAttention", "MultiHeadAttention", "GroupQueryAttention", "LSTM", "GRU", "RNN", "DynamicQuantizeLSTM",
    "Einsum", "DeformConv",
})  # fmt: skip


def count_macs(path: Path, feeds: Feeds) -> MacCount:
    """Count one inference of the graph at `path` on `feeds`.

    A MatMul, Gemm or Conv is int8 where both factors come straight from a DequantizeLinear of 8-bit integers. A
    MatMulNBits of 8 or 4 bits is int8 where its accuracy level has the kernels round activations to int8 and multiply
    int8 by int8 (codes of 4 bits are widened in registers); at other levels it multiplies floats.

    Raises:
        TargetError: the graph multiplies in an operator whose work is not known here, or inside control flow.
    """
    import onnx

    model = onnx.load(path)
    name_nodes(model)
    _refuse_opaque(model)
    view = View.of(model)
    shapes = _shapes(model, view, feeds)
    total = int8 = 0
    weights: dict[str, int] = {}
    for node in model.graph.node:
        if node.op_type in FACTORS:
            macs = _macs(node, shapes)
            total += macs
            int8 += macs if _is_int8(view, node) else 0
            weights |= dict(_weight(view, name) for name in _read(node))
    return MacCount(total, int8, sum(weights.values()))


def _weight(view: View, factor: str) -> tuple[str, int]:
    """Name and bytes of the constant behind a factor, dequantized or not; 0 bytes for an activation."""
    import onnx

    producer = view.producers.get(factor)
    name = producer.input[0] if producer is not None and producer.op_type == "DequantizeLinear" else factor
    tensor = view.initializers.get(name)
    if tensor is None:
        value = view.constant(name)
        return name, 0 if value is None else value.nbytes
    return name, prod(tensor.dims) * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize


def _refuse_opaque(model: onnx.ModelProto) -> None:
    for node in model.graph.node:
        if node.op_type in OPAQUE:
            raise TargetError(
                f"the MACs of node {node.name!r} ({node.op_type}) cannot be counted: export without fusions"
            )
    for body in subgraphs(model.graph):
        for node in body.node:
            if node.op_type in OPAQUE or node.op_type in FACTORS:
                raise TargetError(f"the MACs of node {node.name!r} cannot be counted: it is inside control flow")


def _shapes(model: onnx.ModelProto, view: View, feeds: Feeds) -> Mapping[str, Shape]:
    nodes = [node for node in model.graph.node if node.op_type in FACTORS]
    wanted = {name for node in nodes for name in (*_factors(node), node.output[0])}
    fixed = {name: tuple(view.initializers[name].dims) for name in wanted if name in view.initializers}
    run = reader(model, sorted(wanted - set(fixed)))(feeds)
    return fixed | {name: value.shape for name, value in run.items()}


def _factors(node: onnx.NodeProto) -> tuple[str, str]:
    left, right = FACTORS[node.op_type]
    return node.input[left], node.input[right]


def _read(node: onnx.NodeProto) -> tuple[str, ...]:
    """Names of all that a product reads: its factors, and the scales and zeros of a packed one."""
    return (*_factors(node), *(node.input[2:4] if node.op_type in PACKED else ()))


def _macs(node: onnx.NodeProto, shapes: Mapping[str, Shape]) -> int:
    """Case 1, convolution: outputs x input channels of a group x kernel; its weight is [out, in / groups, *kernel].
    Case 2, transposed convolution: inputs x the same of the outputs; its weight is [in, out / groups, *kernel].
    Case 3, product, packed or not: outputs x the inner dimension."""
    left, right = _factors(node)
    if node.op_type in PACKED:
        return prod(shapes[node.output[0]]) * int(attribute(node, "K", 0))  # type: ignore[arg-type]
    if node.op_type in CONV:
        return prod(shapes[node.output[0]]) * prod(shapes[right][1:])
    if node.op_type in TRANSPOSED_CONV:
        return prod(shapes[left]) * prod(shapes[right][1:])
    transposed = bool(attribute(node, "transA", 0))
    return prod(shapes[node.output[0]]) * shapes[left][-2 if transposed else -1]


def _is_int8(view: View, node: onnx.NodeProto) -> bool:
    if node.op_type in PACKED:
        return attribute(node, "accuracy_level", 0) == INT8_INSIDE
    return node.op_type in INTEGER or all(_from_int8(view, name) for name in _factors(node))


def _from_int8(view: View, name: str) -> bool:
    """Whether the tensor is a DequantizeLinear of int8 or uint8: by its zero point, else by its source."""
    from onnx import TensorProto

    node = view.producers.get(name)
    if node is None or node.op_type != "DequantizeLinear":
        return False
    source = view.producers.get(node.input[0])
    for candidate in (*node.input[2:], node.input[0]):
        if candidate in view.initializers:
            return view.initializers[candidate].data_type in (TensorProto.INT8, TensorProto.UINT8)
    # QuantizeLinear without a zero point gives uint8.
    return source is not None and source.op_type == "QuantizeLinear" and len(source.input) == 2
