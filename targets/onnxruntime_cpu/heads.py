"""Heads that read an embedding table the other way round, with a weight of their own.

Exporters fold the transposition of a small table and leave that of a large one in the graph, where no quantizer takes
the product for one with a weight: the largest product of a language model would stay float in an int8 graph.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgepress.targets.onnx_graph.view import View, attribute, drop_unused

if TYPE_CHECKING:
    import onnx

SWAPPED = [1, 0]


def own_heads(model: onnx.ModelProto) -> None:
    """Each product with a transposed float table gets a transposed copy of it as its weight, in place; the table stays
    for whoever looks words up in it."""
    import onnx
    from onnx import numpy_helper

    view, copies = View.of(model), {}
    for node in model.graph.node:
        turned = view.producers.get(node.input[1]) if node.op_type == "MatMul" else None
        if turned is None or turned.op_type != "Transpose" or attribute(turned, "perm", SWAPPED) != SWAPPED:
            continue
        table = view.initializers.get(turned.input[0])
        if table is None or table.data_type != onnx.TensorProto.FLOAT or len(table.dims) != 2:
            continue
        name = f"{table.name}_turned"
        if name not in copies:
            copies[name] = numpy_helper.from_array(numpy_helper.to_array(table).T.copy(), name)
        node.input[1] = name
    model.graph.initializer.extend(copies.values())
    read = {name for node in model.graph.node for name in node.input} | {value.name for value in model.graph.output}
    left = [node for node in model.graph.node if node.op_type != "Transpose" or node.output[0] in read]
    del model.graph.node[:]
    model.graph.node.extend(left)
    drop_unused(model)
