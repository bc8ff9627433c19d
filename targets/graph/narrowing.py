"""Exact optimisation of exported graphs: compute only the positions that are read.

A classifier reads position 0 of the last hidden state (`hidden[:, 0]`), yet its last layer computes all of them. Here
the selection moves towards the inputs, so that the last layer's queries, attention output and feed-forward network are
computed for one position; keys and values still see all of them. The numbers stay the same, no exporter does it.

Decide, then do: `plan_narrowing` finds the nodes of which one position is enough, `push_selects_down` edits them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch._subclasses.fake_tensor import FakeTensor

from edgepress.targets.exportable import Exportable
from edgepress.targets.graph.export import export_program
from edgepress.targets.graph.narrowing_rules import LAYOUT_OPS, arguments_to_narrow, narrowed_arguments, shape_of
from edgepress.targets.records import Feeds

if TYPE_CHECKING:
    from torch.export import ExportedProgram
    from torch.fx import Graph, Node

aten = torch.ops.aten
LAST = 2**63 - 1  # aten.slice's "to the end"


@dataclass(frozen=True)
class Position:
    """Position `index` of dimension `dim`."""

    dim: int
    index: int


@dataclass(frozen=True)
class Narrowing:
    """Which nodes need one position only, and which nodes read it out (the selections the search started from)."""

    nodes: dict[Node, Position]
    readers: dict[Node, Position]

    @property
    def computing(self) -> int:
        """Number of narrowed nodes that compute; transposes and views save nothing by themselves."""
        return sum(node.target not in LAYOUT_OPS for node in self.nodes)


def inference_program(model: Exportable, example: Feeds) -> ExportedProgram:
    """`export_program`, then `push_selects_down`. Raises the former's errors."""
    program = export_program(model, example)
    push_selects_down(program)
    return program


def push_selects_down(program: ExportedProgram) -> int:
    """Narrow `program` in place to the positions its outputs depend on; returns how many nodes became cheaper.

    Signature, outputs and dynamic dimensions stay the same; a graph without such selections is left untouched.
    """
    graph = program.graph
    plan = plan_narrowing(graph)
    if plan.computing == 0:
        return 0
    changed = _apply(graph, plan)
    _propagate_shapes(graph, changed)
    graph.eliminate_dead_code()
    graph.lint()
    program.graph_module.recompile()
    return plan.computing


def plan_narrowing(graph: Graph) -> Narrowing:
    """A node is narrowed when all its users read the same one position of it and its operation has a rule.

    Walked from the outputs to the inputs, so that every user is decided before the node itself.
    """
    plan = Narrowing({}, {})
    for node in reversed(graph.nodes):
        if (position := _agreed_position(node, plan)) and arguments_to_narrow(node, position.dim) is not None:
            plan.nodes[node] = position
        elif (position := _selected(node)) and _is_wide(node.all_input_nodes[0], position.dim):
            plan.readers[node] = position
    # A reader whose source is not narrowed stays as it is.
    readers = {node: position for node, position in plan.readers.items() if node.args[0] in plan.nodes}
    return Narrowing(plan.nodes, readers)


def _agreed_position(node: Node, plan: Narrowing) -> Position | None:
    """The position of `node` that all its users read, or None when they need more than one."""
    wanted = {_wanted_by(user, node, plan) for user in node.users if not _only_checks_type(user)}
    position = wanted.pop() if len(wanted) == 1 else None
    return position if position and _is_wide(node, position.dim) else None


def _wanted_by(user: Node, node: Node, plan: Narrowing) -> Position | None:
    if user in plan.readers:
        return plan.readers[user]
    if user not in plan.nodes:
        return None
    position = plan.nodes[user]
    narrow = arguments_to_narrow(user, position.dim) or {}
    dims = {narrow.get(place) for place, argument in enumerate(user.args) if argument is node}
    dim = dims.pop() if len(dims) == 1 else None
    return None if dim is None else Position(dim, position.index)


def _selected(node: Node) -> Position | None:
    """The position that a select, or a slice of length 1, with constant bounds takes."""
    if node.target is aten.select.int and isinstance(node.args[2], int):
        return Position(_dimension(node), node.args[2])
    if node.target is aten.slice.Tensor and len(node.args) == 4 and not node.kwargs:
        start, end = node.args[2] or 0, node.args[3]
        if isinstance(start, int) and (end == start + 1 or (start == -1 and end in (None, LAST))):
            return Position(_dimension(node), start)
    return None


def _dimension(node: Node) -> int:
    rank = len(shape_of(node.all_input_nodes[0]))
    dim: Any = node.args[1]
    return int(dim) % rank


def _is_wide(node: Node, dim: int) -> bool:
    shape = shape_of(node)
    return len(shape) > dim and not (isinstance(shape[dim], int) and shape[dim] == 1)


def _only_checks_type(user: Node) -> bool:
    """aten._assert_tensor_metadata without size and stride holds for any shape."""
    return user.target is aten._assert_tensor_metadata.default and not any(user.args[1:3])


def _apply(graph: Graph, plan: Narrowing) -> set[Node]:
    """Edit the planned nodes in place and slice what they read from nodes that stay whole."""
    changed: set[Node] = set()
    slices: dict[tuple[Node, Position], Node] = {}
    for node in [node for node in graph.nodes if node in plan.nodes]:
        position = plan.nodes[node]
        arguments = narrowed_arguments(node, position.dim)
        for place, dim in (arguments_to_narrow(node, position.dim) or {}).items():
            source: Any = node.args[place]
            if source in plan.nodes:
                continue
            key = (source, Position(dim, position.index))
            if key not in slices:
                slices[key] = _insert_slice(graph, node, *key)
            arguments[place] = slices[key]
        node.args = tuple(arguments)
        changed |= {node, *slices.values()}
    for reader in plan.readers:
        first = (0,) if reader.target is aten.select.int else (0, 1)
        reader.args = (*reader.args[:2], *first)
    return changed | set(plan.readers)


def _insert_slice(graph: Graph, user: Node, source: Node, position: Position) -> Node:
    end = LAST if position.index == -1 else position.index + 1
    with graph.inserting_before(user):
        node = graph.call_function(aten.slice.Tensor, (source, position.dim, position.index, end))
    node.meta = {key: value for key, value in user.meta.items() if key != "val"}
    return node


def _propagate_shapes(graph: Graph, changed: set[Node]) -> None:
    """Recompute `meta["val"]` of the changed nodes with the fake tensors they were traced with."""

    def value_of(node: Node) -> Any:
        return node.meta["val"]

    for node in graph.nodes:
        if node in changed:
            arguments = torch.fx.node.map_arg(node.args, value_of)
            inputs = [value_of(source) for source in node.all_input_nodes]
            with next(value.fake_mode for value in inputs if isinstance(value, FakeTensor)):
                node.meta["val"] = node.target(*arguments, **node.kwargs)
