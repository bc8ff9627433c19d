"""fp32 ONNX file → explicit symmetric int8 QDQ as TensorRT takes it: s8 x s8, weights by channel, no zero points."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgepress.targets.calibration.statistics import RangeRule
from edgepress.targets.errors import TargetError
from edgepress.targets.exportable import TrainedInput
from edgepress.targets.graph.trained import QAT, trained_note
from edgepress.targets.onnx_graph.int8 import write_static
from edgepress.targets.onnx_graph.view import name_nodes, weighted_nodes
from edgepress.targets.records import Feeds


def write_qdq(
    path: Path,
    method: RangeRule,
    calibration: Sequence[Feeds],
    out: Path,
    trained: Sequence[TrainedInput] = (),
) -> str:
    """Quantize the inputs of every layer with weights, and nothing else.

    Args:
        path: of the fp32 graph.
        method: how ranges of activations are chosen.
        calibration: batches of real inputs that they are chosen from.
        out: the file to write.
        trained: ranges that the model was trained with, which go before those of `method`.

    Returns:
        What was done, in a line.

    Raises:
        TargetError: no layer with weights, no calibration batch, or a layer that could not be quantized.
    """
    import onnx

    model = onnx.load(path)
    name_nodes(model)
    names = tuple(node.name for node in weighted_nodes(model))
    if not names:
        raise TargetError("the graph has no layer with weights to make int8. Export it in fp32 or fp16.")
    taken = write_static(model, names, "float", method, calibration, out, symmetric=True, trained=trained)
    note = f"all {len(names)} layers with weights are int8 with {method} ranges"
    return f"{note}; {trained_note(QAT, taken, len(names))}" if trained else note
