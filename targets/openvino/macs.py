"""What an OpenVINO model multiplies, and which of it the runtime really does in int8: asked of what it compiled."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from edgepress.targets.errors import TargetError
from edgepress.targets.openvino.session import MODEL_FILE, WEIGHTS_FILE
from edgepress.targets.records import Feeds, MacCount, WeightCount

PRODUCTS = ("MatMul", "Convolution", "GroupConvolution", "ConvolutionBackpropData", "GroupConvolutionBackpropData")
UNKNOWN = ("LSTMSequence", "GRUSequence", "RNNSequence", "LSTMCell", "GRUCell", "RNNCell", "Einsum", "TensorIterator")
# Between a constant and the product that reads it: what quantization, and the transposition of a weight, put there.
TRANSPARENT = ("Convert", "Multiply", "Subtract", "Reshape", "Transpose", "FakeQuantize")
INT8 = ("i8", "u8")


def count_macs(folder: Path, feeds: Feeds) -> MacCount:
    """Multiply-accumulates of one call with `feeds`; int8 are those whose compiled node computes in i8 or u8.

    Products that the compiler took into a node of several operators (attention) count as float.

    Raises:
        TargetError: an operator whose work is not known.
    """
    import openvino

    core = openvino.Core()
    model = core.read_model(folder / MODEL_FILE, folder / WEIGHTS_FILE)
    model.reshape({one: list(feeds[one.any_name].shape) for one in model.inputs})
    int8 = _int8_names(core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"}))
    total = quantized = weights = 0
    for operation in model.get_ordered_ops():
        if operation.get_type_name() in UNKNOWN:
            raise TargetError(f"the work of {operation.get_type_name()} is not known. Leave that layer out.")
        if operation.get_type_name() in PRODUCTS:
            work, whole = _work(operation), operation.get_friendly_name() in int8
            total += work
            quantized += work * whole
            weights += _weight_size(operation) * (1 if whole else 4)
    return MacCount(total=total, int8=quantized, weight_bytes=weights)


def count_zeros(folder: Path) -> WeightCount:
    """Weights of products and embedding tables in `model.bin`, and the zeros among them."""
    import openvino

    model = openvino.Core().read_model(folder / MODEL_FILE, folder / WEIGHTS_FILE)
    found: dict[str, np.ndarray] = {}
    for operation in model.get_ordered_ops():
        if operation.get_type_name() in (*PRODUCTS, "Gather"):
            at = 0 if operation.get_type_name() == "Gather" else 1
            if (constant := _constant(operation, at)) is not None and len(constant.get_output_shape(0)) >= 2:
                found[constant.get_friendly_name()] = constant.get_data()
    return WeightCount(
        weights=sum(values.size for values in found.values()),
        zeros=sum(values.size - int(np.count_nonzero(values)) for values in found.values()),
    )


def _int8_names(compiled: Any) -> set[str]:
    """Names of the products that run in int8, as the graph before compilation has them."""
    found: set[str] = set()
    for node in compiled.get_runtime_model().get_ordered_ops():
        said = {key: str(value.astype(str)) for key, value in node.get_rt_info().items() if key in SAID}
        if said.get("layerType") in LAYERS and said.get("runtimePrecision") in INT8:
            names = said.get("originalLayersNames", "").split(",")
            found.update(name.partition(SCALED)[0] for name in names)
    return found


SAID = ("layerType", "runtimePrecision", "originalLayersNames")
SCALED = "/Dequantization"  # what the compiler puts behind the name of a product that it scales itself
LAYERS = ("FullyConnected", "Convolution", "Deconvolution", "MatMul")


def _work(operation: Any) -> int:
    """Each output value is a sum of as many products as a row of the weights has."""
    kind = operation.get_type_name()
    shapes = [list(operation.get_input_shape(at)) for at in (0, 1)]
    if kind == "MatMul":
        inner = shapes[0][-2 if operation.get_attributes()["transpose_a"] else -1]
        return int(math.prod(operation.get_output_shape(0)) * inner)
    # Convolutions [out, in, ...], with a leading axis of groups where there are some; the backward ones the other way.
    rows = 2 if kind.startswith("Group") else 1
    side = math.prod(shapes[0]) if "Backprop" in kind else math.prod(operation.get_output_shape(0))
    return int(side * math.prod(shapes[1][rows:]))


def _weight_size(operation: Any) -> int:
    constant = _constant(operation, 1)
    return 0 if constant is None else math.prod(constant.get_output_shape(0))


def _constant(operation: Any, at: int) -> Any:
    """The constant behind an input, through what only changes its form; None where it is computed."""
    node = operation.input_value(at).get_node()
    while node.get_type_name() in TRANSPARENT:
        node = node.input_value(0).get_node()
    return node if node.get_type_name() == "Constant" else None
