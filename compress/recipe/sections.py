"""What the parts of a recipe have in common, and the two that ask for figures: the benchmark and the gates."""

from __future__ import annotations

import json
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Annotated, Any, ClassVar, Literal

import pydantic
from pydantic import Field

from edgepress.benchmarks.metrics import METRICS
from edgepress.benchmarks.metrics.base import ACCURACY
from edgepress.benchmarks.records.scenarios import ScenarioName
from edgepress.compress.recipe.paths import in_home

Fraction = Annotated[float, Field(gt=0, lt=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Drop = Annotated[float, Field(ge=0)]
"""How much worse a metric may be, in its own unit: more than 1 for errors of large numbers."""
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
    """One training loop, on transformers' Trainer. After `warmup`, `learning_rate` goes by `schedule`: linear or cosine
    to 0, or it stays constant.

    `precision: auto` is bf16 where the processor or GPU is clearly faster at it, otherwise fp32; the history tells.

    `dropout` replaces every dropout rate of the model while it trains; None keeps the model's own. A student that is
    much smaller than its teacher underfits: 0 lets it follow, and is faster."""

    epochs: Annotated[float, Field(gt=0)] = 3.0
    batch_size: Annotated[int, Field(ge=1)] = 32
    learning_rate: Annotated[float, Field(gt=0)] = 2e-4
    warmup: Share = 0.06
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    optimizer: Literal["adamw", "adafactor", "rmsprop", "sgd"] = "adamw"
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    gradient_accumulation: Annotated[int, Field(ge=1)] = 1
    precision: Literal["fp32", "bf16", "auto"] = "fp32"
    dropout: Annotated[float, Field(ge=0, lt=1)] | None = None
    checkpoint_seconds: Annotated[float, Field(gt=0)] = 60.0


class StageOptions(Section):
    """What every stage has. `auto: true` drops the stage, with the reason, where it brought nothing.

    `max_drop` is how much of the primary metric on validation data a stage may cost, in its own unit (0.01 of accuracy:
    one point)."""

    kind: ClassVar[str]
    """The family: the stage's key in a recipe. Each method of it has options of its own, told apart by `method`."""

    method: str
    auto: bool = False
    max_drop: Drop = 0.02


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

    `samples` is the least of each artifact and shape; cheap models get more. `scenarios` are run on the teacher and
    the chosen artifacts: `seconds` are those of offline and sustained, `latency_bound_ms` is that of server,
    `offline_batch` the rows of a call in offline. An artifact that gives no answer for `time_limit_s` hangs. `roofline`
    measures the machine's limits through each target, which takes some seconds. Of `generated` test rows each artifact
    makes texts by itself, where the task is to make some of sources.
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
    generated: Annotated[int, Field(ge=0)] = 0

    @pydantic.model_validator(mode="after")
    def _bounded(self) -> Benchmark:
        if "server" in self.scenarios and self.latency_bound_ms is None:
            raise ValueError("the scenario 'server' needs a latency bound: give latency_bound_ms")
        return self


class MetricLimits(Section):
    """What one metric must hold.

    `max_drop` is how much worse than the teacher's it may be, in its own unit; `min_ratio` which part of the teacher's
    must be left. Where less is better, worse is more."""

    min: float | None = None
    max: float | None = None
    max_drop: Annotated[float, Field(ge=0)] | None = None
    min_ratio: Positive | None = None


def metric_fault(key: str) -> str:
    """What is wrong with the name of a metric, in one line with the known ones; empty where nothing is.

    >>> metric_fault("macro-f2").partition(";")[0], metric_fault("macro-f1")
    ("unknown metric 'macro-f2'", '')
    """
    if key in METRICS:
        return ""
    near = get_close_matches(key, METRICS, 1, 0.5)
    return f"unknown metric {key!r}; there are {', '.join(METRICS)}." + (f" Did you mean {near[0]!r}?" if near else "")


class GateLimits(Section):
    """What a chosen artifact must hold on the test split; latencies at every shape, a percentile only where the samples
    are enough to tell it. `metrics: {macro-f1: {min: 0.8, max_drop: 0.01}}` asks for any metric of the task;
    `min_accuracy`, `max_accuracy_drop` and `min_accuracy_ratio` are short for those of accuracy."""

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
    metrics: dict[str, MetricLimits] = {}

    @pydantic.field_validator("metrics")
    @classmethod
    def _known(cls, metrics: dict[str, MetricLimits]) -> dict[str, MetricLimits]:
        for key in metrics:
            if fault := metric_fault(key):
                raise ValueError(fault)
        return metrics

    @pydantic.model_validator(mode="after")
    def _said_once(self) -> GateLimits:
        asked = self.metrics.get("accuracy", MetricLimits())
        for short, whole in ACCURACY.items():
            name = whole.rpartition(".")[2]
            values = {getattr(self, short), getattr(asked, name)} - {None}
            if len(values) > 1:
                raise ValueError(f"{short} and metrics.accuracy.{name} say two things: give one of them")
        return self

    def flat(self, only_set: bool = False) -> dict[str, float | int | None]:
        """Limits by the names of gates: `min_shrink`, `macro-f1.max_drop`; those of accuracy by their short forms."""
        found: dict[str, float | int | None] = self.model_dump(
            include=set(GateLimits.model_fields) - {"metrics"}, exclude_unset=only_set
        )
        short = {whole: name for name, whole in ACCURACY.items()}
        for key, limits in self.metrics.items():
            for name, limit in limits.model_dump(exclude_unset=True).items():
                found[short.get(f"{key}.{name}", f"{key}.{name}")] = limit
        return found


class Gates(GateLimits):
    """Limits for the chosen artifact of each target; a miss gives exit code 3.

    `confidence: 0.95` holds accuracy, its drop and the speed-up against the worse end of their 95 % intervals; None
    against the measured figures themselves. `by_target: {xla-tpu: {min_shrink: 5}}` replaces some limits for one
    target, and null takes one away there: a phone and a rack are not bought for the same size.
    """

    confidence: float | None = None
    by_target: dict[str, GateLimits] = {}

    def of(self, target: str) -> dict[str, float | int | None]:
        """The limits that hold for one target.

        >>> Gates(min_shrink=20, by_target={"xla-tpu": GateLimits(min_shrink=5)}).of("xla-tpu")["min_shrink"]
        5.0
        """
        return self.flat() | self.by_target.get(target, GateLimits()).flat(only_set=True)

    @property
    def metric_keys(self) -> tuple[str, ...]:
        """Every metric that a gate names, accuracy's short forms left out."""
        keys = [key for limits in (self, *self.by_target.values()) for key in limits.metrics]
        return tuple(dict.fromkeys(keys))

    @property
    def short_forms(self) -> tuple[str, ...]:
        """The short names of gates on accuracy that have a limit, for all targets or for one."""
        everywhere = (self, *self.by_target.values())
        return tuple(short for short in ACCURACY if any(getattr(one, short) is not None for one in everywhere))

    @pydantic.field_validator("confidence")
    @classmethod
    def _of_the_report(cls, value: float | None) -> float | None:
        if value not in (None, 0.95):
            raise ValueError(f"the report's intervals hold 0.95: give 0.95 or null, not {value:g}")
        return value
