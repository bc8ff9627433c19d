"""Zeros before a max pooling stay zeros: ONNX Runtime would make them padding of the pooling, which is -infinity."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgepress.targets.onnx_graph.view import View

if TYPE_CHECKING:
    import onnx

# No value that a network computes can tell it from 0, and the runtime's check for a constant of 0 can.
ALMOST_ZERO = np.finfo(np.float32).tiny


def keep_zero_padding(model: onnx.ModelProto) -> None:
    """Give each Pad of zeros that a MaxPool reads a constant next to zero.

    ONNX Runtime's Pad_Fusion (1.17 to 1.31) makes `MaxPool(Pad(x, 0))` into `MaxPool(x, pads)`, whose padding never
    wins: where all values of a window are negative, zero is the answer and another one is given.
    """
    from onnx import numpy_helper

    view = View.of(model)
    for node in model.graph.node:
        if node.op_type == "Pad" and _pads_zeros(node, view) and _is_pooled(node, view):
            name = f"{node.output[0]}_almost_zero"
            model.graph.initializer.append(numpy_helper.from_array(np.array(ALMOST_ZERO, np.float32), name))
            given = [*node.input, ""][:3]
            given[2] = name
            node.input[:] = [*given, *node.input[3:]]


def _pads_zeros(node: onnx.NodeProto, view: View) -> bool:
    if any(entry.name == "mode" and entry.s != b"constant" for entry in node.attribute):
        return False
    value = view.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else np.float32(0)
    return value is not None and value.dtype == np.float32 and not np.any(value)


def _is_pooled(node: onnx.NodeProto, view: View) -> bool:
    return any(reader.op_type == "MaxPool" for reader in view.consumers.get(node.output[0], ()))
