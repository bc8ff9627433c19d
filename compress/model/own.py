"""A network of the user's own code under the configuration that every stage asks for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from edgepress.compress.model.hub import auto_config
from edgepress.compress.model.model import TaskName, load_weights, network_from_config
from edgepress.compress.model.references import code_reference
from edgepress.compress.recipe.paths import in_home


def own_network(
    code: str, weights: str | None, states: Sequence[str], head: dict[str, Any], task: TaskName, role: str
) -> nn.Module:
    """The network that `code` builds, wrapped.

    Args:
        code: `model.py:build`, or `python`.
        weights: a safetensors file with its weights; None keeps those that it is built with.
        states: modules whose outputs are its hidden states.
        head: what the configuration says of its outputs.
        task: a key of `TASKS`.
        role: whose it is, teacher or student.

    Raises:
        ModelError: the code is not allowed or fails, or the weights do not fit.
    """
    found = code_reference(code, role)
    place = str(found.path) if found.path is not None else ""
    config = auto_config().for_model(
        "own-code", code=place, function=found.function, sha256=found.sha256, states=list(states), **head
    )
    network: Any = network_from_config(config, task)
    if weights is not None:
        load_weights(network.own, Path(in_home(weights)))
    return network  # type: ignore[no-any-return]
