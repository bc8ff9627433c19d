"""What a measurement and a report hold. `report.json` is `Report` as JSON; its layout is versioned."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator, Field, model_validator

from edgepress.benchmarks.records.costs import BatchCheck, Footprint, IsaCheck, MachinePeak, Roofline
from edgepress.benchmarks.records.figures import Figure, figure_of, interval_of, one_primary, primary_of
from edgepress.benchmarks.records.scenarios import ScenarioResult
from edgepress.benchmarks.records.scenarios import Shape as Shape
from edgepress.benchmarks.records.upgrade import upgraded
from edgepress.benchmarks.statistics import Interval, Variation, least_samples
from edgepress.targets.records import Candidate, HardwareBuild, Record, WeightCount

SCHEMA_VERSION: Literal["2.0"] = "2.0"
Status = Literal["measured", "built", "estimated", "unavailable", "failed"]
# There is an artifact, and its hardware is not here.
ABSENT_HARDWARE: tuple[Status, ...] = ("built", "estimated")
WITH_ARTIFACT: tuple[Status, ...] = ("measured", *ABSENT_HARDWARE)


Metrics = Annotated[tuple[Figure, ...], AfterValidator(one_primary)]
"""Figures of one artifact, one of them primary; empty where nothing was taken."""


class Measurement(Record):
    """Raw samples of one metric in the order of the rounds; statistics are derived.

    `stable`: whether the last two windows of the warm-up agreed; None where there was none. `pinned`: the logical
    processors that the process was pinned to; empty where it was not. `sittings`: how many of the samples each process
    took, in order; empty where one took all.
    """

    metric: str
    unit: str
    samples: tuple[float, ...]
    shape: Shape
    warmup_rounds: int = 0
    stable: bool | None = None
    pinned: tuple[int, ...] = ()
    sittings: tuple[int, ...] = ()

    def percentile(self, share: float) -> float:
        """Linear-interpolated percentile, `share` in 0..100, in `unit`."""
        return float(np.percentile(self.samples, share))


class LatencyRow(Record):
    """Latency of one artifact at one shape, in ms; `speedup` = the teacher's p50 / this p50, interleaved."""

    batch: int = Field(description="rows in one call")
    sequence: int | None = Field(description="tokens in a row; null for models without a sequence")
    threads: int = Field(description="threads of the session")
    unit: Literal["ms"] = Field(default="ms", description="unit of all percentiles")
    p50: float = Field(description="median wall time of a call, ms")
    p90: float = Field(description="90th percentile of the wall time of a call, ms; certain from 64 samples on")
    samples: int = Field(description="timed calls, warm-up not counted")
    speedup: float | None = Field(description="the fp32 teacher's p50 / this p50 at this shape; null: not comparable")
    p50_low: float | None = Field(default=None, description="lower end of the 95 % bootstrap interval of p50, ms")
    p50_high: float | None = Field(default=None, description="upper end of the 95 % bootstrap interval of p50, ms")
    p95: float | None = Field(default=None, description="95th percentile, ms; null below 130 samples")
    p99: float | None = Field(default=None, description="99th percentile, ms; null below 662 samples")
    p99_9: float | None = Field(default=None, description="99.9th percentile, ms; null below 6636 samples")
    cv: float | None = Field(default=None, description="coefficient of variation: standard deviation / mean")
    robust_cv: float | None = Field(
        default=None, description="interquartile range / 1.349 / median: the variation without outliers"
    )
    speedup_low: float | None = Field(
        default=None, description="lower end of its 95 % bootstrap interval, processes and whole rounds drawn"
    )
    speedup_high: float | None = Field(
        default=None, description="upper end of its 95 % bootstrap interval, processes and whole rounds drawn"
    )
    warmup_rounds: int | None = Field(default=None, description="rounds before the first sample, not counted")
    stable: bool | None = Field(
        default=None, description="whether two successive windows of the warm-up agreed within 2 %"
    )
    raw: tuple[float, ...] = Field(
        default=(), description="every timed call in ms, in the order of the rounds; empty where they were not kept"
    )
    pinned: tuple[int, ...] = Field(
        default=(), description="logical processors that the process was pinned to; empty where it was not"
    )
    sittings: tuple[int, ...] = Field(
        default=(), description="how many of the timed calls each process took, in order; empty where one took all"
    )
    roofline: Roofline | None = Field(
        default=None, description="the machine's limit for it; null where that was not measured"
    )

    def percentile(self, share: float) -> float | None:
        """p50, p90, p95, p99 or p99.9 in ms; None where the samples are too few to tell it."""
        value = {50: self.p50, 90: self.p90, 95: self.p95, 99: self.p99, 99.9: self.p99_9}[share]
        return value if self.samples >= least_samples(share) else None

    @property
    def shape(self) -> Shape:
        return Shape(batch=self.batch, sequence=self.sequence, threads=self.threads)

    @property
    def variation(self) -> Variation | None:
        """How much the samples scatter; None in a report from before it was recorded."""
        if self.cv is None or self.robust_cv is None:
            return None
        return Variation(cv=self.cv, robust_cv=self.robust_cv)

    @property
    def unsteady(self) -> bool:
        """Whether the coefficient of variation is known and above 2.5 %."""
        return self.variation is not None and self.variation.unsteady

    @property
    def p50_interval(self) -> Interval | None:
        return interval_of(self.p50_low, self.p50_high)

    @property
    def speedup_interval(self) -> Interval | None:
        return interval_of(self.speedup_low, self.speedup_high)


