"""What the parts of a recipe have in common, and the two that ask for figures: the benchmark and the gates."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

import pydantic
from pydantic import Field

from edgepress.benchmarks.records.scenarios import ScenarioName
from edgepress.compress.recipe.paths import in_home

Fraction = Annotated[float, Field(gt=0, lt=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NOT_EMPTY = r"\S"


def _finite(config: dict[str, Any]) -> dict[str, Any]:
    """Raises ValueError where it holds NaN or an infinity, for which JSON and so the digest of a stage has no word."""
    try:
        json.dumps(config, allow_nan=False)
    except ValueError:
        raise ValueError("holds .nan or .inf, which no configuration file can") from None
    return config


# A transformers configuration.
Config = Annotated[dict[str, Any], pydantic.AfterValidator(_finite)]
# A file, folder, hub id or built-in.
Source = Annotated[str, Field(pattern=NOT_EMPTY), pydantic.AfterValidator(in_home)]
Importance = Literal["magnitude", "activation", "taylor"]


class Section(pydantic.BaseModel):
    """A part of the recipe."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), allow_inf_nan=False)


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


class StageOptions(Section):
    """What every stage has. `auto: true` drops the stage, with the reason, where it brought nothing.

    `max_drop` is the validation accuracy a stage may cost (0.01 = one point)."""

    kind: ClassVar[str]
    """The family: the stage's key in a recipe. Each method of it has options of its own, told apart by `method`."""

    method: str
    auto: bool = False
    max_drop: Share = 0.02


class RecoverableOptions(StageOptions):
    """Of a stage that takes something away: `recover` trains what is left, on the teacher's logits."""

    recover: Training | None = None


class Readable(Section):
    """A section that a reader makes of a whole file: the recipe."""

    def contradictions(self) -> Iterator[str]:
        """Values that are right one by one and wrong together, a line each."""
        return iter(())


class Benchmark(Section):
    """Shapes and sample counts of the latency measurements, and the loads that the report shows beside them.

    `samples` is the least of each artifact and shape; cheap models get more. `scenarios` are borne by the teacher and
    the chosen artifacts: `seconds` are those of offline and sustained, `latency_bound_ms` is that of server,
    `offline_batch` the rows of a call in offline. An artifact that gives no answer for `time_limit_s` hangs. `roofline`
    measures the machine's limits through each target, which takes some seconds.
    """

    batches: tuple[Annotated[int, Field(ge=1)], ...] = (1,)
    sequences: tuple[Annotated[int, Field(ge=2)], ...] = (32, 128)
    threads: tuple[Annotated[int, Field(ge=1)], ...] = (1,)
    samples: Annotated[int, Field(ge=11)] = 100
    warmup: Annotated[int, Field(ge=1)] = 10
    scenarios: tuple[ScenarioName, ...] = ()
    seconds: Annotated[float, Field(gt=0)] = 10.0
    latency_bound_ms: Annotated[float, Field(gt=0)] | None = None
    offline_batch: Annotated[int, Field(ge=1)] = 32
    time_limit_s: Annotated[float, Field(gt=0)] = 120.0
    roofline: bool = True

    @pydantic.model_validator(mode="after")
    def _bounded(self) -> Benchmark:
        if "server" in self.scenarios and self.latency_bound_ms is None:
            raise ValueError("the scenario 'server' needs a latency bound: give latency_bound_ms")
        return self


class Limits(Section):
    """What a chosen artifact must hold on the test split; latencies at every shape, a percentile only where the samples
    are enough to tell it."""

    max_accuracy_drop: Share | None = None
    min_accuracy: Share | None = None
    min_accuracy_ratio: Share | None = None
    max_p50_ms: Positive | None = None
    max_p90_ms: Positive | None = None
    max_p95_ms: Positive | None = None
    max_p99_ms: Positive | None = None
    min_speedup: Annotated[float, Field(gt=0)] | None = None
    min_shrink: Annotated[float, Field(gt=0)] | None = None
    max_bytes: Annotated[int, Field(ge=1)] | None = None


class Gates(Limits):
    """Limits for the chosen artifact of each target; a miss gives exit code 3.

    `confidence: 0.95` holds accuracy, its drop and the speed-up against the worse end of their 95 % intervals; None
    against the measured figures themselves. `by_target: {xla-tpu: {min_shrink: 5}}` replaces some limits for one
    target, and null takes one away there: a phone and a rack are not bought for the same size.
    """

    confidence: float | None = None
    by_target: dict[str, Limits] = {}

    def of(self, target: str) -> dict[str, float | int | None]:
        """The limits that hold for one target.

        >>> Gates(min_shrink=20, by_target={"xla-tpu": Limits(min_shrink=5)}).of("xla-tpu")["min_shrink"]
        5.0
        """
        own = self.by_target.get(target, Limits()).model_dump(exclude_unset=True)
        return self.model_dump(include=set(Limits.model_fields)) | own

    @pydantic.field_validator("confidence")
    @classmethod
    def _of_the_report(cls, value: float | None) -> float | None:
        if value not in (None, 0.95):
            raise ValueError(f"the report's intervals hold 0.95: give 0.95 or null, not {value:g}")
        return value
