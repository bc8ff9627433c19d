"""The YAML a user writes, as frozen models. Unknown keys, wrong types and values out of range are refused.

Knows nothing of torch: a recipe is read, checked and digested in milliseconds.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field

from edgepress.benchmarks.metrics import BUILT_IN, METRICS
from edgepress.compress.recipe.data import Columns as Columns
from edgepress.compress.recipe.data import Data as Data
from edgepress.compress.recipe.licences import AcceptLicence, Licences
from edgepress.compress.recipe.methods import parse_stage
from edgepress.compress.recipe.reader import read_file, read_mapping
from edgepress.compress.recipe.sections import (
    Benchmark,
    Config,
    Gates,
    Importance,
    Readable,
    Section,
    Source,
    StageOptions,
    Training,
    metric_fault,
)
from edgepress.compress.recipe.task_name import TaskName
from edgepress.compress.tasks import TASKS, load_task


class Teacher(Section):
    """`model`: a local transformers folder or a hub id (`owner/name@commit` pins it); with `training` it is fine-tuned
    in the run on the recipe's train split, and its head starts fresh where it is missing or of another size. Or
    `config`: a transformers config to be trained in the run, for text with `tokenizer`, the folder or hub id whose
    tokenizer it takes. Or `code`: your own network, `model.py:build` (run with --allow-code alone) or `python` (handed
    to `run`), with `weights`, a safetensors file; `states` names the modules whose outputs are its hidden states, that
    of the embedding first."""

    model: Source | None = None
    config: Config | None = None
    code: str | None = None
    weights: Source | None = None
    states: tuple[str, ...] = ()
    tokenizer: Source | None = None
    training: Training | None = None
    trust_remote_code: bool = False

    @pydantic.model_validator(mode="after")
    def _one_source(self) -> Teacher:
        if sum(given is not None for given in (self.model, self.config, self.code)) != 1:
            raise ValueError(
                "give one of 'model' (a folder or hub id), 'config' (a model to train in the run) and 'code' (your own "
                "network)"
            )
        if self.code is None and (self.weights is not None or self.states):
            raise ValueError("'weights' and 'states' go with 'code'")
        return self

    @property
    def fine_tuned(self) -> bool:
        """Whether the run trains on a model that has weights already."""
        return self.model is not None and self.training is not None


class Student(Section):
    """Derived from the teacher: `layers` (a count, evenly spaced, or the indices to keep; of an encoder-decoder its
    encoder's, and `decoder_layers` its decoder's), `hidden`, `heads`, `ffn` (sizes), `embedding_rank`. Or another
    `model` (folder or hub id) or a transformers `config`. Its weights are random or, with `init: adapt`, what fits of
    the teacher's (or of `init_from`, a folder or hub id): wider ones are sliced, layers spread evenly. Or `code`, with
    `weights` and `states`: a network of your own, as the teacher's.

    `importance` says by what the heads and neurons that stay are chosen, as in `prune`."""

    layers: Annotated[int, Field(ge=1)] | tuple[Annotated[int, Field(ge=0)], ...] | None = None
    decoder_layers: Annotated[int, Field(ge=1)] | tuple[Annotated[int, Field(ge=0)], ...] | None = None
    hidden: Annotated[int, Field(ge=1)] | None = None
    heads: Annotated[int, Field(ge=1)] | None = None
    ffn: Annotated[int, Field(ge=1)] | None = None
    embedding_rank: Annotated[int, Field(ge=1)] | None = None
    importance: Importance = "activation"
    model: Source | None = None
    config: Config | None = None
    code: str | None = None
    weights: Source | None = None
    states: tuple[str, ...] = ()
    init: Literal["random", "adapt"] = "random"
    init_from: Source | None = None

    @pydantic.model_validator(mode="after")
    def _one_source(self) -> Student:
        derived = [self.layers, self.decoder_layers, self.hidden, self.heads, self.ffn, self.embedding_rank]
        given = [one is not None for one in (self.model, self.config, self.code)]
        if sum(given) + any(v is not None for v in derived) > 1:
            raise ValueError("'model', 'config', 'code' and sizes derived from the teacher exclude each other")
        if self.code is None and (self.weights is not None or self.states):
            raise ValueError("'weights' and 'states' go with 'code'")
        if self.init == "adapt" and self.config is None:
            raise ValueError("'init: adapt' says what a 'config' starts from; give one, or leave init out")
        if self.init_from is not None and self.init != "adapt":
            raise ValueError("'init_from' names the weights of 'init: adapt', which is not asked for")
        return self


class Cache(Section):
    """Where the teacher's outputs are kept: in the run's own folder, or in `folder`, which several runs share. Past
    `limit_gb` those that were not used for the longest time are dropped, never what the running stage reads."""

    folder: str | None = None
    limit_gb: Annotated[float, Field(ge=0)] | None = None


class Recipe(Readable):
    """The whole recipe. `stages` is a list of one-key mappings, e.g. `- prune: {heads: 0.5}`, in the order they run.

    `targets` is a list of names; `- tflite-mobile: {sequences: [32, 128]}` gives one of them options, which are kept
    in `target_options`. `metric` picks another primary metric than the task's own first one: the best epoch, the choice
    of int8, verdicts and `max_drop` go by it."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]
    task: TaskName
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 0
    data: Data
    teacher: Teacher
    student: Student = Student()
    stages: tuple[pydantic.SerializeAsAny[StageOptions], ...] = ()
    targets: tuple[str, ...] = ("onnxruntime-cpu",)
    target_options: dict[str, dict[str, Any]] = {}
    benchmark: Annotated[Benchmark, Field(validate_default=True)] = Benchmark()
    gates: Gates = Gates()
    cache: Cache = Cache()
    metric: str | None = None
    licences: Licences = Licences()
    accept_licence: AcceptLicence = AcceptLicence()

    @pydantic.field_validator("stages", mode="before")
    @classmethod
    def _by_family(cls, stages: Any) -> Any:
        """Stages as a recipe writes them; what is no list of one-key mappings is left to validation."""
        if not isinstance(stages, list | tuple):
            return stages
        return tuple(parse_stage(stage) if isinstance(stage, dict) else stage for stage in stages)

    @pydantic.field_serializer("stages")
    def _with_family(self, stages: tuple[StageOptions, ...]) -> list[dict[str, Any]]:
        return [{stage.kind: stage.model_dump(mode="json")} for stage in stages]

    @pydantic.field_validator("benchmark")
    @classmethod
    def _as_long_as_the_data(cls, benchmark: Benchmark, others: pydantic.ValidationInfo) -> Benchmark:
        """Sequences that the recipe does not name follow `data.max_length`, which it may have lowered."""
        data = others.data.get("data")  # missing where it is at fault itself
        task = TASKS.get(others.data.get("task", ""))
        if data is None or task is None or not task.inputs.sequences:
            return benchmark
        if "sequences" in benchmark.model_fields_set:
            return benchmark
        fitting = tuple(dict.fromkeys(min(length, data.max_length) for length in benchmark.sequences))
        return benchmark.model_copy(update={"sequences": fitting})

    @pydantic.field_validator("metric")
    @classmethod
    def _a_metric_with_labels(cls, value: str | None) -> str | None:
        if value is not None and (fault := metric_fault(value)):
            raise ValueError(fault)
        if value is not None and METRICS[value].against != "labels":
            known = ", ".join(key for key, one in METRICS.items() if one.against == "labels")
            raise ValueError(f"{value!r} compares with the teacher; a primary metric compares with labels: {known}")
        return value

    @pydantic.field_validator("gates")
    @classmethod
    def _of_these_targets(cls, gates: Gates, others: pydantic.ValidationInfo) -> Gates:
        names = others.data.get("targets", ())  # missing where they are at fault themselves
        if names and (unknown := sorted(set(gates.by_target) - set(names))):
            raise ValueError(f"by_target names {unknown[0]!r}, which is not in targets: {', '.join(names)}")
        return gates

    @property
    def digest(self) -> str:
        """Hex sha256 of everything the recipe says of its results, whatever the order and comments of the file."""
        text = json.dumps(self.model_dump(mode="json", exclude={"cache", "licences", "accept_licence"}), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def contradictions(self) -> Iterator[str]:
        """Values that are right one by one and wrong together, a line each."""
        longest, limit = max(self.benchmark.sequences, default=0), self.data.max_length
        inputs = load_task(self.task).inputs
        if inputs.sequences and longest > limit:
            yield f"benchmark.sequences: got {longest}, allowed: lengths up to data.max_length, which is {limit}."
        if inputs.needs_tokenizer and self.teacher.config is not None and self.teacher.tokenizer is None:
            yield (
                "teacher.tokenizer: missing. A text model trained in the run needs the folder or hub id of a tokenizer."
            )
        task = load_task(self.task)
        yield from self.metrics_at_fault(task.metrics, task.generated)
        if self.benchmark.generated and not task.generated:
            yield f"benchmark.generated: {self.task} makes no texts of sources. Leave it out."

    def metrics_at_fault(self, known: tuple[str, ...], generated: tuple[str, ...] = ()) -> Iterator[str]:
        """A line for each metric that is asked for and is not one of the task's: a gate on it could only be missed,
        after hours of training. A metric of the user's own is taken at their word.

        Args:
            known: the task's metrics.
            generated: those of texts that an artifact makes by itself, on which no choice rests: gates alone name them.
        """
        asked = [("metric", self.metric)] if self.metric is not None else []
        asked += [("gates.metrics", key) for key in self.gates.metric_keys]
        asked += [(f"gates.{short}", "accuracy") for short in self.gates.short_forms]
        for place, key in asked:
            if key in generated and place.startswith("gates"):
                if not self.benchmark.generated:
                    yield f"{place}: {key!r} is of generated texts; say in benchmark.generated of how many test rows."
            elif key not in known and key in BUILT_IN:
                yield f"{place}: {self.task} does not take {key!r}; it takes {', '.join(known)}."

    @classmethod
    def load(cls, path: str | Path, overrides: tuple[str, ...] = ()) -> Recipe:
        """Read a YAML recipe.

        Args:
            path: the file.
            overrides: `key.path=value` texts as `--set` takes them.

        Raises:
            RecipeError: the file is missing or no YAML, or the recipe has faults; the message lists all of them.
        """
        return read_file(cls, Path(path), overrides)


def parse_recipe(mapping: Mapping[str, Any], origin: str) -> Recipe:
    """The recipe in a mapping as YAML gives it; `origin` names it in messages.

    Raises:
        RecipeError: the message lists all faults.
    """
    return read_mapping(Recipe, mapping, origin)
