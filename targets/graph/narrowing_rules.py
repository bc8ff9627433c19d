"""Per operation: which inputs need one position only when one position of the output is read.

`arguments_to_narrow(node, dim)` answers {place in node.args: dimension of that input}; inputs not named are needed
whole. None means "no rule: read the position out of this node's result". Dimensions are counted from the front.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch.fx import Node

aten = torch.ops.aten
Places = dict[int, int]

POINTWISE = {
    *(aten.relu.default, aten.gelu.default, aten.tanh.default, aten.silu.default, aten.sigmoid.default),
    *(aten.hardswish.default, aten.hardtanh.default, aten.mish.default, aten.erf.default, aten.exp.default),
    *(aten.neg.default, aten.sqrt.default, aten.rsqrt.default, aten.pow.Tensor_Scalar, aten.clamp.default),
    *(aten.add.Tensor, aten.sub.Tensor, aten.mul.Tensor, aten.div.Tensor, aten.mul.Scalar, aten.div.Scalar),
    *(aten.clone.default, aten.contiguous.default, aten.detach.default, aten.alias.default, aten._to_copy.default),
    *(aten.to.dtype, aten.to.device, aten.to.dtype_layout, aten.dropout.default),
}
VIEWS = {aten.view.default, aten.reshape.default, aten._unsafe_view.default}
LAYOUT_OPS = {
    *VIEWS,
    *(aten.transpose.int, aten.permute.default, aten.unsqueeze.default, aten.expand.default, aten.select.int),
    *(aten.flatten.using_ints, aten.unflatten.int, aten.slice.Tensor, aten.dropout.default, aten._to_copy.default),
    *(aten.clone.default, aten.contiguous.default, aten.detach.default, aten.alias.default),
    *(aten.to.dtype, aten.to.device, aten.to.dtype_layout),
}


def shape_of(node: Node) -> tuple[Any, ...]:
    """Sizes of the node's tensor, symbolic ones included; () for anything else."""
    value = node.meta.get("val")
    return tuple(value.shape) if isinstance(value, torch.Tensor) else ()


def arguments_to_narrow(node: Node, dim: int) -> Places | None:
    """Which inputs of `node` need one position only when one position of `dim` is read, or None without a rule."""
    if any(isinstance(value, torch.fx.Node) for value in node.kwargs.values()):
        return None
    if node.target in POINTWISE:
        training = node.target is aten.dropout.default and node.args[2]
        return None if training else _broadcast(node, dim)
    rule = RULES.get(node.target)
    return rule(node, dim) if rule else None


def narrowed_arguments(node: Node, dim: int) -> list[Any]:
    """A copy of `node.args` with the size of `dim` set to 1 where the operation spells its output sizes out."""
    arguments = list(node.args)
    if node.target in VIEWS or node.target is aten.expand.default:
        sizes: Any = node.args[1]
        arguments[1] = [1 if place == dim else size for place, size in enumerate(sizes)]
    return arguments


def _broadcast(node: Node, dim: int) -> Places:
    """Inputs that have `dim`, and not with size 1; dimensions align at the back."""
    rank = len(shape_of(node))
    places = {}
    for place, argument in enumerate(node.args):
        if not isinstance(argument, torch.fx.Node):
            continue
        shape = shape_of(argument)
        own = dim - (rank - len(shape))
        if own >= 0 and not _is_one(shape[own]):
            places[place] = own
    return places


def _layer_norm(node: Node, dim: int) -> Places | None:
    normalised: Any = node.args[1]
    return {0: dim} if dim < len(shape_of(node)) - len(normalised) else None


def _linear(node: Node, dim: int) -> Places | None:
    return {0: dim} if dim < len(shape_of(node)) - 1 else None


def _matmul(node: Node, dim: int) -> Places | None:
    """`dim` is the row of the left matrix, so the right one is needed whole."""
    factors: Any = node.args
    left, right = shape_of(factors[0]), shape_of(factors[1])
    is_row = dim == len(shape_of(node)) - 2 and min(len(left), len(right)) >= 2
    return {0: len(left) - 2} if is_row else None


def _attention(node: Node, dim: int) -> Places | None:
    """One query position: keys and values are needed whole, and of the mask that row."""
    options: Any = dict(enumerate(node.args))
    mask, dropout, causal = options.get(3), options.get(4, 0.0), options.get(5, False)
    if dim != len(shape_of(node)) - 2 or causal or dropout:
        return None
    if mask is None or _is_one(shape_of(mask)[-2]):
        return {0: dim}
    return {0: dim, 3: len(shape_of(mask)) - 2}


def _softmax(node: Node, dim: int) -> Places | None:
    axis: Any = node.args[1]
    return {0: dim} if axis % len(shape_of(node)) != dim else None


def _transpose(node: Node, dim: int) -> Places:
    first, second = (int(axis) % len(shape_of(node)) for axis in node.args[1:3])  # type: ignore[arg-type]
    return {0: {first: second, second: first}.get(dim, dim)}


def _permute(node: Node, dim: int) -> Places:
    order: Any = node.args[1]
    return {0: int(order[dim]) % len(order)}


def _view(node: Node, dim: int) -> Places | None:
    """Sizes up to and including `dim` stay the same, e.g. [B, S, heads * size] to [B, S, heads, size]."""
    before, after = shape_of(node.all_input_nodes[0]), shape_of(node)
    same = len(before) > dim and all(str(a) == str(b) for a, b in zip(before[: dim + 1], after, strict=False))
    return {0: dim} if same else None


def _unsqueeze(node: Node, dim: int) -> Places | None:
    new = int(node.args[1]) % len(shape_of(node))  # type: ignore[arg-type]
    return None if new == dim else {0: dim if dim < new else dim - 1}


def _select(node: Node, dim: int) -> Places:
    gone = int(node.args[1]) % (len(shape_of(node)) + 1)  # type: ignore[arg-type]
    return {0: dim if dim < gone else dim + 1}


def _slice(node: Node, dim: int) -> Places | None:
    axis: Any = node.args[1] if len(node.args) > 1 else 0
    return {0: dim} if axis % len(shape_of(node)) != dim else None


RULES: dict[Any, Callable[[Any, int], Places | None]] = {
    aten.layer_norm.default: _layer_norm,
    aten.linear.default: _linear,
    aten.matmul.default: _matmul,
    aten.bmm.default: _matmul,
    aten.scaled_dot_product_attention.default: _attention,
    aten.softmax.int: _softmax,
    aten._softmax.default: _softmax,
    aten.transpose.int: _transpose,
    aten.permute.default: _permute,
    aten.view.default: _view,
    aten.reshape.default: _view,
    aten._unsafe_view.default: _view,
    aten.flatten.using_ints: _view,
    aten.unflatten.int: _view,
    aten.expand.default: _broadcast,
    aten.unsqueeze.default: _unsqueeze,
    aten.select.int: _select,
    aten.slice.Tensor: _slice,
}


def _is_one(size: Any) -> bool:
    """Statically 1; asking a symbolic size would add a guard to the program."""
    return isinstance(size, int) and size == 1
