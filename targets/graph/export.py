"""Model → torch.export program whose named dimensions vary within the signature's bounds. All graph targets use it."""

from __future__ import annotations

import inspect
import re
from contextlib import redirect_stderr
from io import StringIO
from traceback import walk_tb
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from edgepress.targets.errors import TargetError, told
from edgepress.targets.exportable import Exportable
from edgepress.targets.process.quiet import quiet
from edgepress.targets.records import TOTAL, Feeds, Signature

if TYPE_CHECKING:
    from pathlib import Path

    from torch.export import ExportedProgram
    from torch.fx import Node


def export_program(model: Exportable, example: Feeds) -> ExportedProgram:
    """Trace `model.module`; sizes in `example` may be any within the bounds, its values are not kept.

    Raises:
        SignatureError: `example` does not fit the signature.
        TargetError: weights hold NaN, or the module cannot be traced for all sizes within the bounds.
    """
    signature = model.signature
    signature.check(example)
    module = model.module
    check_weights(module)
    arrays = _traceable(example, signature)
    inputs = tuple(torch.from_numpy(arrays[spec.name]) for spec in signature.inputs)
    shapes = dynamic_shapes(signature)
    # A module with *args takes all inputs under that one name.
    several = any(kind.kind is kind.VAR_POSITIONAL for kind in _parameters(module))
    # torch prints the whole graph where a size depends on values; its one line is in the exception.
    with quiet(), torch.no_grad(), redirect_stderr(StringIO()):
        try:
            program = _trace(module, inputs, (shapes,) if several else shapes)
        except Exception as fault:
            raise TargetError(_explain(fault, signature, failing_module(fault, module))) from fault
    program.example_inputs = None  # an artifact must not carry the user's data
    return program


def _trace(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], shapes: tuple[object, ...]) -> ExportedProgram:
    """A size that the tracer took for special (MobileBERT's length 2, where a difference becomes 1) is left to the
    program when it runs; that its answer is right there, the comparison at the smallest input proves."""
    from torch._dynamo.exc import UserError

    try:
        return torch.export.export(module, inputs, dynamic_shapes=shapes, strict=False)
    except UserError as fault:
        if "Constraints violated" not in told(fault):
            raise
        try:
            return torch.export.export(
                module, inputs, dynamic_shapes=shapes, strict=False, prefer_deferred_runtime_asserts_over_guards=True
            )
        except UserError:
            raise fault from None


def save_program(program: ExportedProgram, path: Path) -> None:
    """Write a torch.export archive that does not tell the folders of this machine.

    For a process of our own only: to load such an archive is to run what its maker wanted, so none travels.
    """
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    with quiet():
        torch.export.save(program, path)


def refuse_custom(program: ExportedProgram, target: str) -> None:
    """Raises TargetError for operations that a library of the user's own brought: no converter knows what they do."""
    for node in program.graph.nodes:
        namespace = getattr(node.target, "namespace", "aten")
        if node.op == "call_function" and namespace not in ("aten", "prims", "higher_order"):
            raise TargetError(
                f"{target} has no form of {node.target}{module_of(node)}. Replace that operation in the model."
            )


def module_of(node: Node) -> str:
    """` (in module 'path', Kind)`, or nothing where torch.export did not note it."""
    stack = node.meta.get("nn_module_stack")
    if not stack:
        return ""
    path, kind = list(stack.values())[-1]
    return f" (in module {path!r}, {str(kind).rpartition('.')[2]})"


def failing_module(fault: BaseException, module: torch.nn.Module) -> str:
    """` (in module 'path', Kind)`: the innermost part of `module` that was running when `fault` was raised; "" where
    none was."""
    known = {id(part): (name, part) for name, part in module.named_modules()}
    for frame, _ in reversed([*walk_tb(fault.__traceback__)]):
        if found := known.get(id(frame.f_locals.get("self"))):
            return f" (in module {found[0]!r}, {type(found[1]).__name__})"
    return ""


def module_using(program: ExportedProgram, operation: str) -> str:
    """`module_of` the first node that calls `operation`; "" where none does. Exporters have names of their own: "eigh"
    and "_linalg_eigh" are found as "linalg_eigh" too."""
    end = f"_{operation.lstrip('_')}"
    for node in program.graph.nodes:
        if node.op == "call_function" and any(f"_{part}".endswith(end) for part in str(node.target).split(".")):
            return module_of(node)
    return ""


def is_transformer(module: torch.nn.Module) -> bool:
    """Whether it embeds tokens, or at least half of its layers with weights are linear.

    Raises:
        TargetError: there is no layer that int8 could change.
    """
    layers = list(module.modules())
    if any(isinstance(layer, torch.nn.Embedding) for layer in layers):
        return True
    linear = sum(isinstance(layer, torch.nn.Linear) for layer in layers)
    convolutions = sum(isinstance(layer, torch.nn.Conv1d | torch.nn.Conv2d | torch.nn.Conv3d) for layer in layers)
    if linear + convolutions == 0:
        raise TargetError(f"{type(module).__name__} has no linear or convolution layer to quantize. Export it in fp32.")
    return linear >= convolutions


