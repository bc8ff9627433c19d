"""Embedding tables in int8, one scale a row: a quarter of the bytes, and rounded to 1/254 of each row's own peak.

Gather(table) becomes Cast(Gather(int8 table)) x Gather(scales): standard operators, that every runtime has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edgepress.targets.onnx_graph.view import View, attribute, names_in_subgraphs

if TYPE_CHECKING:
    import onnx

# Smaller tables (token types, short position tables) cost more in nodes than they save in bytes.
SMALLEST_TABLE = 64 * 1024


def quantize_rows(table: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """Symmetric int8 `[rows, columns]` and scales `[rows, 1]`; a row of zeros gets scale 1.

    >>> quantize_rows(np.array([[1.27, -0.5]], np.float32))[0].tolist()
    [[127, -50]]
    """
    peaks = np.abs(table).max(axis=1, keepdims=True)
    scales = np.where(peaks > 0, peaks / 127, 1.0).astype(np.float32)
    return np.clip(np.round(table / scales), -127, 127).astype(np.int8), scales


def find_tables(model: onnx.ModelProto) -> tuple[str, ...]:
    """Float tables `[rows, columns]` of at least 64 KiB that are read by row lookups alone."""
    import onnx

    view, hidden = View.of(model), names_in_subgraphs(model.graph)
    found = []
    for name, tensor in view.initializers.items():
        large = tensor.data_type == onnx.TensorProto.FLOAT and 4 * np.prod(tensor.dims) >= SMALLEST_TABLE
        readers = view.consumers.get(name, [])
        looked_up = bool(readers) and name not in hidden and all(is_lookup(node, name) for node in readers)
        if large and len(tensor.dims) == 2 and looked_up:
            found.append(name)
    return tuple(found)


def is_lookup(node: onnx.NodeProto, table: str) -> bool:
    return node.op_type == "Gather" and node.input[0] == table and attribute(node, "axis", 0) == 0


def quantize_embeddings(model: onnx.ModelProto) -> tuple[str, ...]:
    """Change the tables of `find_tables` in place; returns a line about each."""
    notes = []
    for name in find_tables(model):
        rows, columns = _replace_table(model, name)
        notes.append(f"embedding table {name} [{rows}, {columns}] is int8 with a scale for each row")
    return tuple(notes)


def _replace_table(model: onnx.ModelProto, name: str) -> tuple[int, int]:
    from onnx import numpy_helper

    view = View.of(model)
    values, scales = quantize_rows(numpy_helper.to_array(view.initializers[name]))
    model.graph.initializer.remove(view.initializers[name])
    model.graph.initializer.append(numpy_helper.from_array(values, f"{name}_int8"))
    model.graph.initializer.append(numpy_helper.from_array(scales, f"{name}_scale"))
    nodes = list(model.graph.node)
    changed: list[onnx.NodeProto] = []
    for node in nodes:
        changed.extend(_lookup(node, name) if name in node.input else [node])
    del model.graph.node[:]
    model.graph.node.extend(changed)
    return values.shape[0], values.shape[1]


def _lookup(node: onnx.NodeProto, table: str) -> list[onnx.NodeProto]:
    from onnx import TensorProto, helper

    out, ids = node.output[0], node.input[1]
    # Not "<out>_scale": where a MatMul reads the rows, ONNX Runtime's quantizer gives its own scale that name.
    rows, rounded, scales = f"{out}_row_int8", f"{out}_row_rounded", f"{out}_row_scale"
    make = helper.make_node
    return [
        make("Gather", [f"{table}_int8", ids], [rows], name=f"{node.name}_row_int8", axis=0),
        make("Cast", [rows], [rounded], name=f"{node.name}_row_cast", to=TensorProto.FLOAT),
        make("Gather", [f"{table}_scale", ids], [scales], name=f"{node.name}_row_scale", axis=0),
        make("Mul", [rounded, scales], [out], name=f"{node.name}_row_mul"),
    ]