class ClassAccuracy(Record):
    """Accuracy on the test rows of one class."""

    name: str = Field(description="name of the class")
    samples: int = Field(description="test rows whose label is this class")
    accuracy: float = Field(description="share of them with the right answer, 0..1")
    difference: float | None = Field(description="accuracy - the teacher's on the same rows; null for the teacher")


class Row(Record):
    """The teacher or one candidate: one artifact on one target. A figure that was not taken is null."""

    name: str = Field(description="name of the row, unique among those of its target")
    target: str = Field(description="where it runs, e.g. onnxruntime-cpu")
    precision: str = Field(description="precision really used: fp32, fp16, bf16, int8, or int4 (weights of 4 bits)")
    status: Status = Field(description="measured, built (not run here), estimated, unavailable or failed")
    reason: str = Field(default="", description="why the status is not 'measured', or why a figure is missing")
    chosen: bool = Field(default=False, description="whether this is the artifact that is released")
    metrics: Metrics = Field(default=(), description="the task's metrics on the test split, the primary one among them")
    parameters: int | None = Field(default=None, description="parameters, shared ones counted once")
    macs: int | None = Field(default=None, description="multiply-accumulates of one input")
    int8_mac_share: float | None = Field(default=None, description="share of those that run in int8, 0..1")
    bytes: int | None = Field(default=None, description="shipped bytes: every file that the device needs")
    shrink: float | None = Field(default=None, description="the fp32 teacher's bytes on the same target / these bytes")
    latency: tuple[LatencyRow, ...] = Field(default=(), description="one entry for each measured shape")
    settings: dict[str, object] = Field(default={}, description="session settings, chosen by measurement")
    candidate: Candidate | None = Field(
        default=None, description="method and options of the export; null for the teacher"
    )
    validation: float | None = Field(
        default=None, description="the primary metric on validation data, on which choices rest"
    )
    open_ms: float | None = Field(
        default=None, description="opening a session, its files' checksums included, packages loaded before, ms"
    )
    first_inference_ms: float | None = Field(default=None, description="the first call after opening, ms")
    numbers_from: str = Field(
        default="", description="what gave the answers where the hardware is not here; else empty"
    )
    builds: tuple[HardwareBuild, ...] = Field(
        default=(), description="what compilers made of it for hardware that is not here: estimates, not measured"
    )
    classes: tuple[ClassAccuracy, ...] = Field(
        default=(), description="accuracy by class, in the order of the classes; those without test rows are left out"
    )
    footprint: Footprint | None = Field(default=None, description="memory, cold start, energy and download size")
    batch_check: BatchCheck | None = Field(default=None, description="the test rows again in larger batches")
    isa_checks: tuple[IsaCheck, ...] = Field(default=(), description="the same file on other instruction sets")
    scenarios: tuple[ScenarioResult, ...] = Field(
        default=(), description="what it did under the loads that the recipe asks for"
    )

    @property
    def primary(self) -> Figure | None:
        """The metric that choices and verdicts rest on; None where nothing was taken."""
        return primary_of(self.metrics)

    def figure(self, key: str) -> Figure | None:
        """One metric by its key; None where it was not taken."""
        return figure_of(self.metrics, key)


class Figures(Record):
    """The same figures before and after a stage, on validation data; latency in ms of the fp32 export (int8 after
    quantize) on the recipe's first target that runs here, one p50 a shape."""

    metrics: Metrics = Field(description="the task's metrics on validation data, without intervals")
    parameters: int = Field(description="parameters, shared ones counted once")
    macs: int = Field(description="multiply-accumulates of one input")
    bytes: int = Field(description="bytes of the export")
    zstd_bytes: int | None = Field(
        default=None, description="bytes of the export, each file compressed by zstd at level 10; null: not taken"
    )
    zeros: int | None = Field(default=None, description="zeros among the model's weights of two and more dimensions")
    exported_zeros: WeightCount | None = Field(
        default=None, description="the same of the exported file; null: its weights cannot be read"
    )
    latency: tuple[LatencyRow, ...] = Field(description="one entry for each measured shape")

    @property
    def primary(self) -> Figure | None:
        """The metric that the stage's verdict rests on."""
        return primary_of(self.metrics)

    def figure(self, key: str) -> Figure | None:
        """One metric by its key; None where it was not taken."""
        return figure_of(self.metrics, key)


