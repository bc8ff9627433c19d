"""torch.export program → one jax function of (weights, *inputs); sizes may be jax's symbolic dimensions."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from edgepress.targets.errors import TargetError, told
from edgepress.targets.graph.export import module_of
from edgepress.targets.graph.fixed import is_fixed
from edgepress.targets.xla_tpu.operations.kit import Kit
from edgepress.targets.xla_tpu.operations.table import OPERATIONS

if TYPE_CHECKING:
    from torch.export import ExportedProgram
    from torch.fx import Node

PRODUCTS = {"aten.addmm.default": (1, 2), "aten.mm.default": (0, 1), "aten.convolution.default": (0, 1)}
ACTIVATION_PRODUCTS = ("aten.bmm.default",)


@dataclass
class Macs:
    """Multiply-accumulates by what multiplies, filled while a function of fixed sizes is traced."""

    int8: int = 0
    other: int = 0


@dataclass(frozen=True)
class Lowering:
    """A program, the float type it is computed in, and the scale of each int8 product's activations, by node name."""

    program: ExportedProgram
    floats: str
    scales: Mapping[str, float] = field(default_factory=dict)

    def function(self, macs: Macs | None = None) -> Callable[..., Any]:
        """`f(weights, *inputs)`, which gives the program's output, or a tuple of several; floats are float32.

        Args:
            macs: is filled with what is multiplied where the function is traced with fixed sizes.

        Raises:
            TargetError: an operation has no form in jax, here or while the function is traced.
        """
        refuse_missing(self.program)
        return lambda weights, *inputs: self._run(weights, inputs, macs)

    def _run(self, weights: Mapping[str, Any], inputs: tuple[Any, ...], macs: Macs | None) -> Any:
        import jax

        kind = jax.numpy.dtype(self.floats)
        # A TPU multiplies float32 in bf16 unless it is told otherwise; fp32 artifacts must be what they are called.
        precision = jax.lax.Precision.HIGHEST if self.floats == "float32" else None
        kit = Kit(jax.numpy, jax.lax, jax.nn, kind, precision)
        exact = fixed_part(self.program)
        whole = Kit(jax.numpy, jax.lax, jax.nn, jax.numpy.dtype("float32"), jax.lax.Precision.HIGHEST)
        values = _placeholders(self.program, weights, inputs, kind, exact)
        for node in self.program.graph.nodes:
            if node.op == "call_function":
                found = self._one(whole if node.name in exact else kit, node, values, weights, macs)
                leaves = node.name in exact and not {user.name for user in node.users} & exact
                values[node.name] = found.astype(kind) if leaves else found
        names = self.program.graph_signature.user_outputs
        outputs = tuple(_as_promised(values[str(name)], jax.numpy) for name in names)
        return outputs if len(outputs) > 1 else outputs[0]

    def _one(self, kit: Kit, node: Node, values: dict[str, Any], weights: Mapping[str, Any], macs: Macs | None) -> Any:
        def value_of(item: Any) -> Any:
            import torch

            return torch.fx.node.map_arg(item, lambda source: values[source.name])

        target = str(node.target)
        arguments, named = value_of(node.args), value_of(node.kwargs)
        if target not in OPERATIONS:
            return node.target(*arguments, **named)  # type: ignore[operator]  # arithmetic on sizes
        try:
            if node.name in self.scales:
                result = self._int8(kit, node, arguments, weights)
            else:
                result = OPERATIONS[target](kit, *arguments, **named)
        except Exception as fault:  # jax's errors share no base class
            raise TargetError(
                f"xla-tpu has no form of {target} as it is used{module_of(node)}: {told(fault)}"
            ) from fault
        if macs is not None and (target in PRODUCTS or target in ACTIVATION_PRODUCTS):
            _count(macs, target, arguments, result, node.name in self.scales)
        return result

    def _int8(self, kit: Kit, node: Node, arguments: Any, weights: Mapping[str, Any]) -> Any:
        """int8 activations (one scale) times int8 weights (a scale for each output channel) into int32.

        Both are symmetric about zero, so that the sum needs no correction by zero points: y = (q_x q_w) s_x s_w + b.
        """
        jnp, target = kit.jnp, str(node.target)
        name = str(weight_of(node, self.program))
        scale = self.scales[node.name]
        x = arguments[PRODUCTS[target][0]]
        # -127 and not -128: the range is symmetric, as the scale's 127 is.
        small = jnp.clip(jnp.round(x.astype(jnp.float32) / scale), -127, 127).astype(jnp.int8)
        channels = weights[f"{name}.scale"] * scale
        if target == "aten.convolution.default":
            whole = OPERATIONS[target](kit, small, weights[name], None, *arguments[3:])
            spread = (1, -1) + (1,) * (x.ndim - 2)
            bias = arguments[2]
        else:
            axes = (((x.ndim - 1,), (1,)), ((), ()))
            whole = kit.lax.dot_general(small, weights[name], axes, preferred_element_type=jnp.int32)
            spread, bias = (1, -1), arguments[0] if target == "aten.addmm.default" else None
        result = whole.astype(jnp.float32) * channels.reshape(spread)
        result = result if bias is None else result + bias.astype(jnp.float32).reshape(spread)
        return result.astype(kit.floats)


