"""Zeros among the weights of a .tflite: its programs share them, and each is counted once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgepress.targets.records import WeightCount
from edgepress.targets.tflite_mobile.view import View


def count_zeros(path: Path) -> WeightCount:
    """Float and int8 constants of two and more dimensions, and the zeros among them: int8 ones at their zero point."""
    view = View.of(path)
    content = path.read_bytes()
    seen: set[int] = set()
    weights = zeros = 0
    for graph in view.model.subgraphs:
        for tensor in graph.tensors:
            if tensor.buffer in seen or len(_shape(tensor)) < 2 or not view.is_constant(tensor):
                continue
            if (values := values_of(view, tensor, content)) is not None:
                seen.add(tensor.buffer)
                weights += values.size
                zeros += int(np.count_nonzero(values == _zero_point(tensor, values.shape)))
    return WeightCount(weights=weights, zeros=zeros)


def _shape(tensor: Any) -> list[int]:
    return [] if tensor.shape is None else [int(size) for size in tensor.shape]


def values_of(view: View, tensor: Any, content: bytes) -> np.ndarray | None:
    """None for what is no weight: numbers that say shapes and places."""
    types = view.schema.TensorType
    dtypes = {types.FLOAT32: np.float32, types.FLOAT16: np.float16, types.INT8: np.int8}
    if tensor.type not in dtypes:
        return None
    buffer = view.model.buffers[tensor.buffer]
    data = np.asarray(buffer.data, np.uint8).tobytes() if not buffer.offset else b""
    if buffer.offset:
        data = content[buffer.offset : buffer.offset + buffer.size]
    return np.frombuffer(data, dtypes[tensor.type]).reshape(_shape(tensor))


def _zero_point(tensor: Any, shape: tuple[int, ...]) -> np.ndarray | int:
    quantization = tensor.quantization
    points = None if quantization is None else quantization.zeroPoint
    if points is None or len(points) == 0:
        return 0
    if len(points) == 1:
        return int(points[0])
    broad = [1] * len(shape)
    broad[quantization.quantizedDimension] = len(points)
    return np.asarray(points).reshape(broad)
