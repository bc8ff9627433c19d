"""The operations that a graph from a file may call: PyTorch's own on tensors and sizes, none that touches a file."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable
from typing import Any

import torch
from torch._ops import OpOverload, OpOverloadPacket

# Arithmetic of sizes, as torch.export writes it, and the choice of one of several outputs.
_SIZES: dict[str, Callable[..., Any]] = {
    f"operator.{name}": getattr(operator, name)
    for name in (
        "add",
        "sub",
        "mul",
        "floordiv",
        "truediv",
        "mod",
        "neg",
        "getitem",
        "eq",
        "ne",
        "lt",
        "le",
        "gt",
        "ge",
    )
}
_SIZES |= {f"torch.{name}": getattr(torch, name) for name in ("sym_int", "sym_float", "sym_max", "sym_min", "sym_not")}
_SIZES |= {f"math.{name}": getattr(math, name) for name in ("ceil", "floor", "trunc")}
_NAMES = {function: name for name, function in _SIZES.items()}
_ATEN = re.compile(r"aten\.([A-Za-z0-9_]+)\.([A-Za-z0-9_]+)")
# What an operation may take: no storage, stream, class of C++ or object of Python.
_TAKEN = {"Tensor", "int", "float", "number", "bool", "complex", "str", "Device", "Generator"}


def operation_name(target: Any) -> str | None:
    """The name under which a graph is saved that calls `target`; None for what is not loaded from a file.

    >>> operation_name(torch.ops.aten.linear.default), operation_name(operator.mul), operation_name(print)
    ('aten.linear.default', 'operator.mul', None)
    """
    if isinstance(target, OpOverload):
        name = str(target)
        return name if _harmless(name, target) else None
    return _NAMES.get(target)


def operation(name: str) -> Callable[..., Any]:
    """The operation called `name`.

    Raises:
        ValueError: there is none that a file may name.
    """
    if name in _SIZES:
        return _SIZES[name]
    if match := _ATEN.fullmatch(name):
        packet = getattr(torch.ops.aten, match[1], None)
        found = getattr(packet, match[2], None) if isinstance(packet, OpOverloadPacket) else None
        if isinstance(found, OpOverload) and _harmless(name, found):
            return found
    raise ValueError(f"{name[:60]!r} is no operation that is loaded from a file")


def _harmless(name: str, found: OpOverload) -> bool:
    """Whether it is a tensor operation of PyTorch's own: `aten::from_file` and `aten::save` open what they are told."""
    if not _ATEN.fullmatch(name) or found.namespace != "aten":
        return False
    arguments = found._schema.arguments
    return all(argument.name != "filename" and _basic(str(argument.type)) in _TAKEN for argument in arguments)


def _basic(kind: str) -> str:
    """
    >>> _basic("Optional[List[int]]")
    'int'
    """
    return re.sub(r"\b(List|Optional)\[|\]", "", kind)