def _as_promised(value: Any, jnp: Any) -> Any:
    """Floats leave a program in float32 whatever it computes in; whole numbers as they are."""
    return value.astype(jnp.float32) if jnp.issubdtype(value.dtype, jnp.floating) else value


def weight_of(node: Node, program: ExportedProgram) -> str | None:
    """Name of the weight that an int8 product would multiply with; None where there is none, or where anything but
    products multiplies with it too. Layers may share one, as ALBERT's do."""
    source = _weight(node)
    if source is None:
        return None
    name = program.graph_signature.inputs_to_parameters.get(source.name)
    turned = {user for user in source.users if str(user.target) == "aten.permute.default"}
    users = {*source.users, *(user for each in turned for user in each.users)} - turned
    return name if all(_weight(user) is source for user in users) else None


def _weight(node: Node) -> Node | None:
    """What a product multiplies its activations with, where int8 has a form of that product: of a convolution the
    second factor, of a matrix product the second factor before it was transposed."""
    target = str(node.target)
    if target not in PRODUCTS:
        return None
    source = cast("Node", node.args[PRODUCTS[target][1]])
    if list(node.args).count(source) > 1:  # it multiplies with itself
        return None
    if target == "aten.convolution.default":
        return None if node.args[6] else source
    turned = str(source.target) == "aten.permute.default" and source.args[1] == [1, 0]
    return cast("Node", source.args[0]) if turned else None


def refuse_missing(program: ExportedProgram) -> None:
    """Raises TargetError with all operations that the table lacks, each with the module that uses it first."""
    missing: dict[str, Node] = {}
    for node in program.graph.nodes:
        name = str(node.target)
        sizes = getattr(node.target, "__module__", "") in ("_operator", "math", "torch")
        if node.op != "call_function" or name in OPERATIONS or node.target is operator.getitem or sizes:
            continue
        missing.setdefault(name, node)
    if missing:
        listed = ", ".join(f"{name}{module_of(node)}" for name, node in missing.items())
        what = "that operation" if len(missing) == 1 else "these operations"
        raise TargetError(f"xla-tpu has no form of {listed}. Replace {what} in the model, or use the 'pytorch' target.")


def fixed_part(program: ExportedProgram) -> frozenset[str]:
    """Names of the products with fixed weights, of all before them and of the logarithm behind: these stay float32."""
    buffers = program.graph_signature.inputs_to_buffers
    waiting = [
        user
        for node in program.graph.nodes
        if is_fixed(buffers.get(node.name, ""))
        for user in node.users
        if str(user.target) in PRODUCTS
    ]
    waiting += [user for node in waiting for user in node.users if str(user.target) == "aten.log.default"]
    found: dict[str, Node] = {}
    while waiting:
        node = waiting.pop()
        if node.name not in found:
            found[node.name] = node
            waiting += node.all_input_nodes
    return frozenset(found)


def _placeholders(
    program: ExportedProgram, weights: Mapping[str, Any], inputs: tuple[Any, ...], kind: Any, exact: frozenset[str]
) -> dict[str, Any]:
    """A value for each graph input: a weight by its name, or the next of the inputs; `exact` ones stay float32."""
    users = iter(inputs)
    values: dict[str, Any] = {}
    for spec in program.graph_signature.input_specs:
        if spec.kind.name == "USER_INPUT":
            value = next(users)
            values[spec.arg.name] = (
                value.astype(kind) if value.dtype.kind == "f" and spec.arg.name not in exact else value
            )
        else:
            values[spec.arg.name] = weights.get(str(spec.target))
    return values


def _count(macs: Macs, target: str, arguments: Any, result: Any, small: bool) -> None:
    if target == "aten.convolution.default":
        # A transposed one multiplies each input, not each output, with its share of the kernel.
        each, depth = arguments[0] if arguments[6] else result, math.prod(arguments[1].shape[1:])
    else:
        each, depth = result, arguments[PRODUCTS.get(target, (0, 1))[0]].shape[-1]
    count = math.prod(each.shape) * depth
    macs.int8 += count * small
    macs.other += count * (not small)
