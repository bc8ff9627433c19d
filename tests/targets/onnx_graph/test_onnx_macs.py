"""MACs against counts made by hand, and what counts as int8."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgepress.targets.errors import TargetError
from edgepress.targets.onnx_graph.macs import count_macs
from edgepress.targets.records import MacCount

make = helper.make_node


def save(path: Path, nodes: list[onnx.NodeProto], shape: list[Any], weights: dict[str, np.ndarray]) -> Path:
    """A graph from `x` of `shape` to `y`, whose shape is left to the runtime."""
    tensors = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    graph = helper.make_graph(nodes, "test", inputs, outputs, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(model, path)
    return path


def ones(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


def qdq_linear(weight_is_quantized: bool) -> tuple[list[onnx.NodeProto], dict[str, np.ndarray]]:
    """[2, 3] x [3, 4] with a quantized activation, and a weight that is int8 or float."""
    nodes = [
        make("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
        make("DequantizeLinear", ["q", "scale", "zero"], ["a"]),
        make("DequantizeLinear", ["w8", "scale"], ["w_dequantized"]),
        make("MatMul", ["a", "w_dequantized" if weight_is_quantized else "w"], ["y"]),
    ]
    weights = {"w8": np.ones((3, 4), np.int8), "w": ones(3, 4)}
    return nodes, weights | {"scale": np.array(0.1, np.float32), "zero": np.array(0, np.uint8)}


def test_a_product_of_2x3_and_3x4_is_24_macs(tmp_path: Path) -> None:
    path = save(tmp_path / "m.onnx", [make("MatMul", ["x", "w"], ["y"])], ["batch", 3], {"w": ones(3, 4)})
    assert count_macs(path, {"x": ones(2, 3)}) == MacCount(total=24, int8=0, weight_bytes=12 * 4)


def test_a_transposed_gemm_counts_its_inner_dimension(tmp_path: Path) -> None:
    nodes = [make("Gemm", ["x", "w"], ["y"], transA=1, transB=1)]
    path = save(tmp_path / "m.onnx", nodes, [3, 2], {"w": ones(4, 3)})
    assert count_macs(path, {"x": ones(3, 2)}).total == 2 * 3 * 4


def test_a_convolution_counts_outputs_times_kernel_times_channels_of_a_group(tmp_path: Path) -> None:
    # [1, 4, 8, 8] -> 6 channels in 2 groups, 3 x 3, stride 2, padding 1: outputs [1, 6, 4, 4].
    nodes = [make("Conv", ["x", "w"], ["y"], group=2, strides=[2, 2], pads=[1, 1, 1, 1])]
    path = save(tmp_path / "m.onnx", nodes, ["n", 4, "h", "w_"], {"w": ones(6, 2, 3, 3)})
    assert count_macs(path, {"x": ones(1, 4, 8, 8)}).total == 6 * 4 * 4 * 2 * 9


def test_a_transposed_convolution_counts_inputs(tmp_path: Path) -> None:
    path = save(tmp_path / "m.onnx", [make("ConvTranspose", ["x", "w"], ["y"])], [1, 3, 5, 5], {"w": ones(3, 2, 2, 2)})
    assert count_macs(path, {"x": ones(1, 3, 5, 5)}).total == 3 * 5 * 5 * 2 * 4


def test_activation_times_activation_is_counted_as_float(tmp_path: Path) -> None:
    nodes = [make("Transpose", ["x"], ["t"], perm=[0, 2, 1]), make("MatMul", ["x", "t"], ["y"])]
    path = save(tmp_path / "m.onnx", nodes, ["batch", "sequence", 8], {})
    assert count_macs(path, {"x": ones(2, 5, 8)}) == MacCount(total=2 * 5 * 5 * 8, int8=0)


def test_a_product_of_two_dequantized_factors_is_int8(tmp_path: Path) -> None:
    nodes, weights = qdq_linear(weight_is_quantized=True)
    count = count_macs(save(tmp_path / "m.onnx", nodes, [2, 3], weights), {"x": ones(2, 3)})
    assert count == MacCount(total=24, int8=24, weight_bytes=12)
    assert count.int8_share == 1.0


def test_a_model_that_only_rounds_its_inputs_is_not_int8(tmp_path: Path) -> None:
    nodes, weights = qdq_linear(weight_is_quantized=False)
    assert count_macs(save(tmp_path / "m.onnx", nodes, [2, 3], weights), {"x": ones(2, 3)}).int8_share == 0.0


def test_16_bit_factors_are_not_int8(tmp_path: Path) -> None:
    nodes = [
        make("DequantizeLinear", ["w16", "scale"], ["w"]),
        make("DequantizeLinear", ["v8", "scale"], ["v"]),
        make("MatMul", ["v", "w"], ["z"]),
        make("Add", ["x", "z"], ["y"]),
    ]
    weights = {"w16": np.ones((3, 4), np.int32), "v8": np.ones((2, 3), np.int8), "scale": np.array(0.1, np.float32)}
    count = count_macs(save(tmp_path / "m.onnx", nodes, [1], weights), {"x": ones(1)})
    assert count == MacCount(total=24, int8=0, weight_bytes=12 * 4 + 6)


def test_the_share_of_a_mixed_graph_is_weighed_by_macs(tmp_path: Path) -> None:
    nodes = [
        make("DynamicQuantizeLinear", ["x"], ["q", "scale", "zero"]),
        make("MatMulInteger", ["q", "w8", "zero"], ["i"]),
        make("Cast", ["i"], ["f"], to=TensorProto.FLOAT),
        make("MatMul", ["f", "v"], ["y"]),
    ]
    path = save(tmp_path / "m.onnx", nodes, [2, 3], {"w8": np.ones((3, 4), np.int8), "v": ones(4, 9)})
    count = count_macs(path, {"x": ones(2, 3)})
    assert count == MacCount(total=24 + 72, int8=24, weight_bytes=12 + 36 * 4)
    assert count.int8_share == 0.25


def test_an_operator_whose_work_is_unknown_is_refused_by_name(tmp_path: Path) -> None:
    nodes = [make("Einsum", ["x", "w"], ["y"], equation="ij,jk->ik", name="mixer")]
    path = save(tmp_path / "m.onnx", nodes, [2, 3], {"w": ones(3, 4)})
    with pytest.raises(TargetError, match=r"the MACs of node 'mixer' \(Einsum\) cannot be counted"):
        count_macs(path, {"x": ones(2, 3)})


def test_products_inside_control_flow_are_refused(tmp_path: Path) -> None:
    z = helper.make_tensor_value_info("z", TensorProto.FLOAT, None)
    body = helper.make_graph([make("MatMul", ["x", "w"], ["z"], name="hidden")], "body", [], [z])
    nodes = [make("If", ["flag"], ["y"], then_branch=body, else_branch=body)]
    path = save(tmp_path / "m.onnx", nodes, [2, 3], {"w": ones(3, 4), "flag": np.array(True)})
    with pytest.raises(TargetError, match="node 'hidden' cannot be counted: it is inside control flow"):
        count_macs(path, {"x": ones(2, 3)})
