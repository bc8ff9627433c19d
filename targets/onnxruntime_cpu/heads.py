"""Heads that read an embedding table the other way round, with a weight of their own.

Exporters fold the transposition of a small table and leave that of a large one in the graph, where no quantizer takes
the product for one with a weight: the largest product of a language model would stay float in an int8 graph.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgepress.targets.onnx_graph.view import View, drop_unread, drop_unused

if TYPE_CHECKING:
    import onnx


def own_heads(model: onnx.ModelProto) -> None:
    """Each product with a transposed float table gets a transposed copy of it as its weight, in place; the table stays
    for whoever looks words up in it."""
    from onnx import numpy_helper

    view, copies = View.of(model), {}
    for node in model.graph.node:
        table = view.turned(node.input[1]) if node.op_type == "MatMul" else None
        if table is None or not view.is_matrix(table):
            continue
        name = f"{table}_turned"
        if name not in copies:
            copies[name] = numpy_helper.from_array(numpy_helper.to_array(view.initializers[table]).T.copy(), name)
        node.input[1] = name
    model.graph.initializer.extend(copies.values())
    drop_unread(model, "Transpose")
    drop_unused(model)
