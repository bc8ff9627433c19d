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
from edgepress.compress.tasks.trial import Trial, tried
from edgepress.targets.errors import ModelError


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


def check_outputs(network: nn.Module, trial: Trial, names: Sequence[str]) -> None:
    """Whether a network of the user's own gives one number for each output of the data.

    Args:
        network: wrapped.
        trial: one row.
        names: of the outputs, as the data's labels have them.

    Raises:
        ModelError: it fails on the row, or gives another number of them.
    """
    kind = type(network).__name__
    shape = tuple(tried(network, trial, lambda output: {"logits": output.logits})["logits"].shape)
    if len(shape) != 2 or shape[0] != trial.rows:
        raise ModelError(f"{kind} gives logits of shape {list(shape)} for one row; they must be [1, outputs].")
    if shape[1] != len(names):
        listed = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
        raise ModelError(
            f"{kind} gives {shape[1]} logits a row, and the data has {len(names)} labels ({listed}). Name all of its "
            f"labels in data.labels, in its order, or give it a head of {len(names)}."
        )
