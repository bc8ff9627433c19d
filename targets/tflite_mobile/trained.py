"""Ranges that a model was trained with, in the place of those that a .tflite was calibrated with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgepress.targets.graph.trained import QAT, load_trained, trained_note, trained_ranges
from edgepress.targets.tflite_mobile.view import View
from edgepress.targets.tflite_mobile.zeros import values_of

PRODUCTS = ("FULLY_CONNECTED", "CONV_2D", "DEPTHWISE_CONV_2D")
# What they write has the values of what they read, and zeros: their input gets the range of their output.
MOVING = ("RESHAPE", "TRANSPOSE", "PAD", "MAX_POOL_2D")


@dataclass(frozen=True)
class Product:
    """A layer: its float weight, and names of the tensors that hold what it reads, also before they were moved."""

    weight: np.ndarray
    reads: tuple[str, ...]


def take_trained(ranges: dict[str, Any], model: Path, path: str) -> str:
    """Put trained ranges in the place of calibrated ones, in `ranges`.

    Args:
        ranges: {tensor: {"min": array, "max": array}}.
        model: the fp32 file.
        path: of the trained ranges.

    Returns:
        A note of how many layers have one.

    Raises:
        TargetError: none has.
    """
    layers = {str(number): layer for number, layer in enumerate(products(model))}
    found = trained_ranges({number: layer.weight for number, layer in layers.items()}, load_trained(path))
    for number, one in found.items():
        for name in ranges.keys() & layers[number].reads:  # what stays float between layers needs none
            shape = ranges[name]["min"].shape
            low, high = min(one.low, 0.0), max(one.high, 0.0)
            ranges[name] = {"min": np.full(shape, low, np.float32), "max": np.full(shape, high, np.float32)}
    return trained_note(QAT, len(found), len(layers))


def products(path: Path) -> Iterator[Product]:
    """The layers with float weights of their own, of all programs of a file."""
    view, content = View.of(path), path.read_bytes()
    for graph in view.model.subgraphs:
        writers: dict[int, Any] = {}
        for operator in graph.operators:
            writers.update(dict.fromkeys(operator.outputs, operator))
            if view.name_of(operator) not in PRODUCTS:
                continue
            weight = graph.tensors[operator.inputs[1]]
            if view.is_constant(weight) and (values := values_of(view, weight, content)) is not None:
                places = _moved(view, writers, int(operator.inputs[0]))
                yield Product(values, tuple(graph.tensors[place].name.decode() for place in places))


def _moved(view: View, writers: dict[int, Any], place: int) -> Iterator[int]:
    """A tensor, and those that it was moved from."""
    yield place
    while place in writers and view.name_of(writers[place]) in MOVING:
        place = int(writers[place].inputs[0])
        yield place
