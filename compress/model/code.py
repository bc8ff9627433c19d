"""A network of the user's own code: `model.py:build`, run only where the user allows it, told by its file's sha256."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from edgepress.compress.model.model import load_weights
from edgepress.targets.errors import ModelError, told


@dataclass(frozen=True)
class CodeReference:
    """A function without arguments that builds a network.

    Args:
        path: the Python file.
        function: its name there.
        sha256: hex digest of the file's bytes; other bytes are another network.
    """

    path: Path
    function: str
    sha256: str


def code_reference(text: str) -> CodeReference:
    """The reference `model.py:build` with the digest of the file as it is now; nothing is run.

    Raises:
        ModelError: it is no such reference, or there is no such file.
    """
    name, _, function = text.rpartition(":")
    if not name.endswith(".py") or not function.isidentifier():
        raise ModelError(f"teacher.code {text!r} names no function of a Python file. Write it as model.py:build.")
    if not Path(name).is_file():
        raise ModelError(f"teacher.code {text!r}: there is no file {name}. Give the path of your Python file.")
    return CodeReference(Path(name), function, hashlib.sha256(Path(name).read_bytes()).hexdigest())


def network_from_code(reference: CodeReference, weights: Path | None, allow_code: bool) -> nn.Module:
    """The network that the user's function builds, in eval mode.

    Args:
        reference: whose file still has the digest that it had.
        weights: safetensors that fit the network; None keeps those that it is built with.
        allow_code: whether the user allows the file to be run.

    Raises:
        ModelError: the code is not allowed, has changed, fails or builds no module, or the weights do not fit.
    """
    if not allow_code:
        raise ModelError(f"{reference.path} is code and would be run. Read it; if you trust it, give --allow-code.")
    network = _built(reference)
    if weights is not None:
        load_weights(network, weights)
    return network.eval()


def _built(reference: CodeReference) -> nn.Module:
    build = _function(reference)
    try:
        network = build()
    except Exception as fault:
        raise ModelError(f"{reference.path}: {reference.function}() fails: {told(fault)}") from fault
    if not isinstance(network, nn.Module):
        kind = type(network).__name__
        raise ModelError(f"{reference.path}: {reference.function}() gives a {kind}; it must give a torch.nn.Module.")
    return network


def _function(reference: CodeReference) -> Callable[[], Any]:
    scope = ModuleType(f"edgepress_code_{reference.sha256[:16]}")
    scope.__file__ = str(reference.path)
    try:
        exec(compile(_source(reference), str(reference.path), "exec"), scope.__dict__)
    except Exception as fault:
        raise ModelError(f"{reference.path} cannot be run: {told(fault)}") from fault
    found = scope.__dict__.get(reference.function)
    if not callable(found):
        raise ModelError(f"{reference.path} has no function {reference.function!r}. Name the one that builds it.")
    build: Callable[[], Any] = found
    return build


def _source(reference: CodeReference) -> bytes:
    """The very bytes whose digest was compared, so that nothing else can be run in their place."""
    source = reference.path.read_bytes()
    if (now := hashlib.sha256(source).hexdigest()) != reference.sha256:
        raise ModelError(
            f"{reference.path} has changed: its sha256 was {reference.sha256[:12]} and is {now[:12]}. "
            f"Put the old file back, or start a new run from this one."
        )
    return source
