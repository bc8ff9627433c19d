"""The YAML a user writes, as frozen models. Unknown keys, wrong types and values out of range are refused.

Knows nothing of torch: a recipe is read, checked and digested in milliseconds.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import pydantic
from pydantic import Field

from edgepress.compress.recipe.data import Columns as Columns
from edgepress.compress.recipe.data import Data as Data
from edgepress.compress.recipe.sections import Benchmark, Config, Fraction, Gates, Section, Share, Source
from edgepress.compress.recipe.task_name import TaskName
from edgepress.compress.tasks import TASKS

Importance = Literal["magnitude", "activation", "taylor"]


class Training(Section):
    """One training loop, on transformers' Trainer. `learning_rate` decays linearly to 0 after `warmup`.

    `precision: auto` is bf16 where the processor or GPU is clearly faster at it, otherwise fp32; the history tells.

    `dropout` replaces every dropout rate of the model while it trains; None keeps the model's own. A student that is
    much smaller than its teacher underfits: 0 lets it follow, and is faster."""

    epochs: Annotated[float, Field(gt=0)] = 3.0
    batch_size: Annotated[int, Field(ge=1)] = 32
    learning_rate: Annotated[float, Field(gt=0)] = 2e-4
    warmup: Share = 0.06
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    gradient_accumulation: Annotated[int, Field(ge=1)] = 1
    precision: Literal["fp32", "bf16", "auto"] = "fp32"
    dropout: Annotated[float, Field(ge=0, lt=1)] | None = None
    checkpoint_seconds: Annotated[float, Field(gt=0)] = 60.0


class Teacher(Section):
    """`model`: a local transformers folder or a hub id; with `training` it is fine-tuned in the run on the recipe's
    train split, and its head starts fresh where it is missing or of another size. Or `config`: a transformers config to
    be trained in the run, for text with `tokenizer`, the folder or hub id whose tokenizer it takes."""

    model: Source | None = None
    config: Config | None = None
    tokenizer: Source | None = None
    training: Training | None = None
    trust_remote_code: bool = False

    @pydantic.model_validator(mode="after")
    def _one_source(self) -> Teacher:
        if (self.model is None) == (self.config is None):
            raise ValueError("give either 'model' (a folder or hub id) or 'config' (a model to train in the run)")
        return self

    @property
    def fine_tuned(self) -> bool:
        """Whether the run trains on a model that has weights already."""
        return self.model is not None and self.training is not None


class Student(Section):
    """Derived from the teacher: `layers` (a count, evenly spaced, or the indices to keep), `hidden`, `heads`, `ffn`
    (sizes), `embedding_rank`. Or another `model` (folder or hub id) or a transformers `config`.

    `importance` says by what the heads and neurons that stay are chosen, as in `prune`."""

    layers: Annotated[int, Field(ge=1)] | tuple[Annotated[int, Field(ge=0)], ...] | None = None
    hidden: Annotated[int, Field(ge=1)] | None = None
    heads: Annotated[int, Field(ge=1)] | None = None
    ffn: Annotated[int, Field(ge=1)] | None = None
    embedding_rank: Annotated[int, Field(ge=1)] | None = None
    importance: Importance = "activation"
    model: Source | None = None
    config: Config | None = None

    @pydantic.model_validator(mode="after")
    def _one_source(self) -> Student:
        derived = [self.layers, self.hidden, self.heads, self.ffn, self.embedding_rank]
        if (self.model is not None) + (self.config is not None) + any(v is not None for v in derived) > 1:
            raise ValueError("'model', 'config' and sizes derived from the teacher exclude each other")
        return self


class StageOptions(Section):
    """What every stage has. `auto: true` drops the stage, with the reason, where it brought nothing.

    `max_drop` is the validation accuracy a stage may cost (0.01 = one point)."""

    kind: ClassVar[str]
    auto: bool = False
    max_drop: Share = 0.02


class Distill(StageOptions):
    """Knowledge distillation: (1 - alpha) * cross-entropy + alpha * T² * KL, plus `hidden` * mean squared difference of
    hidden states (embeddings included) and `attention` * KL of attention maps.

    References: arXiv 1503.02531 (logits), 1909.10351 (hidden states, attention), 1910.01108 (initialisation)."""

    kind: ClassVar[str] = "distill"
    temperature: Annotated[float, Field(gt=0)] = 2.0
    alpha: Share = 0.9
    hidden: Annotated[float, Field(ge=0)] = 0.0
    attention: Annotated[float, Field(ge=0)] = 0.0
    layer_map: tuple[Annotated[int, Field(ge=0)], ...] | None = None
    control: bool = False
    training: Training = Training()


class Prune(StageOptions):
    """Structured pruning: shares of attention heads, FFN neurons and convolution channels to remove."""

    kind: ClassVar[str] = "prune"
    heads: Annotated[float, Field(ge=0, le=1)] = 0.0
    ffn: Annotated[float, Field(ge=0, le=1)] = 0.0
    channels: Annotated[float, Field(ge=0, le=1)] = 0.0
    importance: Importance = "activation"
    round_to: Annotated[int, Field(ge=1)] = 1
    recover: Training | None = None

    @pydantic.model_validator(mode="after")
    def _something(self) -> Prune:
        if self.heads == self.ffn == self.channels == 0:
            raise ValueError("nothing to prune: give a share for 'heads', 'ffn' or 'channels'")
        for name in ("heads", "ffn", "channels"):
            if getattr(self, name) == 1:
                raise ValueError(f"'{name}: 1.0' would prune everything; a share below 1 leaves a model")
        return self


class Factorize(StageOptions):
    """Low-rank factors of Linear, Conv2d and Embedding layers, where the two factors cost less than the original.

    The rank comes from `energy` (share of the squared singular values kept), from `budget` (share of the factorizable
    parameters kept) or from `rank` itself. Reference: arXiv 1505.06798 (convolutions), 2403.07378 (whitening)."""

    kind: ClassVar[str] = "factorize"
    energy: Fraction | None = None
    budget: Fraction | None = None
    rank: Annotated[int, Field(ge=1)] | None = None
    layers: tuple[Literal["linear", "conv", "embedding"], ...] = ("linear", "conv", "embedding")
    exclude: tuple[str, ...] = ()
    activation_aware: bool = True
    recover: Training | None = None

    @pydantic.model_validator(mode="after")
    def _one_rule(self) -> Factorize:
        if sum(value is not None for value in (self.energy, self.budget, self.rank)) != 1:
            raise ValueError("give exactly one of 'energy', 'budget' and 'rank'")
        return self


class Quantize(StageOptions):
    """int8 by measurement: every candidate of the target, those in half precision too, is measured on validation data;
    the fastest within `max_drop` is kept. Where the hardware is not here the compiler's estimate counts, and without
    one the bytes. A candidate with less than `min_int8_share` of its MACs in int8 is no int8 artifact."""

    kind: ClassVar[str] = "quantize"
    max_drop: Share = 0.01
    min_int8_share: Share = 0.5
    candidates: tuple[str, ...] | None = None


AnyStage = Distill | Prune | Factorize | Quantize
STAGE_KINDS: dict[str, type[StageOptions]] = {kind.kind: kind for kind in (Distill, Prune, Factorize, Quantize)}


class Recipe(Section):
    """The whole recipe. `stages` is a list of one-key mappings, e.g. `- prune: {heads: 0.5}`, in the order they run.

    `targets` is a list of names; `- tflite-mobile: {sequences: [32, 128]}` gives one of them options, which are kept
    in `target_options`."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]
    task: TaskName
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 0
    data: Data
    teacher: Teacher
    student: Student = Student()
    stages: tuple[AnyStage, ...] = ()
    targets: tuple[str, ...] = ("onnxruntime-cpu",)
    target_options: dict[str, dict[str, Any]] = {}
    benchmark: Annotated[Benchmark, Field(validate_default=True)] = Benchmark()
    gates: Gates = Gates()

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

    @pydantic.field_validator("gates")
    @classmethod
    def _of_these_targets(cls, gates: Gates, others: pydantic.ValidationInfo) -> Gates:
        names = others.data.get("targets", ())  # missing where they are at fault themselves
        if names and (unknown := sorted(set(gates.by_target) - set(names))):
            raise ValueError(f"by_target names {unknown[0]!r}, which is not in targets: {', '.join(names)}")
        return gates

    @property
    def digest(self) -> str:
        """Hex sha256 of everything the recipe says, whatever the order and comments of the file."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    @classmethod
    def load(cls, path: str | Path, overrides: tuple[str, ...] = ()) -> Recipe:
        """Read a YAML recipe; `overrides` are `key.path=value` texts as `--set` takes them."""
        from edgepress.compress.recipe.reader import read_recipe

        return read_recipe(Path(path), overrides)
