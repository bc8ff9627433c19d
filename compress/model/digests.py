"""What a module of a user's script is known by: its code, constants and weights."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterator
from types import CodeType
from typing import Any

import torch
from torch import nn

# Their code changes with their version alone, which a run records.
LIBRARIES = ("torch", "transformers", "timm")
PLAIN = (int, float, str, bool, tuple, list, type(None))


def module_digest(module: nn.Module) -> str:
    """Hex sha256 of a module's structure, the code of its classes, its plain attributes and its weights."""
    digest = hashlib.sha256(f"{module}\n".encode())
    for kind in sorted(
        {type(part) for part in module.modules()}, key=lambda kind: f"{kind.__module__}.{kind.__name__}"
    ):
        digest.update(f"{kind.__module__}.{kind.__qualname__}\n{code_of(kind)}\n".encode())
    for name, part in module.named_modules():
        plain = {key: value for key, value in sorted(vars(part).items()) if type(value) in PLAIN and key[:1] != "_"}
        digest.update(f"{name} {plain}\n".encode())
    for name, value in sorted(module.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(_bytes(value))
    return digest.hexdigest()


def _bytes(value: Any) -> bytes:
    """Of a tensor; of whatever else a state holds, or of a weight without a size, nothing."""
    if not isinstance(value, torch.Tensor) or nn.parameter.is_lazy(value):
        return b""
    return value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def code_of(kind: type) -> str:
    """The source of a class and of those that it is made from, a library's left out; where it has none, as in an
    interactive session, what its methods were compiled to."""
    own = [base for base in kind.__mro__ if base.__module__.partition(".")[0] not in (*LIBRARIES, "builtins")]
    return "\n".join(map(_source, own))


def _source(kind: type) -> str:
    try:
        return inspect.getsource(kind)
    except (OSError, TypeError):
        methods = {name: getattr(value, "__code__", None) for name, value in sorted(vars(kind).items())}
        return "\n".join(f"{name} {' '.join(_compiled(code))}" for name, code in methods.items() if code is not None)


def _compiled(code: CodeType) -> Iterator[str]:
    yield from (code.co_code.hex(), repr(code.co_names), repr(code.co_varnames))
    for value in code.co_consts:
        yield from _compiled(value) if isinstance(value, CodeType) else (repr(value),)
