"""The teacher: loaded from a folder or hub id, or trained in the run from a configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepress.compress.pipeline.sources import source_digest
from edgepress.compress.pipeline.stages.base import Work, plain
from edgepress.targets.errors import ModelError

if TYPE_CHECKING:
    from torch import nn

    from edgepress.compress.model.model import Model, TaskName
    from edgepress.compress.recipe.recipe import Data, Recipe, Teacher


@dataclass(frozen=True)
class TeacherStage:
    """Makes the model that everything is compared with.

    Args:
        options: where it comes from, and how it is trained where the run trains it.
        task: what it does.
        rows: the recipe's section on data, which bounds the signature.
    """

    options: Teacher
    task: TaskName
    rows: Data
    name: str = "teacher"

    def covers(self) -> Mapping[str, object]:
        found = {"teacher": plain(self.options), "source": source_digest(self.options.model)}
        tokenizer = self.options.tokenizer
        return found | ({"tokenizer": source_digest(tokenizer)} if tokenizer is not None else {})

    def run(self, work: Work, folder: Path) -> None:
        make_teacher(self, work).save(folder)
        work.data.task.save_processor(work.data.processor, folder)


def stages_of(recipe: Recipe) -> tuple[TeacherStage, ...]:
    return (TeacherStage(recipe.teacher, recipe.task, recipe.data),)


def make_teacher(stage: TeacherStage, work: Work) -> Model:
    """The recipe's teacher as a Model with its signature.

    Raises:
        ModelError: it cannot be loaded, is not trusted, or does not fit the data.
    """
    import torch

    from edgepress.compress.model.loading import load_network
    from edgepress.compress.model.model import network_from_config
    from edgepress.compress.training.fit import TrainingJob, fit

    teacher, data, run = stage.options, work.data, work.run
    if teacher.model is not None:
        network = load_network(teacher.model, stage.task, teacher.trust_remote_code)
        model = _model(network, stage, work, f"loaded from {teacher.model}")
        _check_classes(model, work)
        return model
    assert teacher.config is not None
    torch.manual_seed(run.seed)
    network = network_from_config(_config(teacher.config, work), stage.task)
    model = _model(network, stage, work, "random initialisation")
    job = TrainingJob(teacher.training, run.scratch / "teacher", run.seed)
    trained, history = fit(model, job, data.train, data.validation, run.progress, run.title("teacher"))
    return trained.after("teacher", f"trained {history.steps} steps, validation accuracy {history.best:.4f}")


def _model(network: nn.Module, stage: TeacherStage, work: Work, origin: str) -> Model:
    from edgepress.compress.model.model import Model, Step

    signature = work.data.task.signature(network, work.data.processor, stage.rows)
    return Model(network.eval(), stage.task, signature, lineage=(Step(stage="teacher", summary=origin),))


def _config(given: dict[str, Any], work: Work) -> Any:
    from transformers import AutoConfig

    names = work.data.label_names
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


def _check_classes(model: Model, work: Work) -> None:
    classes = model.signature.outputs[0].shape[-1]
    names = work.data.label_names
    if len(names) != classes:
        raise ModelError(
            f"the teacher tells {classes} classes apart, the data has {len(names)} ({', '.join(names[:5])}"
            f"{', …' if len(names) > 5 else ''}). Give data with the teacher's labels, or another teacher."
        )
