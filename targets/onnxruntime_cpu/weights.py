"""Weights of 8 or 4 bits in blocks for ONNX Runtime: what can be tried for a decoder, and the graph of each.

A decoder's step reads every weight for one token, so that its time is the time of reading them. `MatMulNBits` reads
codes and scales; with accuracy level 4 it rounds its activations to int8 too, block by block as they come, and
multiplies int8 by int8. Level 0 would multiply floats, at the time of fp32 and, with 8 bits, far above it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from edgepress.targets.blockwise.blocks import Blocks, Floats, quantize
from edgepress.targets.blockwise.gptq import compensated
from edgepress.targets.calibration.statistics import collect_statistics
from edgepress.targets.errors import TargetError
from edgepress.targets.onnx_graph.embedding import is_lookup
from edgepress.targets.onnx_graph.macs import INT8_INSIDE
from edgepress.targets.onnx_graph.view import View, drop_unread, drop_unused, names_in_subgraphs, reader
from edgepress.targets.onnxruntime_cpu.int8 import load_graph, split_gemms
from edgepress.targets.records import Candidate, Feeds, Precision, Record

if TYPE_CHECKING:
    import onnx

DOMAIN = "com.microsoft"


class WeightOptions(Record):
    """How a weight-only graph is made.

    `bits` of the layers' weights and `table_bits` of the embedding table and the head; `block`: inputs that share a
    scale. `rounding`: each weight to its nearest code, or by GPTQ, whose later inputs make up for the errors of those
    before them.
    """

    bits: Literal[4, 8]
    table_bits: Literal[4, 8]
    block: Literal[16, 32, 64, 128] = 32
    rounding: Literal["nearest", "gptq"] = "nearest"


WEIGHTS: dict[str, WeightOptions] = {
    "int8-weights": WeightOptions(bits=8, table_bits=8),
    "int4-weights": WeightOptions(bits=4, table_bits=8, rounding="gptq"),
    "int4-weights-small-table": WeightOptions(bits=4, table_bits=4, rounding="gptq"),
    "int4-weights-block-64": WeightOptions(bits=4, table_bits=8, block=64, rounding="gptq"),
    "int4-weights-nearest": WeightOptions(bits=4, table_bits=8),
}


@dataclass(frozen=True)
class Layer:
    """A product with a learned weight: `node` reads `weight`, which is stored as `[outputs, inputs]` if `turned`."""

    node: onnx.NodeProto
    weight: str
    turned: bool


def weight_candidates(precision: Precision) -> tuple[Candidate, ...]:
    """The ways to store a decoder's weights in `precision`, best guess first."""
    return tuple(
        Candidate(name=name, precision=precision, options=options.model_dump(mode="json"))
        for name, options in WEIGHTS.items()
        if f"int{options.bits}" == precision
    )


def write_weights(fp32: Path, candidate: Candidate, calibration: Sequence[Feeds], out: Path) -> tuple[str, ...]:
    """Write the graph with weights in codes.

    Args:
        fp32: the graph that it is made of.
        candidate: its options are those of `WeightOptions`.
        calibration: batches of real inputs, of which GPTQ takes what flows into each layer.
        out: the file to write.

    Returns:
        What was done, a line each.

    Raises:
        TargetError: there is no layer with weights, no calibration batch where GPTQ needs one, or a graph of more than
            2 GiB.
    """
    import onnx

    options = WeightOptions(**candidate.options)
    model = load_graph(fp32)
    split_gemms(model)
    tables = find_tables(model)
    view = View.of(model)
    layers = _tied(view, find_layers(model), tables)
    if not layers:
        raise TargetError(
            f"candidate {candidate.name!r}: {fp32.name} has no product with weights to store. Leave it out."
        )
    heads = {layer.weight for layer in layers if layer.weight in tables}
    last = {layer.weight for layer in layers[-1:]}  # the head: its outputs are the vocabulary
    plan = {layer.weight: options.table_bits if layer.weight in heads | last else options.bits for layer in layers}
    products: Mapping[str, Products] = {}
    if options.rounding == "gptq":
        names = [layer.node.input[0] for layer in layers if layer.weight not in heads | last]
        products = collect_statistics(reader(model, names), calibration, {name: Products() for name in names})
    stored: dict[str, Blocks] = {}
    for layer in layers:
        if layer.weight not in stored:
            known = products.get(layer.node.input[0])
            stored[layer.weight] = _blocks(view, layer, plan[layer.weight], options.block, known)
    for name in tables:
        if name not in stored:
            stored[name] = quantize(_table(view, name), options.table_bits, options.block)
    _rewrite(model, layers, tables, stored)
    onnx.checker.check_model(model)
    onnx.save(model, out)
    return _notes(layers, tables, stored, options)


@dataclass(frozen=True)
class Products:
    """XᵀX over all places of what flows into a layer, `[inputs, inputs]`, each place at the same size: what follows is
    normalised, and the few places with thousandfold activations (a text's first token) would be all that counts.
    """

    sums: Floats | None = None

    def add(self, values: np.ndarray) -> Products:
        rows = values.reshape(-1, values.shape[-1]).astype(np.float32)
        sizes = np.sqrt(np.square(rows).mean(-1, keepdims=True))
        rows = np.asarray(rows / np.where(sizes > 0, sizes, 1), np.float32)
        found: Floats = rows.T @ rows
        return Products(found if self.sums is None else self.sums + found)


def find_layers(model: onnx.ModelProto) -> tuple[Layer, ...]:
    """Products of an activation and a learned matrix, in execution order; of a head that is tied to the embedding, the
    table behind its transposition."""
    view = View.of(model)
    found = []
    for node in model.graph.node:
        if node.op_type != "MatMul" or view.is_fixed(node) or node.input[0] in view.initializers:
            continue
        table = view.turned(node.input[1])
        weight = node.input[1] if table is None else table
        if view.is_matrix(weight):
            found.append(Layer(node, weight, table is not None))
    return tuple(found)