def dynamic_shapes(signature: Signature) -> tuple[dict[int, Any], ...]:
    """Per input {dimension: Dim with bounds}; a dimension whose bounds are equal is static and left out.

    Of a step, `total` is what there was and what is new: torch finds the sum by itself, and takes no name for it.
    """
    dims = {
        name: torch.export.Dim.AUTO if signature.state and name == TOTAL else torch.export.Dim(name, min=low, max=high)
        for name, (low, high) in signature.bounds.items()
        if low < high
    }
    return tuple(
        {place: dims[name] for place, name in enumerate(spec.shape) if isinstance(name, str) and name in dims}
        for spec in signature.inputs
    )


def check_weights(module: torch.nn.Module) -> None:
    """Raises TargetError for weights that are not float32, NaN anywhere, or infinity in a parameter.

    Every precision is made from float32: a half-precision module would give a file that is called fp32 and is not.
    """
    for name, value in (*module.named_parameters(), *module.named_buffers()):
        if not value.is_floating_point():
            continue
        if value.dtype != torch.float32:
            kind = str(value.dtype).removeprefix("torch.")
            raise TargetError(f"weight {name!r} is {kind}, exports start from float32. Load the model as float32.")
        infinite = isinstance(value, torch.nn.Parameter) and bool(value.isinf().any())
        if infinite or bool(value.isnan().any()):
            raise TargetError(
                f"weight {name!r} holds {'infinity' if infinite else 'NaN'}. Nothing was exported; "
                f"train again with a lower learning rate, or load a checkpoint from before."
            )


def resized(feeds: Feeds, signature: Signature, sizes: dict[str, int]) -> dict[str, np.ndarray]:
    """`feeds` with the named dimensions cut to, or cycled up to, `sizes`."""
    arrays = {}
    for spec in signature.inputs:
        value = feeds[spec.name]
        for axis, name in enumerate(spec.shape):
            if isinstance(name, str) and name in sizes:
                value = np.take(value, np.arange(sizes[name]) % value.shape[axis], axis)
        arrays[spec.name] = np.ascontiguousarray(value)
    return arrays


def sizes_of(feeds: Feeds, signature: Signature) -> dict[str, int]:
    """Size of each named dimension in `feeds`."""
    pairs = ((name, feeds[spec.name].shape[axis]) for spec in signature.inputs for axis, name in enumerate(spec.shape))
    return {name: size for name, size in pairs if isinstance(name, str)}


def _traceable(example: Feeds, signature: Signature) -> dict[str, np.ndarray]:
    """torch.export treats sizes 0 and 1 as constants, so a dimension that varies is traced with 2 or more."""
    bounds = signature.bounds
    sizes = {name: min(max(size, 2), bounds[name][1]) for name, size in sizes_of(example, signature).items()}
    return resized(example, signature, sizes)


def _parameters(module: torch.nn.Module) -> list[inspect.Parameter]:
    return list(inspect.signature(module.forward).parameters.values())


def _readable(guards: list[str], name: str) -> str:
    """torch's conditions with the dimension's own name.

    >>> _readable(["((-1) + L['inputs'][0].size()[1]) != 1"], "sequence")
    '((-1) + sequence) != 1'
    """
    return re.sub(r"L\['\w+'\](\[\d+\])?\.size\(\)\[\d+\]", name, "; ".join(guards)) or "its sizes are the traced ones"


def _explain(fault: Exception, signature: Signature, module: str) -> str:
    text = re.sub(r"\x1b\[\d+m", "", str(fault))
    lines = [line.strip() for line in text.splitlines() if line.strip()] or [type(fault).__name__]
    for name, (low, high) in signature.bounds.items():
        if f"Constraints violated ({name}" in text:
            wanted = re.findall(rf"^\s*({name} = .*)$", text, re.MULTILINE)
            guard = re.findall(r"satisfy the generated guard (.*)$", text, re.MULTILINE)
            why = (
                f"torch.export suggests {wanted[0]!r}" if wanted else f"its trace holds where {_readable(guard, name)}"
            )
            return (
                f"the model cannot take every {name} from {low} to {high}; {why}. Change that bound of the signature."
            )
    where = re.search(r'File "[^"]*?([^"/\\]+)", line (\d+), in (\w+)', text)
    place = f" (at {where[3]}, {where[1]} line {where[2]})" if where else ""
    return f"torch.export refused the model{module}: {lines[0]}{place}"
