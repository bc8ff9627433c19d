"""Pairs of int8 weights by hand: 255 * (64 + 64) = 32640 fits into 16 bits, 255 * (65 + 64) = 32895 does not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgepress.targets.onnxruntime_cpu.saturation import paired, rows_of, saturating_share


def save(path: Path, nodes: list[onnx.NodeProto], weights: dict[str, np.ndarray]) -> Path:
    tensors = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    x = helper.make_tensor_value_info("x", TensorProto.UINT8, None)
    y = helper.make_tensor_value_info("y", TensorProto.INT32, None)
    onnx.save(helper.make_model(helper.make_graph(nodes, "g", [x], [y], tensors)), path)
    return path


def test_neighbours_that_sum_to_129_can_saturate_and_128_or_opposite_signs_cannot(tmp_path: Path) -> None:
    #                    pair 0     pair 1
    columns = np.array([[64, 64, 1, 1], [65, 64, 1, 1], [127, -127, 1, 1], [-64, -65, 1, 1]], np.int8).T
    product = helper.make_node("MatMulInteger", ["x", "w"], ["y"])
    assert saturating_share(save(tmp_path / "m.onnx", [product], {"w": columns})) == 2 / 8


def test_a_dequantized_weight_counts_and_a_float_one_does_not(tmp_path: Path) -> None:
    weights = {
        "w8": np.full((2, 3), 127, np.int8),
        "scale": np.array(0.1, np.float32),
        "v": np.ones((3, 3), np.float32),
    }
    nodes = [
        helper.make_node("DequantizeLinear", ["w8", "scale"], ["w"]),
        helper.make_node("MatMul", ["x", "w"], ["z"]),
        helper.make_node("MatMul", ["z", "v"], ["y"]),
    ]
    assert saturating_share(save(tmp_path / "m.onnx", nodes, weights)) == 1.0
    assert saturating_share(save(tmp_path / "f.onnx", nodes[2:], {"v": weights["v"]})) is None


def test_a_convolutions_rows_are_places_before_channels_and_an_odd_one_is_paired_with_zeros() -> None:
    weight = np.arange(2 * 3 * 1 * 1, dtype=np.int8).reshape(2, 3, 1, 1)
    assert rows_of(weight, convolution=True).tolist() == [[0, 3], [1, 4], [2, 5]]
    assert paired(rows_of(weight, convolution=True)).tolist() == [[[0, 3], [1, 4]], [[2, 5], [0, 0]]]