def _tied(view: View, layers: tuple[Layer, ...], tables: Sequence[str]) -> tuple[Layer, ...]:
    """The same, the head reading the table where it is a transposed copy of it: exporters fold small ones."""
    if not layers or layers[-1].turned:
        return layers
    head, straight = layers[-1], _table(view, layers[-1].weight).T
    for name in tables:
        if np.array_equal(_table(view, name), straight):
            return (*layers[:-1], Layer(head.node, name, turned=True))
    return layers


def find_tables(model: onnx.ModelProto) -> tuple[str, ...]:
    """Learned matrices of which rows are looked up."""
    view, hidden = View.of(model), names_in_subgraphs(model.graph)
    tables = {node.input[0]: None for node in model.graph.node if is_lookup(node, node.input[0])}
    return tuple(name for name in tables if view.is_matrix(name) and name not in hidden)


def _table(view: View, name: str) -> Floats:
    value = view.constant(name)
    assert value is not None
    return np.asarray(value, np.float32)


def _blocks(view: View, layer: Layer, bits: int, block: int, products: Products | None) -> Blocks:
    weight = _table(view, layer.weight)
    weight = weight if layer.turned else np.ascontiguousarray(weight.T)
    if products is None or products.sums is None:
        return quantize(weight, bits, block)
    return compensated(weight, bits, block, products.sums)


def _rewrite(
    model: onnx.ModelProto, layers: Sequence[Layer], tables: Sequence[str], stored: Mapping[str, Blocks]
) -> None:
    """Products and look-ups read codes; a table that is the head too is in the file once."""
    from onnx import helper

    products = {layer.node.name: layer for layer in layers}
    looked_up = set(tables)
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        layer = products.get(node.name)
        if layer is not None:
            nodes.append(_product(node, layer.weight, stored[layer.weight]))
        elif node.input and is_lookup(node, node.input[0]) and node.input[0] in looked_up:
            nodes += _lookup(node, node.input[0], stored[node.input[0]])
        else:
            nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    for name, blocks in stored.items():
        _store(model, name, blocks)
    drop_unread(model, "Transpose")
    drop_unused(model)
    if all(entry.domain != DOMAIN for entry in model.opset_import):
        model.opset_import.append(helper.make_opsetid(DOMAIN, 1))


def _product(node: onnx.NodeProto, weight: str, blocks: Blocks) -> onnx.NodeProto:
    from onnx import helper

    inputs = [node.input[0], f"{weight}_codes", f"{weight}_scales"]
    return helper.make_node(
        "MatMulNBits",
        [*inputs, f"{weight}_zeros"] if blocks.zeros is not None else inputs,
        list(node.output),
        name=node.name,
        domain=DOMAIN,
        K=blocks.inputs,
        N=len(blocks.codes),
        bits=blocks.bits,
        block_size=blocks.block,
        accuracy_level=INT8_INSIDE,
    )


def _lookup(node: onnx.NodeProto, table: str, blocks: Blocks) -> list[onnx.NodeProto]:
    """Rows of the codes; the same bytes as a product's, in the shape that a look-up wants."""
    from onnx import helper

    flat, inputs = f"{node.output[0]}_codes", [node.input[1], f"{table}_scales"]
    whole = blocks.codes.shape[1] * blocks.block == blocks.inputs
    rows = node.output[0] if whole else f"{node.output[0]}_rows"
    nodes = [
        helper.make_node("Reshape", [f"{table}_codes", f"{table}_flat"], [flat], name=f"{node.name}_codes"),
        helper.make_node(
            "GatherBlockQuantized",
            [flat, *inputs, f"{table}_zeros"] if blocks.zeros is not None else [flat, *inputs],
            [rows],
            name=node.name,
            domain=DOMAIN,
            bits=blocks.bits,
            block_size=blocks.block,
            gather_axis=0,
            quantize_axis=1,
        ),
    ]
    if not whole:
        ends = [f"{table}_first", f"{table}_inputs", f"{table}_last_axis"]
        nodes.append(helper.make_node("Slice", [rows, *ends], list(node.output), name=f"{node.name}_cut"))
    return nodes


def _store(model: onnx.ModelProto, name: str, blocks: Blocks) -> None:
    from onnx import numpy_helper

    constants: dict[str, np.ndarray | None] = {
        f"{name}_codes": blocks.data,
        f"{name}_scales": blocks.grid.scales,
        f"{name}_zeros": blocks.zeros,
        f"{name}_flat": np.array([len(blocks.codes), -1], np.int64),
        f"{name}_first": np.array([0], np.int64),
        f"{name}_inputs": np.array([blocks.inputs], np.int64),
        f"{name}_last_axis": np.array([-1], np.int64),
    }
    model.graph.initializer.extend(
        numpy_helper.from_array(value, key) for key, value in constants.items() if value is not None
    )


def _notes(
    layers: Sequence[Layer], tables: Sequence[str], stored: Mapping[str, Blocks], options: WeightOptions
) -> tuple[str, ...]:
    how = "GPTQ" if options.rounding == "gptq" else "to the nearest"
    count = sum(stored[layer.weight].bits == options.bits for layer in layers)
    notes = [f"{count} of {len(layers)} layers have weights of {options.bits} bits in blocks of {options.block}, {how}"]
    heads = {layer.weight for layer in layers}
    for name in tables:
        rows, columns = len(stored[name].codes), stored[name].inputs
        both = ", which is the head too and in the file once," if name in heads else ""
        notes.append(f"embedding table {name} [{rows}, {columns}]{both} has {stored[name].bits} bits")
    return tuple(notes)
