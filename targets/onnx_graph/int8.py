"""The two int8 graphs of ONNX Runtime's quantizer, and the proof that it changed every layer it was told to."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from edgepress.targets.calibration.calibrators import choose_range
from edgepress.targets.calibration.statistics import Histogram, Range, RangeRule, collect_statistics
from edgepress.targets.errors import TargetError
from edgepress.targets.exportable import TrainedInput
from edgepress.targets.graph.trained import trained_ranges
from edgepress.targets.onnx_graph.view import WEIGHTED, View, fixed_part, reader
from edgepress.targets.records import Feeds

if TYPE_CHECKING:
    import onnx

# What ONNX Runtime runs in int8 between two convolutions. Softmax, normalisations and the like stay float.
BETWEEN = (
    "Add", "AveragePool", "Clip", "Concat", "Conv", "ConvTranspose", "Flatten", "Gemm", "GlobalAveragePool",
    "LeakyRelu", "MatMul", "MaxPool", "Mul", "Pad", "Relu", "Reshape", "Resize", "Sigmoid", "Split", "Squeeze",
    "Transpose", "Unsqueeze",
)  # fmt: skip

# What TensorRT's parser takes: no zero points, no int32 biases, float outputs of products.
SYMMETRIC = {
    "ActivationSymmetric": True,
    "WeightSymmetric": True,
    "QuantizeBias": False,
    "DedicatedQDQPair": True,
    "OpTypesToExcludeOutputQuantization": list(WEIGHTED),
}


def write_dynamic(model: onnx.ModelProto, nodes: Sequence[str], out: Path) -> None:
    """MatMulInteger with activation scales taken at run time, from each input.

    Args:
        model: fp32, every node with a name of its own.
        nodes: names of the layers to change, all of them MatMul.
        out: the file to write.

    Raises:
        TargetError: a layer was passed over.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(
        _marked(model), out, ["MatMul"], per_channel=True, weight_type=QuantType.QInt8, nodes_to_quantize=list(nodes)
    )
    written = onnx.load(out)
    done = {node.name for node in written.graph.node if node.op_type == "MatMulInteger"}
    _finish(written, [name for name in nodes if f"{name}_quant" not in done], out)


def write_static(
    model: onnx.ModelProto,
    nodes: Sequence[str],
    between: Literal["float", "int8"],
    method: RangeRule,
    calibration: Sequence[Feeds],
    out: Path,
    symmetric: bool = False,
    trained: Sequence[TrainedInput] = (),
) -> int:
    """QuantizeLinear and DequantizeLinear with fixed ranges. Outputs of products stay float: what a classifier gives,
    or a residual stream.

    Args:
        model: fp32, every node with a name of its own.
        nodes: names of the layers to change.
        between: "int8" puts pairs around the operators between the layers too.
        method: how ranges are chosen from the values that `calibration` gives.
        calibration: batches of real inputs.
        out: the file to write.
        symmetric: s8 activations with zero point 0, float biases and a pair of its own for each reader, which is the
            form that TensorRT takes and fuses; otherwise u8, for which x86 has kernels.
        trained: ranges that the model was trained with; what they belong to is not calibrated.

    Returns:
        How many of the layers have a trained range.

    Raises:
        TargetError: no batch, activations that are not finite, or a layer that was passed over.
    """
    from onnx import shape_inference

    # The quantizer asks each tensor for its type, and leaves alone what has none.
    typed = shape_inference.infer_shapes(model, data_prop=True)
    kinds = list(BETWEEN if between == "int8" else WEIGHTED)
    # Asked for whole kinds of operators, the quantizer would take products of two activations along: attention's lose
    # too much.
    excluded = sorted({node.name for node in _products(typed) if node.name not in nodes} | fixed_part(typed))
    ranges = _ranges(typed, _tensors(typed, nodes, kinds, excluded, between), method, calibration)
    known = _trained(typed, nodes, trained) if trained else []
    ranges |= {node.input[0]: found for node, found in known}
    written = _quantized(typed, [] if between == "int8" else nodes, kinds, excluded, ranges, symmetric)
    if trained and between == "float":
        _float_again(written, nodes)
    view = View.of(written)
    by_name = {node.name: node for node in written.graph.node}
    _finish(written, [name for name in nodes if not _reads_int8(view, by_name[name])], out)
    return len(known)


