"""Looking into an ONNX graph: constants, producers, consumers, weighted layers, and the values of inner tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from edgepress.targets.errors import TargetError, told
from edgepress.targets.graph.fixed import is_fixed
from edgepress.targets.records import Feeds

if TYPE_CHECKING:
    import onnx

# Ops that multiply an activation by a weight, their weight at input 1.
WEIGHTED = ("MatMul", "Gemm", "Conv", "ConvTranspose")
SWAPPED = [1, 0]
Reader = Callable[[Feeds], dict[str, np.ndarray]]


@dataclass(frozen=True)
class View:
    """The top graph of a model, indexed once. Edits of the graph are not seen: make a new view after them."""

    initializers: Mapping[str, onnx.TensorProto]
    producers: Mapping[str, onnx.NodeProto]
    consumers: Mapping[str, list[onnx.NodeProto]]
    outputs: frozenset[str] = field(default_factory=frozenset)

    @classmethod
    def of(cls, model: onnx.ModelProto) -> View:
        consumers: dict[str, list[onnx.NodeProto]] = {}
        for node in model.graph.node:
            # x * x reads one tensor twice and is one consumer.
            for name in dict.fromkeys(node.input):
                consumers.setdefault(name, []).append(node)
        return cls(
            initializers={tensor.name: tensor for tensor in model.graph.initializer},
            producers={name: node for node in model.graph.node for name in node.output if name},
            consumers=consumers,
            outputs=frozenset(output.name for output in model.graph.output),
        )

    def constant(self, name: str) -> np.ndarray | None:
        """The value of an initializer or Constant node; None for a computed tensor."""
        from onnx import numpy_helper

        if name in self.initializers:
            return numpy_helper.to_array(self.initializers[name])
        producer = self.producers.get(name)
        if producer is not None and producer.op_type == "Constant" and producer.attribute[0].name == "value":
            return numpy_helper.to_array(producer.attribute[0].t)
        return None

    def turned(self, name: str) -> str | None:
        """The matrix that a tensor is the transposition of, as the weight of a head that is tied to an embedding; None
        for any other."""
        producer = self.producers.get(name)
        if producer is None or producer.op_type != "Transpose" or attribute(producer, "perm", SWAPPED) != SWAPPED:
            return None
        return str(producer.input[0])

    def is_matrix(self, name: str) -> bool:
        """Whether it is a constant float matrix."""
        import onnx

        tensor = self.initializers.get(name)
        return tensor is not None and tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.dims) == 2

    def is_weighted(self, node: onnx.NodeProto) -> bool:
        """Whether `node` multiplies an activation by a learned float initializer of at least two dimensions."""
        import onnx

        if (
            self.is_fixed(node)
            or node.op_type not in WEIGHTED
            or node.input[1] not in self.initializers
            or node.input[0] in self.initializers
        ):
            return False
        weight = self.initializers[node.input[1]]
        return weight.data_type == onnx.TensorProto.FLOAT and len(weight.dims) >= 2

    def is_fixed(self, node: onnx.NodeProto) -> bool:
        """Whether `node` multiplies by weights that are computed, not learned, and stay float: see `graph.fixed`."""
        return node.op_type in WEIGHTED and is_fixed(node.input[1])


def fixed_part(model: onnx.ModelProto) -> frozenset[str]:
    """Names of the products with fixed weights and of all nodes before them, between which nothing is int8 either."""
    view = View.of(model)
    found: dict[str, onnx.NodeProto] = {}
    waiting = [node for node in model.graph.node if view.is_fixed(node)]
    while waiting:
        node = waiting.pop()
        if node.name not in found:
            found[node.name] = node
            waiting += [view.producers[name] for name in node.input if name in view.producers]
    return frozenset(found)


def weighted_nodes(model: onnx.ModelProto) -> tuple[onnx.NodeProto, ...]:
    """The layers that carry weights, in execution order; activation x activation products are none."""
    view = View.of(model)
    return tuple(node for node in model.graph.node if view.is_weighted(node))


def name_nodes(model: onnx.ModelProto) -> None:
    """Give every node a name of its own; quantizers and plans refer to nodes by name."""
    taken: set[str] = set()
    for index, node in enumerate(model.graph.node):
        if not node.name or node.name in taken:
            node.name = f"{node.op_type}_{index}"
        taken.add(node.name)


def subgraphs(graph: onnx.GraphProto) -> tuple[onnx.GraphProto, ...]:
    """The bodies of If, Loop and Scan nodes, at any depth."""
    found: list[onnx.GraphProto] = []
    for node in graph.node:
        for entry in node.attribute:
            for body in (*entry.graphs, *([entry.g] if entry.HasField("g") else [])):
                found.extend((body, *subgraphs(body)))
    return tuple(found)


def names_in_subgraphs(graph: onnx.GraphProto) -> frozenset[str]:
    """Tensors that bodies of control flow read, those of the outer graph among them."""
    bodies = subgraphs(graph)
    read = {name for body in bodies for node in body.node for name in node.input}
    return frozenset(read | {output.name for body in bodies for output in body.output})


def names_read(model: onnx.ModelProto) -> set[str]:
    """Tensors that a node, a body of control flow or the model's caller reads."""
    read = {name for node in model.graph.node for name in node.input} | names_in_subgraphs(model.graph)
    return read | {output.name for output in model.graph.output}


def drop_unread(model: onnx.ModelProto, kind: str) -> None:
    """Remove nodes of one kind of operator whose output nothing reads any more."""
    read = names_read(model)
    kept = [node for node in model.graph.node if node.op_type != kind or node.output[0] in read]
    del model.graph.node[:]
    model.graph.node.extend(kept)


def drop_unused(model: onnx.ModelProto) -> None:
    """Remove initializers that nothing reads."""
    used = names_read(model)
    # A body of If or Loop reads initializers of the outer graph without an input of its own that names them.
    kept = [tensor for tensor in model.graph.initializer if tensor.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)


def attribute(node: onnx.NodeProto, name: str, default: int | float | list[int]) -> int | float | list[int]:
    """The value of an integer, float or integer-list attribute.

    Args:
        node: that may have it.
        name: of the attribute.
        default: the operator's own, for a node that does not say.
    """
    from onnx import helper

    for entry in node.attribute:
        if entry.name == name:
            value: int | float | list[int] = helper.get_attribute_value(entry)
            return value
    return default


def reader(model: onnx.ModelProto, names: Iterable[str]) -> Reader:
    """A function that runs the graph on one batch and returns the tensors `names`: inner ones, inputs and outputs.

    Raises:
        TargetError: the runtime refuses the graph.
    """
    import onnx
    import onnxruntime

    wanted = tuple(dict.fromkeys(names))
    inputs = {value.name for value in model.graph.input}
    tapped = onnx.ModelProto()
    tapped.CopyFrom(model)
    del tapped.graph.output[:]
    tapped.graph.output.extend(onnx.ValueInfoProto(name=name) for name in wanted if name not in inputs)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(tapped.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as fault:
        raise TargetError(f"ONNX Runtime refuses the graph: {told(fault)}") from fault
    outputs = [output.name for output in session.get_outputs()]

    def read(feeds: Feeds) -> dict[str, np.ndarray]:
        given = {name: value for name, value in feeds.items() if name in wanted}
        return given | (dict(zip(outputs, session.run(outputs, dict(feeds)), strict=True)) if outputs else {})

    return read
