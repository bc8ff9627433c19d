"""Networks of the user's own code: run only where the user allows it, and only from the very bytes that were told."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

from torch import nn

from edgepress.compress.model.digests import module_digest
from edgepress.compress.model.references import GIVEN, CodeReference
from edgepress.compress.recipe.paths import PYTHON
from edgepress.targets.errors import ModelError, told

_BUILDERS: dict[tuple[str, str], Callable[[], nn.Module]] = {}
"""(digest, function) -> what builds the network. Nothing gets in here but by the user's leave."""


def allow(reference: CodeReference) -> None:
    """The user trusts this file as it is now: from here on it may be run in this process."""
    _BUILDERS[reference.sha256, reference.function] = partial(_built, reference)


def hand_over(module: nn.Module, role: str) -> None:
    """A module of the user's script takes part in the next run as `role`; copies of it are worked on.

    Args:
        module: stays the user's own, to be changed as they like.
        role: teacher or student.

    Raises:
        ModelError: it is no module, or cannot be copied.
    """
    if not isinstance(module, nn.Module):
        raise ModelError(f"{role}= takes a torch.nn.Module, got a {type(module).__name__}.")
    try:
        kept = copy.deepcopy(module)
    except Exception as fault:
        raise ModelError(
            f"{role}: {type(module).__name__} cannot be copied ({told(fault)}). Detach what it holds."
        ) from None
    GIVEN[role] = module_digest(kept)
    _BUILDERS[GIVEN[role], PYTHON] = partial(copy.deepcopy, kept)


def network_of(sha256: str, function: str, path: str) -> nn.Module:
    """A new copy of the network.

    Args:
        sha256: digest of the code or of the module.
        function: what builds it.
        path: where the code lies, for the message.

    Raises:
        ModelError: the code is not allowed, has changed, fails, or builds no module.
    """
    if (build := _BUILDERS.get((sha256, function))) is not None:
        return build().eval()
    if function == PYTHON:
        raise ModelError("this model is a module of a script. Hand it over again: run(recipe, teacher=module).")
    raise ModelError(f"{path} is code and would be run. Read it; if you trust it, give --allow-code.")


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
    assert reference.path is not None
    source = reference.path.read_bytes()
    if (now := hashlib.sha256(source).hexdigest()) != reference.sha256:
        raise ModelError(
            f"{reference.path} has changed: its sha256 was {reference.sha256[:12]} and is {now[:12]}. "
            f"Put the old file back, or start a new run from this one."
        )
    return source
