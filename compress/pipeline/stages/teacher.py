"""The teacher: loaded from a folder or hub id as it is or to be fine-tuned, or trained from a configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepress.compress.pipeline.sources import code_digest, source_digest
from edgepress.compress.pipeline.stages.base import Work, plain
from edgepress.targets.errors import ModelError

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    from edgepress.compress.model.loading import Loaded
    from edgepress.compress.model.model import Model, TaskName
    from edgepress.compress.recipe.recipe import Data, Recipe, Teacher
    from edgepress.targets.progress import Progress


# Weights of a fresh head that are named one by one; a head of more is told by its first ones.
NAMED = 8


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
        found: dict[str, object] = {"teacher": plain(self.options), "source": source_digest(self.options.model)}
        if self.options.code is not None:
            found["code"] = code_digest(self.options.code, self.options.weights, self.name)
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
        StageError: its training diverged.
    """
    import torch

    from edgepress.compress.recipe.sections import Training
    from edgepress.compress.training.fit import TrainingJob, fit

    teacher, data, run = stage.options, work.data, work.run
    torch.manual_seed(run.seed)  # of whatever starts at random
    start = _start(stage, work)
    if teacher.training is None and teacher.config is None:  # it is trained already
        _check_classes(start, work)
        tell_metric(start, work)
        return start
    job = TrainingJob(teacher.training or Training(), run.scratch / "teacher", run.seed, metric=data.metrics[0])
    trained, history = fit(start, job, data.train, data.validation, run.progress, run.title("teacher"))
    return trained.after("teacher", f"trained {history.steps} steps, validation {history.metric} {history.best:.4f}")


def _start(stage: TeacherStage, work: Work) -> Model:
    """The network as its source gives it, before any training of the run."""
    teacher = stage.options
    if teacher.code is not None:
        return _own(teacher.code, stage, work)
    if teacher.model is None:
        return _random(stage, work)
    if teacher.fine_tuned:
        return _pretrained(teacher.model, stage, work)
    from edgepress.compress.model.loading import load_network

    network = load_network(teacher.model, stage.task, teacher.trust_remote_code)
    return _model(network, stage, work, f"loaded from {teacher.model}")


def tell_metric(model: Model, work: Work) -> float:
    """What a teacher reaches on validation rows, told before anything is trained from it.

    Labels in another order, pixels on another scale and a wrong column all show here, in the first minute.
    """
    from edgepress.benchmarks.metrics import metric
    from edgepress.benchmarks.metrics.base import value_of

    data, progress = work.data, work.run.progress
    logits, labels = data.teacher_logits_of(model), data.validation.labels
    kind = metric(data.metrics[0])
    value = value_of(kind, kind.counts(data.task.outputs.truth(data.validation), logits))
    progress.event("teacher", **{f"validation_{kind.key.replace('-', '_')}": round(value, 4)}, rows=len(labels))
    if data.task.outputs.classes:
        _warn_of_guessing(float((logits.argmax(-1) == labels).mean()), labels, progress)
    return value


def _warn_of_guessing(accuracy: float, labels: np.ndarray, progress: Progress) -> None:
    import numpy as np

    commonest = float(np.bincount(labels).max() / len(labels))
    if accuracy <= commonest < 1:
        progress.warn(
            f"the teacher gets {accuracy:.3f} of {len(labels)} validation rows right, and always the commonest class "
            f"gets {commonest:.3f}: do its classes, its pre-processing and the data's labels fit?"
        )


def _random(stage: TeacherStage, work: Work) -> Model:
    from edgepress.compress.model.model import network_from_config

    assert stage.options.config is not None
    network = network_from_config(_config(stage.options.config, work), stage.task)
    return _model(network, stage, work, "random initialisation")


def _own(code: str, stage: TeacherStage, work: Work) -> Model:
    """A network of the user's own code, with its own weights."""
    from edgepress.compress.model.own import check_outputs, own_network

    options, names = stage.options, work.data.label_names
    task = work.data.task
    network: Any = own_network(code, options.weights, options.states, task.outputs.head(names), stage.task, "teacher")
    check_outputs(network, task.inputs.trial(network, work.data.processor, stage.rows), names)
    source = f"code of {code} (sha256 {network.config.sha256})"
    return _model(network, stage, work, f"{source}, weights {options.weights or 'as it is built'}")


def _pretrained(source: str, stage: TeacherStage, work: Work) -> Model:
    """The weights of `source` under the classes of the data, before its training."""
    from edgepress.compress.model.loading import load_to_train

    names = work.data.label_names
    loaded = load_to_train(source, stage.task, stage.options.trust_remote_code, len(names))
    config: Any = loaded.network.config
    for field, value in work.data.task.outputs.head(names).items():
        setattr(config, field, value)
    if loaded.fresh:
        work.run.progress.event("teacher", name=source, state=f"starts with {fresh_text(loaded.fresh)}")
    return _model(loaded.network, stage, work, start_text(source, loaded, names))


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


def _model(network: nn.Module, stage: TeacherStage, work: Work, origin: str) -> Model:
    from edgepress.compress.model.model import Model, Step
    from edgepress.compress.model.padding import adopt_padding, adopt_start

    adopt_start(network.config, work.data.processor)
    if warning := adopt_padding(network.config, getattr(work.data.processor, "pad_token_id", None), "the tokenizer"):
        work.run.progress.warn(f"teacher: {warning}")
    signature = work.data.task.signature(network, work.data.processor, stage.rows)
    return Model(network.eval(), stage.task, signature, lineage=(Step(stage="teacher", summary=origin),))


def _config(given: dict[str, Any], work: Work) -> Any:
    from edgepress.compress.model.hub import auto_config
    from edgepress.compress.model.padding import tokens_of_targets

    names = work.data.label_names
    options = work.data.task.outputs.head(names)
    options |= tokens_of_targets(work.data.processor)
    options |= {key: value for key, value in given.items() if key != "model_type"}
    if "model_type" not in given:
        raise ModelError("teacher.config has no model_type; give a transformers one such as resnet, vit or bert")
    try:
        return auto_config().for_model(given["model_type"], **options)
    except ValueError:
        from difflib import get_close_matches

        from transformers import CONFIG_MAPPING

        near = get_close_matches(str(given["model_type"]), list(CONFIG_MAPPING.keys()), 1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ModelError(f"teacher.config: transformers has no model_type {given['model_type']!r}.{hint}") from None


def _check_classes(model: Model, work: Work) -> None:
    from edgepress.compress.model.loading import FINE_TUNE

    classes = model.signature.outputs[0].channels
    names = work.data.label_names
    if names and len(names) != classes:  # a vector's numbers have no names
        raise ModelError(
            f"the model knows {classes} classes, the data has {len(names)} ({_few(names, 5)}). Give data with the "
            f"model's labels, another model, {FINE_TUNE}."
        )
