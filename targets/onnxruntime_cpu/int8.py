"""int8 for ONNX Runtime on CPU: what can be tried for a model, and the graph of each.

Activations are u8, weights s8 with a scale for each output channel: on x86 the only pair with fast matrix kernels.
Transformers keep float outputs of every product, since their residual stream does not bear 8 bits; convolutional
networks keep int8 between the layers, which is where their speed comes from.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pydantic

from edgepress.targets.calibration.statistics import ChannelPeaks, RangeRule, collect_statistics
from edgepress.targets.errors import TargetError
from edgepress.targets.exportable import TrainedInput
from edgepress.targets.graph.trained import QAT, trained_note
from edgepress.targets.onnx_graph.embedding import quantize_embeddings
from edgepress.targets.onnx_graph.int8 import write_dynamic, write_static
from edgepress.targets.onnx_graph.smooth import apply_smoothing, plan_smoothing, smoothable
from edgepress.targets.onnx_graph.view import View, drop_unused, name_nodes, reader, weighted_nodes
from edgepress.targets.onnxruntime_cpu.heads import own_heads
from edgepress.targets.records import Candidate, Feeds, Record

if TYPE_CHECKING:
    import onnx
    import torch

# The quantizer works on graphs in memory as one protobuf, which ends at 2 GiB.
LARGEST = 2**31 - 2**24
KeepFloat = Literal["nothing", "ends", "ffn-in"]


class Int8Options(Record):
    """How an int8 graph is made.

    `scales` of activations: taken at run time from each input, or fixed by calibration with `ranges`. `between`: what
    flows from layer to layer. `alpha` in 0..1 turns SmoothQuant on. `keep_float`: which layers stay float. `trained`:
    the inputs of layers have the ranges that the model was trained with.
    """

    scales: Literal["run-time", "fixed"]
    between: Literal["float", "int8"] = "float"
    ranges: RangeRule = "min-max"
    alpha: float | None = pydantic.Field(default=None, ge=0, le=1)
    keep_float: KeepFloat = "nothing"
    trained: bool = False


TRANSFORMER: dict[str, Int8Options] = {
    "int8-dynamic": Int8Options(scales="run-time"),
    "int8-dynamic-smooth-0.7": Int8Options(scales="run-time", alpha=0.7),
    "int8-dynamic-smooth-0.8": Int8Options(scales="run-time", alpha=0.8),
    "int8-static": Int8Options(scales="fixed"),
    "int8-static-smooth-0.7": Int8Options(scales="fixed", alpha=0.7),
    "int8-dynamic-float-ends": Int8Options(scales="run-time", keep_float="ends"),
    "int8-dynamic-float-ffn-in": Int8Options(scales="run-time", keep_float="ffn-in"),
}
CONVOLUTIONAL: dict[str, Int8Options] = {
    "int8-static": Int8Options(scales="fixed", between="int8"),
    "int8-static-percentile": Int8Options(scales="fixed", between="int8", ranges="percentile"),
    "int8-static-squared-error": Int8Options(scales="fixed", between="int8", ranges="squared-error"),
    "int8-static-entropy": Int8Options(scales="fixed", between="int8", ranges="entropy"),
    "int8-static-float-ends": Int8Options(scales="fixed", between="int8", keep_float="ends"),
}


def int8_candidates(module: torch.nn.Module, trained: bool = False) -> tuple[Candidate, ...]:
    """The ways to make `module` int8, best guess first: with the ranges that it was trained with, where it was."""
    from edgepress.targets.graph.export import is_transformer

    methods = TRANSFORMER if is_transformer(module) else CONVOLUTIONAL
    if trained:
        methods = {QAT: methods["int8-static"].model_copy(update={"trained": True}), **methods}
    return tuple(
        Candidate(name=name, precision="int8", options=options.model_dump(mode="json"))
        for name, options in methods.items()
    )


def write_int8(
    fp32: Path,
    candidate: Candidate,
    calibration: Sequence[Feeds],
    out: Path,
    trained: Sequence[TrainedInput] = (),
) -> tuple[str, ...]:
    """Write the int8 graph of a candidate.

    Args:
        fp32: the graph that it is made of.
        candidate: its options are those of `Int8Options`.
        calibration: batches of real inputs: fixed ranges and smoothing are taken from them.
        out: the file to write.
        trained: the ranges that the model was trained with, for a candidate that takes them.

    Returns:
        What was done, a line each.

    Raises:
        TargetError: options that are none of int8's, no calibration batch, a layer that could not be quantized, no
            layer with a trained range where they are asked for, or a graph of more than 2 GiB.
    """
    options = _options(candidate)
    model = load_graph(fp32)
    if options.between == "float":
        split_gemms(model)
        own_heads(model)
    layers = weighted_nodes(model)
    kept = float_layers(model, options.keep_float)
    kinds = ("MatMul",) if options.between == "float" else ("MatMul", "Gemm", "Conv", "ConvTranspose")
    chosen = tuple(node.name for node in layers if node.op_type in kinds and node.name not in kept)
    if not chosen:
        raise TargetError(f"candidate {candidate.name!r} leaves no layer of {fp32.name} to quantize. Leave it out.")
    notes = [f"{len(chosen)} of {len(layers)} layers with weights are int8"]
    notes += [f"{name} stays float" for name in sorted(kept)]
    # In every candidate: gathering rows costs no accuracy that a product would not cost more of, and a table is half of
    # a small model's bytes.
    notes += quantize_embeddings(model)
    if options.alpha is not None:
        notes.append(smooth(model, chosen, calibration, options.alpha))
    if options.scales == "run-time":
        write_dynamic(model, chosen, out)
    else:
        ranges = trained if options.trained else ()
        taken = write_static(model, chosen, options.between, options.ranges, calibration, out, trained=ranges)
        notes += [trained_note(candidate.name, taken, len(chosen))] if options.trained else []
    return tuple(notes)


def load_graph(path: Path) -> onnx.ModelProto:
    """The graph with a name for each node. Raises TargetError for one of more than 2 GiB."""
    import onnx

    size = sum(part.stat().st_size for part in (path, path.with_name(f"{path.name}.data")) if part.exists())
    if size > LARGEST:
        raise TargetError(
            f"{path.name} has {size} bytes; graphs above {LARGEST} cannot be made int8 here. Prune or factorize first."
        )
    model = onnx.load(path)
    name_nodes(model)
    return model


def _options(candidate: Candidate) -> Int8Options:
    try:
        return Int8Options(**candidate.options)
    except pydantic.ValidationError as fault:
        first = fault.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise TargetError(f"candidate {candidate.name!r}, option {key!r}: {first['msg']}") from None


def smooth(model: onnx.ModelProto, nodes: tuple[str, ...], calibration: Sequence[Feeds], alpha: float) -> str:
    """SmoothQuant, in place.

    Args:
        model: fp32; its float outputs stay the same up to rounding.
        nodes: names of the MatMuls whose inputs are smoothed.
        calibration: batches that show which channels have outliers.
        alpha: 0..1, how much of the difficulty goes into the weights.

    Returns:
        What was done, in a line.
    """
    tensors = tuple(smoothable(model, nodes))
    statistics = collect_statistics(reader(model, tensors), calibration, dict.fromkeys(tensors, ChannelPeaks()))
    peaks = {name: statistic.peaks for name, statistic in statistics.items() if statistic.peaks is not None}
    plan = plan_smoothing(model, nodes, peaks, alpha)
    if not plan:
        return "no activation has outlier channels: nothing to smooth, the graph is the same as without smoothing"
    apply_smoothing(model, plan)
    folded = sum(step.folded for step in plan)
    return f"{len(plan)} activations are smoothed with alpha {alpha}, {folded} of them inside a LayerNormalization"


def float_layers(model: onnx.ModelProto, rule: KeepFloat) -> frozenset[str]:
    """Names of the layers that `rule` keeps in float.

    ends: the layers that read the same tensor as the first one (query, key and value together), and the last one.
    ffn-in: the products whose output, with its bias, goes into an activation function: an FFN's first.
    """
    layers = weighted_nodes(model)
    if rule == "nothing" or not layers:
        return frozenset()
    if rule == "ends":
        first = {node.name for node in layers if node.input[0] == layers[0].input[0]}
        return frozenset(first | {layers[-1].name})
    view = View.of(model)
    return frozenset(node.name for node in layers if _feeds_activation(view, node))


def _feeds_activation(view: View, node: onnx.NodeProto) -> bool:
    readers = view.consumers.get(node.output[0], [])
    if len(readers) == 1 and readers[0].op_type == "Add":
        readers = view.consumers.get(readers[0].output[0], [])
    # Erf and Sigmoid: Gelu and SiLU written out in small operators, where the product is read twice.
    return any(reader.op_type in ("Gelu", "Relu", "Erf", "Sigmoid", "QuickGelu", "Div") for reader in readers)


def split_gemms(model: onnx.ModelProto) -> None:
    """Gemm with a constant weight becomes MatMul and Add in place: run-time scales know MatMul alone.

    The transposed weight is a copy: two layers, or a layer and an embedding, may share one.
    """
    from onnx import helper, numpy_helper

    view = View.of(model)
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        weight = view.constant(node.input[1]) if node.op_type == "Gemm" and view.is_weighted(node) else None
        settings = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
        plain = not settings.get("transA", 0) and settings.get("alpha", 1.0) == settings.get("beta", 1.0) == 1.0
        if weight is None or not plain:
            nodes.append(node)
            continue
        name = f"{node.name}_weight"
        straight = weight.T.copy() if settings.get("transB", 0) else weight
        model.graph.initializer.append(numpy_helper.from_array(straight, name))
        biased = len(node.input) == 3 and node.input[2] != ""
        product = f"{node.output[0]}_product" if biased else node.output[0]
        nodes.append(helper.make_node("MatMul", [node.input[0], name], [product], name=node.name))
        if biased:
            nodes.append(helper.make_node("Add", [product, node.input[2]], list(node.output), name=f"{node.name}_bias"))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    drop_unused(model)
