"""Quotients in place of products with reciprocals of roots: the form in which ONNX Runtime knows an RMS normalisation.

Exporters write x * (1 / sqrt(mean(x²) + e)); the runtime fuses x / sqrt(mean(x²) + e) into one kernel. In a decoder's
step, whose tensors are one token long, six small nodes take longer than the arithmetic in them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgepress.targets.onnx_graph.view import View, drop_unread

if TYPE_CHECKING:
    import onnx


def divide_by_roots(model: onnx.ModelProto) -> int:
    """Make each Mul(x, Reciprocal(Sqrt(y))) a Div(x, Sqrt(y)), in place; returns how many there were."""
    view = View.of(model)
    count = 0
    for node in model.graph.node:
        if node.op_type == "Mul" and (root := _root(view, node)) is not None:
            factor, denominator = root
            node.op_type = "Div"
            node.input[:] = [factor, denominator]
            count += 1
    drop_unread(model, "Reciprocal")
    return count


def _root(view: View, node: onnx.NodeProto) -> tuple[str, str] | None:
    """The other factor, and the root that a factor of `node` is the reciprocal of; None where neither is one."""
    for place in (0, 1):
        reciprocal = view.producers.get(node.input[place])
        if reciprocal is None or reciprocal.op_type != "Reciprocal":
            continue
        root = view.producers.get(reciprocal.input[0])
        if root is not None and root.op_type == "Sqrt":
            return node.input[1 - place], reciprocal.input[0]
    return None
