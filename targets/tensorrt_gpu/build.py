"""ONNX file → TensorRT engine in a process of its own; with TensorRT for RTX ahead of time and without a GPU."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from edgepress.targets.errors import TargetError
from edgepress.targets.tensorrt_gpu.plan import count_planned

# Layers that hand a dequantized tensor on to a product without computing anything.
TRANSPARENT = ("SHUFFLE", "CAST", "IDENTITY", "SQUEEZE", "UNSQUEEZE")
PRODUCTS = ("MATRIX_MULTIPLY", "CONVOLUTION", "DECONVOLUTION")


def build(request: dict[str, Any]) -> dict[str, Any]:
    """Runs in the child. `request`: `package`, `onnx`, `out`, `capabilities` ([86, ...]), `profile`
    ({input: [lowest, most likely, highest shape]}) and `sparse`, whether kernels for 2:4 sparse weights may be taken.

    The answer counts `int8`, `half` and `float` products: those of the `network`, and those `planned` for each GPU
    ({"sm_86": {...}}), empty where the package does not tell.

    Raises:
        TargetError: the parser or the builder refuses the graph, or a capability is unknown.
    """
    trt = import_module(request["package"])
    messages: list[str] = []
    builder = trt.Builder(_logger(trt, messages))
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, builder.logger)
    if not parser.parse_from_file(request["onnx"]):
        raise TargetError(_refusal(parser))
    config = builder.create_builder_config()
    if ahead := request["package"] == "tensorrt_rtx":
        _set_capabilities(trt, config, request["capabilities"])
    if request["sparse"]:
        config.set_flag(trt.BuilderFlag.SPARSE_WEIGHTS)
    profile = builder.create_optimization_profile()
    for name, shapes in request["profile"].items():
        profile.set_shape(name, *map(tuple, shapes))
    config.add_optimization_profile(profile)
    counts = count_products(network)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise TargetError(f"TensorRT could not build the engine: {_first_line(messages)}")
    content = bytes(engine)
    Path(request["out"]).write_bytes(content)
    return {"network": counts, "planned": count_planned(content) if ahead else {"the GPU here": {}}}


def _logger(trt: Any, messages: list[str]) -> Any:
    class Collector(trt.ILogger):  # type: ignore[misc]
        """Errors are kept for the user's one line; all else is TensorRT's own business."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                messages.append(message)

    return Collector()


def _set_capabilities(trt: Any, config: Any, wanted: list[int]) -> None:
    config.num_compute_capabilities = len(wanted)
    for index, number in enumerate(wanted):
        capability = getattr(trt.ComputeCapability, f"SM{number}", None)
        if capability is None or not config.set_compute_capability(capability, index):
            raise TargetError(f"TensorRT for RTX {trt.__version__} cannot build for compute capability {number}")


def _refusal(parser: Any) -> str:
    if not parser.num_errors:
        return "TensorRT's parser refuses the graph and does not say why"
    fault = parser.get_error(0)
    why = " ".join(str(fault.desc()).split())[:200]
    return f"TensorRT's parser refuses node {fault.node_name()!r} ({fault.node_operator()}): {why}"


def _first_line(messages: list[str]) -> str:
    return " ".join(messages[0].split())[:300] if messages else "it does not say why"


def count_products(network: Any) -> dict[str, int]:
    """GEMMs and convolutions by the type they multiply in. The network is strongly typed, which binds the builder."""
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    makers = {layer.get_output(slot).name: layer for layer in layers for slot in range(layer.num_outputs)}
    counts = {"int8": 0, "half": 0, "float": 0}
    for layer in layers:
        if layer.type.name in PRODUCTS:
            counts[_kind(layer, makers)] += 1
    return counts


def _kind(layer: Any, makers: dict[str, Any]) -> str:
    factors = [tensor for slot in range(min(2, layer.num_inputs)) if (tensor := layer.get_input(slot)) is not None]
    if len(factors) == 2 and all(_from_int8(tensor, makers) for tensor in factors):
        return "int8"
    return "half" if layer.get_output(0).dtype.name in ("HALF", "BF16") else "float"


def _from_int8(tensor: Any, makers: dict[str, Any]) -> bool:
    maker = makers.get(tensor.name)
    while maker is not None and maker.type.name in TRANSPARENT:
        maker = makers.get(maker.get_input(0).name)
    return maker is not None and maker.type.name == "DEQUANTIZE" and maker.get_input(0).dtype.name == "INT8"
