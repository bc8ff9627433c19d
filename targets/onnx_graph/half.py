"""fp32 or QDQ ONNX file → the same graph with fp16 weights and arithmetic; inputs and outputs keep their types."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgepress.targets.errors import TargetError, told
from edgepress.targets.process.quiet import quiet

if TYPE_CHECKING:
    import onnx


def to_half(path: Path, out: Path) -> None:
    """Write `out`, checked.

    Raises:
        TargetError: the converter or the checker refuses the graph, or its weights lie in a file of their own.
    """
    import onnx
    from onnxconverter_common import float16

    if path.with_name(f"{path.name}.data").exists():
        raise TargetError(f"{path.name} has its weights in a second file: above 2 GiB no fp16 graph can be made here")
    try:
        with quiet():
            # The list of blocked operators is for old runtimes; it would leave islands of fp32 around each QDQ pair.
            half = float16.convert_float_to_float16(onnx.load(path), keep_io_types=True, op_block_list=[])
        _casts_to_half(half.graph)
        onnx.checker.check_model(half)
    except Exception as fault:  # the converter's and the checker's errors share no base class
        raise TargetError(f"no fp16 graph could be made: {told(fault)}") from fault
    onnx.save(half, out)


def _casts_to_half(graph: onnx.GraphProto) -> None:
    """What is cast to fp32 on the way, such as a mask, meets fp16 there: the converter leaves these casts as they are,
    and TensorRT refuses products of two types."""
    import onnx

    outputs = {value.name for value in graph.output}
    casts = (node for node in graph.node if node.op_type == "Cast" and outputs.isdisjoint(node.output))
    for attribute in (attribute for node in casts for attribute in node.attribute if attribute.name == "to"):
        if attribute.i == onnx.TensorProto.FLOAT:
            attribute.i = onnx.TensorProto.FLOAT16
