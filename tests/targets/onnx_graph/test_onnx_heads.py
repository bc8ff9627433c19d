"""A head that shares its table with an embedding gets a weight that quantizers see, and answers as before."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgepress.targets.onnx_graph.view import reader, weighted_nodes
from edgepress.targets.onnxruntime_cpu.heads import own_heads


def shared_table() -> onnx.ModelProto:
    """Look words up in a table `[5, 3]`, and multiply what was found with the table turned."""
    table = numpy_helper.from_array(np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32), "table")
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["found"], name="gather"),
        helper.make_node("Transpose", ["table"], ["turned"], name="turn", perm=[1, 0]),
        helper.make_node("MatMul", ["found", "turned"], ["logits"], name="head"),
    ]
    inputs = [helper.make_tensor_value_info("ids", TensorProto.INT64, ["batch"])]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 5])]
    graph = helper.make_graph(nodes, "g", inputs, outputs, [table])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def test_a_head_on_a_shared_table_becomes_a_layer_with_a_weight() -> None:
    model, feeds = shared_table(), {"ids": np.array([1, 4, 0])}
    before = reader(model, ["logits"])(feeds)["logits"]
    assert weighted_nodes(model) == ()
    own_heads(model)
    assert [node.name for node in weighted_nodes(model)] == ["head"]
    assert [node.op_type for node in model.graph.node] == ["Gather", "MatMul"]
    assert np.allclose(reader(model, ["logits"])(feeds)["logits"], before, atol=1e-6)
