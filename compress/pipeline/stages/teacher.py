"""The teacher: loaded from a folder or hub id, or trained in the run from a configuration."""

from __future__ import annotations

from typing import Any

import torch

from edgepress.compress.methods.context import Context
from edgepress.compress.model.loading import load_network
from edgepress.compress.model.model import Model, Step, network_from_config
from edgepress.compress.model.padding import adopt_padding
from edgepress.compress.training.fit import fit
from edgepress.targets.errors import ModelError


def make_teacher(context: Context) -> Model:
    """The recipe's teacher as a Model with its signature.

    Raises:
        ModelError: it cannot be loaded, is not trusted, or does not fit the data.
    """
    teacher = context.recipe.teacher
    if teacher.model is not None:
        network = load_network(teacher.model, context.recipe.task, teacher.trust_remote_code)
        model = _model(network, context, f"loaded from {teacher.model}")
        _check_classes(model, context)
        return model
    assert teacher.config is not None
    torch.manual_seed(context.seed)
    network = network_from_config(_config(teacher.config, context), context.recipe.task)
    model = _model(network, context, "random initialisation")
    trained, history = fit(
        model, context.train, context.validation, teacher.training, context.scratch / "teacher", context.console,
        context.title("teacher"), context.seed,
    )  # fmt: skip
    return trained.after("teacher", f"trained {history.steps} steps, validation accuracy {history.best:.4f}")


def _model(network: torch.nn.Module, context: Context, origin: str) -> Model:
    if told := adopt_padding(network.config, getattr(context.processor, "pad_token_id", None), "the tokenizer"):
        context.console.warn(f"teacher: {told}")
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
            f"the teacher tells {classes} classes apart, the data has {len(names)} ({', '.join(names[:5])}"
            f"{', …' if len(names) > 5 else ''}). Give data with the teacher's labels, or another teacher."
        )
