"""fp16 graphs hold no fp32 in between."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import TensorProto, helper

from edgepress.targets.onnx_graph.half import to_half


def test_what_is_cast_to_fp32_on_the_way_becomes_fp16_and_outputs_stay(tmp_path: Path) -> None:
    """A mask, cast and multiplied with states: TensorRT refuses a product of fp16 and fp32."""
    mask, states = (helper.make_tensor_value_info(n, t, ["b", 4]) for n, t in (("mask", 7), ("states", 1)))
    nodes = [
        helper.make_node("Cast", ["mask"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["states", "real"], ["product"]),
        helper.make_node("Cast", ["mask"], ["told"], to=TensorProto.FLOAT),
    ]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["b", 4]) for name in ("product", "told")]
    graph = helper.make_graph(nodes, "g", [mask, states], outputs)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]), tmp_path / "model.onnx")
    to_half(tmp_path / "model.onnx", tmp_path / "half.onnx")
    half = onnx.load(tmp_path / "half.onnx")
    kinds = {name: node.attribute[0].i for node in half.graph.node if node.op_type == "Cast" for name in node.output}
    assert kinds["real"] == TensorProto.FLOAT16 and kinds["told"] == kinds["product"] == TensorProto.FLOAT
    assert [value.type.tensor_type.elem_type for value in half.graph.output] == [TensorProto.FLOAT] * 2
    onnx.shape_inference.infer_shapes(half, strict_mode=True, check_type=True)