def _quantized(
    model: onnx.ModelProto,
    nodes: Sequence[str],
    kinds: Sequence[str],
    excluded: Sequence[str],
    ranges: Mapping[str, Range],
    symmetric: bool,
) -> onnx.ModelProto:
    """What ONNX Runtime's quantizer makes of a graph: all nodes of the `kinds`, or those named, but the `excluded`."""
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.calibrate import CalibrationMethod, TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    bounds: dict[str, Any] = {
        name: (np.array(found.low, np.float32), np.array(found.high, np.float32)) for name, found in ranges.items()
    }
    quantizer = QDQQuantizer(
        model,
        per_channel=True,
        reduce_range=False,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QInt8 if symmetric else QuantType.QUInt8,
        tensors_range=TensorsData(CalibrationMethod.MinMax, bounds),
        nodes_to_quantize=list(nodes),
        nodes_to_exclude=list(excluded),
        op_types_to_quantize=list(kinds),
        extra_options={"OpTypesToExcludeOutputQuantization": ["MatMul", "Gemm"], **(SYMMETRIC if symmetric else {})},
    )
    quantizer.quantize_model()
    quantizer.model.topological_sort()  # it appends its pairs at the end
    written: onnx.ModelProto = quantizer.model.model
    return written


def _float_again(model: onnx.ModelProto, nodes: Sequence[str]) -> None:
    """Whoever reads a rounded tensor and is none of the layers reads it as it was: a residual stream, that a model
    which was trained with its layers' inputs rounded had in float."""
    view = View.of(model)
    for node in model.graph.node:
        if node.name in nodes or node.op_type == "QuantizeLinear":
            continue
        for place, name in enumerate(node.input):
            reader = view.producers.get(name)
            if reader is not None and reader.op_type == "DequantizeLinear":
                writer = view.producers.get(reader.input[0])
                if writer is not None and writer.op_type == "QuantizeLinear":
                    node.input[place] = writer.input[0]


def _trained(
    model: onnx.ModelProto, nodes: Sequence[str], trained: Sequence[TrainedInput]
) -> list[tuple[onnx.NodeProto, Range]]:
    """The layers of these names whose input has a trained range, with it."""
    from onnx import numpy_helper

    initializers = View.of(model).initializers
    layers = {node.name: node for node in model.graph.node if node.name in nodes}
    weights = {name: numpy_helper.to_array(initializers[node.input[1]]) for name, node in layers.items()}
    return [(layers[name], found) for name, found in trained_ranges(weights, trained).items()]


def _products(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    return [node for node in model.graph.node if node.op_type in ("MatMul", "Gemm", "Conv", "ConvTranspose")]


def _tensors(
    model: onnx.ModelProto, nodes: Sequence[str], kinds: Sequence[str], excluded: Sequence[str], between: str
) -> list[str]:
    """Float activations that the quantizer may ask a range of."""
    from onnx import TensorProto

    # Token ids and masks are whole numbers, and constants have ranges of their own.
    values = (*model.graph.value_info, *model.graph.input, *model.graph.output)
    floats = {value.name for value in values if value.type.tensor_type.elem_type == TensorProto.FLOAT}
    constants = set(View.of(model).initializers)
    names: dict[str, None] = {}
    for node in model.graph.node:
        if node.name in nodes or (between == "int8" and node.op_type in kinds and node.name not in excluded):
            outputs = node.output if between == "int8" else ()
            names.update(dict.fromkeys(name for name in (*node.input, *outputs) if name in floats - constants))
    return list(names)


def _ranges(
    model: onnx.ModelProto, names: Sequence[str], method: RangeRule, calibration: Sequence[Feeds]
) -> dict[str, Range]:
    read = reader(model, names)
    if method == "min-max":  # exact, and without the histogram's memory
        return collect_statistics(read, calibration, dict.fromkeys(names, Range()))
    histograms = collect_statistics(read, calibration, dict.fromkeys(names, Histogram()))
    return {name: choose_range(method, histogram) for name, histogram in histograms.items()}


def _marked(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy with the runtime's own mark of a prepared model; without it the quantizer writes to the root logger."""
    from onnxruntime.quantization.quant_utils import add_pre_process_metadata

    # The mark says that shapes were inferred; it must not reach a file that a user opens.
    marked = copy.deepcopy(model)
    add_pre_process_metadata(marked)
    return marked


def _reads_int8(view: View, node: onnx.NodeProto) -> bool:
    # The bias is no factor: the runtime adds it in 32 bits whatever it is stored as.
    sources = [view.producers.get(name) for name in node.input[:2]]
    return all(source is not None and source.op_type == "DequantizeLinear" for source in sources)


def _finish(model: onnx.ModelProto, missing: Sequence[str], out: Path) -> None:
    """Raises TargetError for layers the quantizer passed over; else writes the checked graph, no scaffolding."""
    import onnx

    if missing:
        still = ", ".join(missing[:3])
        raise TargetError(
            f"ONNX Runtime's quantizer left {len(missing)} layers float, first {still}. Name them in keep_float or "
            f"use another candidate."
        )
    # Inferred shapes are of no use to the runtime and cost bytes; the marks would claim a preparation not made.
    del model.graph.value_info[:]
    del model.metadata_props[:]
    onnx.checker.check_model(model)
    onnx.save(model, out)