class StageRow(Record):
    """What one stage did and whether it earned its place."""

    name: str = Field(description="folder name of the stage, e.g. 02-prune")
    kind: str = Field(description="distill, prune, factorize, qat or quantize")
    verdict: Literal["kept", "kept although it did not pay", "dropped"] = Field(description="what became of it")
    reasons: tuple[str, ...] = Field(default=(), description="what speaks against it, one line each")
    before: Figures = Field(description="figures of the model that went in")
    after: Figures = Field(description="figures of the model that came out")
    seconds: float = Field(description="wall time of the stage, s")
    summary: str = Field(default="", description="what was done, one line")
    details: dict[str, object] = Field(default={}, description="plan and findings of the stage")

    @property
    def made_zeros(self) -> bool:
        """Whether at least a hundredth of the exported weights became zero in it, and bytes were compressed."""
        before, after = self.before, self.after
        known = before.exported_zeros and after.exported_zeros and before.zstd_bytes and after.zstd_bytes
        return bool(known) and after.exported_zeros.share - before.exported_zeros.share >= 0.01  # type: ignore[union-attr]


class GateVerdict(Record):
    """One gate of the recipe: what it demands, what was measured, whether it holds."""

    gate: str = Field(description="name of the gate in the recipe")
    target: str = Field(default="", description="the target whose chosen artifact it judges")
    limit: float = Field(description="what the recipe demands")
    measured: float | None = Field(description="what the chosen artifact has; null: not measured, so not passed")
    passed: bool = Field(description="whether the gate holds")
    bound: float | None = Field(
        default=None, description="the worse end of the measured figure's 95 % interval; null: it has none"
    )
    judged: Literal["point", "bound"] = Field(
        default="point", description="what was held against the limit: the measured figure or its bound"
    )


class Report(Record):
    """Everything a run found. Written as `report.json`."""

    schema_version: Literal["2.0"] = Field(default=SCHEMA_VERSION, description="version of this layout")
    name: str = Field(description="name of the run")
    task: str = Field(description="text-classification or image-classification")
    created: str = Field(description="when the report was written, ISO 8601 with time zone")
    recipe_digest: str = Field(description="sha256 of the recipe")
    environment: dict[str, object] = Field(description="CPU, memory, system and package versions of the machine")
    data: dict[str, object] = Field(description="sources, splits and row counts")
    teacher: Row = Field(description="the teacher in fp32, measured like the candidates")
    candidates: tuple[Row, ...] = Field(description="every candidate, those that failed or cannot run here included")
    stages: tuple[StageRow, ...] = Field(description="what each stage brought, in the order they ran")
    gates: tuple[GateVerdict, ...] = Field(description="the recipe's gates, judged on the chosen candidate")
    notes: tuple[str, ...] = Field(default=(), description="anything else a reader must know")
    peaks: tuple[MachinePeak, ...] = Field(
        default=(), description="the machine's limits by runtime and threads, measured in this run"
    )

    @model_validator(mode="before")
    @classmethod
    def _of_an_older_layout(cls, content: Any) -> Any:
        """A report of schema 1.0 is read as the 2.0 report that says the same."""
        return upgraded(content)

    @property
    def metric_keys(self) -> tuple[str, ...]:
        """Every metric that a row has, the primary one first."""
        figures = [figure for row in (self.teacher, *self.candidates) for figure in row.metrics]
        return tuple(dict.fromkeys(figure.key for figure in sorted(figures, key=lambda one: not one.primary)))

    @property
    def primary(self) -> Figure | None:
        """A figure of the primary metric, for its name and unit: the teacher's, or the first that there is."""
        rows = (self.teacher, *self.candidates)
        return next((row.primary for row in rows if row.primary is not None), None)

    def is_teacher(self, row: Row) -> bool:
        """Whether a row is the teacher itself: on its own target, or among the candidates of another one."""
        return row is self.teacher or (row.candidate is None and row.name == self.teacher.name and not row.chosen)

    @property
    def compressed(self) -> tuple[Row, ...]:
        """The candidates without the teacher's rows on the other targets."""
        return tuple(row for row in self.candidates if not self.is_teacher(row))

    @property
    def answers(self) -> tuple[Row, ...]:
        """One row of each target, in their order: its chosen artifact, or the row that says why it has none."""
        found: dict[str, Row] = {}
        for row in self.compressed:
            if row.chosen or row.target not in found:
                found[row.target] = row
        return tuple(found.values())

    @property
    def failed_targets(self) -> tuple[Row, ...]:
        """One row for each target that nothing can be released for: the chosen one that failed, or the first one."""
        return tuple(row for row in self.answers if not row.chosen or row.status not in WITH_ARTIFACT)
