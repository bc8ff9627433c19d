"""The teacher: loaded from a folder or hub id as it is or to be fine-tuned, or trained from a configuration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from edgepress.compress.methods.context import Context
from edgepress.compress.model.loading import FINE_TUNE, Loaded, load_network, load_to_train
from edgepress.compress.model.model import Model, Step, network_from_config
from edgepress.compress.recipe.recipe import Training
from edgepress.compress.training.fit import fit
from edgepress.targets.errors import ModelError

# Weights of a fresh head that are named one by one; a head of more is told by its first ones.
NAMED = 8


def make_teacher(context: Context) -> Model:
    """The recipe's teacher as a Model with its signature.

    Raises:
        ModelError: it cannot be loaded, is not trusted, or does not fit the data.
        StageError: its training diverged.
    """
    teacher = context.recipe.teacher
    if teacher.model is not None and not teacher.fine_tuned:
        network = load_network(teacher.model, context.recipe.task, teacher.trust_remote_code)
        model = _model(network, context, f"loaded from {teacher.model}")
        _check_classes(model, context)
        return model
    torch.manual_seed(context.seed)  # of whatever starts at random
    start = _pretrained(teacher.model, context) if teacher.model is not None else _random(context)
    trained, history = fit(
        start, context.train, context.validation, teacher.training or Training(), context.scratch / "teacher",
        context.console, context.title("teacher"), context.seed,
    )  # fmt: skip
    return trained.after("teacher", f"trained {history.steps} steps, validation accuracy {history.best:.4f}")


def _random(context: Context) -> Model:
    config = context.recipe.teacher.config
    assert config is not None
    return _model(network_from_config(_config(config, context), context.recipe.task), context, "random initialisation")


def _pretrained(source: str, context: Context) -> Model:
    """The weights of `source` under the classes of the data, before its training."""
    names = context.workspace.splits.label_names
    loaded = load_to_train(source, context.recipe.task, context.recipe.teacher.trust_remote_code, len(names))
    config: Any = loaded.network.config
    config.id2label, config.label2id = dict(enumerate(names)), {name: index for index, name in enumerate(names)}
    if loaded.fresh:
        context.console.event("teacher", name=source, state=f"starts with {fresh_text(loaded.fresh)}")
    return _model(loaded.network, context, start_text(source, loaded, names))


def start_text(source: str, loaded: Loaded, names: Sequence[str]) -> str:
    """Where a teacher that is fine-tuned started: which weights were loaded, and which were random."""
    head = fresh_text(loaded.fresh) if loaded.fresh else "the head that came with it"
    return f"started from {source} with {head}, for {len(names)} classes ({_few(names, 5)})"


def fresh_text(fresh: Sequence[str]) -> str:
    """A fresh head: which weights no file had.

    >>> fresh_text(("classifier.bias", "classifier.weight"))
    'a fresh head (classifier.bias, classifier.weight)'
    """
    return f"a fresh head ({_few(fresh, NAMED)})"


def _few(names: Sequence[str], limit: int) -> str:
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")


def _model(network: torch.nn.Module, context: Context, origin: str) -> Model:
    signature = context.task.signature(network, context.processor, context.recipe.data)
    return Model(network.eval(), context.recipe.task, signature, lineage=(Step(stage="teacher", summary=origin),))


def _config(given: dict[str, Any], context: Context) -> Any:
    from transformers import AutoConfig

    names = context.workspace.splits.label_names
    options = {"id2label": dict(enumerate(names)), "label2id": {name: index for index, name in enumerate(names)}}
    options |= {key: value for key, value in given.items() if key != "model_type"}
    if "model_type" not in given:
        raise ModelError("teacher.config has no model_type; give a transformers one such as resnet, vit or bert")
    try:
        return AutoConfig.for_model(given["model_type"], **options)
    except ValueError:
        from difflib import get_close_matches

        from transformers import CONFIG_MAPPING

        near = get_close_matches(str(given["model_type"]), list(CONFIG_MAPPING.keys()), 1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ModelError(f"teacher.config: transformers has no model_type {given['model_type']!r}.{hint}") from None


def _check_classes(model: Model, context: Context) -> None:
    classes = model.signature.outputs[0].shape[-1]
    names = context.workspace.splits.label_names
    if len(names) != classes:
        raise ModelError(
            f"the model knows {classes} classes, the data has {len(names)} ({_few(names, 5)}). Give data with the "
            f"model's labels, another model, {FINE_TUNE}."
        )
