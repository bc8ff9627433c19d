"""What a measurement and a report hold. `report.json` is `Report` as JSON; its layout is versioned."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from targets.base import Candidate, Record

SCHEMA_VERSION: Literal["1.0"] = "1.0"
Status = Literal["measured", "built", "estimated", "unavailable", "failed"]


class Shape(Record):
    """What one latency figure was taken with. `sequence` is None for models without a sequence dimension."""

    batch: int
    sequence: int | None
    threads: int


class Measurement(Record):
    """Raw samples of one metric; statistics are derived."""

    metric: str
    unit: str
    samples: tuple[float, ...]
    shape: Shape

    def percentile(self, share: float) -> float:
        """Linear-interpolated percentile, `share` in 0..100, in `unit`."""
        return float(np.percentile(self.samples, share))


class LatencyRow(Record):
    """Latency of one artifact at one shape, in ms; `speedup` = the teacher's p50 / this p50, interleaved."""

    batch: int = Field(description="rows in one call")
    sequence: int | None = Field(description="tokens in a row; null for models without a sequence")
    threads: int = Field(description="threads of the session")
    unit: Literal["ms"] = Field(default="ms", description="unit of p50 and p90")
    p50: float = Field(description="median wall time of a call, ms")
    p90: float = Field(description="90th percentile of the wall time of a call, ms")
    samples: int = Field(description="timed calls, warm-up not counted")
    speedup: float | None = Field(description="the fp32 teacher's p50 / this p50 at this shape; null: not comparable")

    @property
    def shape(self) -> Shape:
        return Shape(batch=self.batch, sequence=self.sequence, threads=self.threads)


class Row(Record):
    """The teacher or one candidate: one artifact on one target. A figure that was not taken is null."""

    name: str = Field(description="name of the row, unique among those of its target")
    target: str = Field(description="where it runs, e.g. onnxruntime-cpu")
    precision: str = Field(description="precision really used: fp32, fp16, bf16 or int8")
    status: Status = Field(description="measured, built (not run here), estimated, unavailable or failed")
    reason: str = Field(default="", description="why the status is not 'measured', or why a figure is missing")
    chosen: bool = Field(default=False, description="whether this is the artifact that is released")
    accuracy: float | None = Field(default=None, description="share of right answers on the test split, 0..1")
    agreement: float | None = Field(default=None, description="share of test rows with the teacher's top class, 0..1")
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
    validation_accuracy: float | None = Field(
        default=None, description="accuracy on validation data, on which choices rest"
    )
    flips_lost: int | None = Field(default=None, description="test rows where the teacher is right and this one wrong")
    flips_won: int | None = Field(default=None, description="test rows where the teacher is wrong and this one right")
    mcnemar_p: float | None = Field(default=None, description="exact two-sided McNemar p-value of those flips")
    kl: float | None = Field(default=None, description="mean KL(teacher || this) of the class probabilities, nats")
    sqnr_db: float | None = Field(default=None, description="signal to noise of the logits against the teacher's, dB")


class Figures(Record):
    """The same figures before and after a stage, on validation data; latency in ms of the fp32 export (int8 after
    quantize) on the recipe's first target, one p50 a shape."""

    accuracy: float = Field(description="on validation data, 0..1")
    agreement: float = Field(description="share of validation rows with the teacher's top class, 0..1")
    parameters: int = Field(description="parameters, shared ones counted once")
    macs: int = Field(description="multiply-accumulates of one input")
    bytes: int = Field(description="bytes of the export")
    latency: tuple[LatencyRow, ...] = Field(description="one entry for each measured shape")


class StageRow(Record):
    """What one stage did and whether it earned its place."""

    name: str = Field(description="folder name of the stage, e.g. 02-prune")
    kind: str = Field(description="distill, prune, factorize or quantize")
    verdict: Literal["kept", "kept although it did not pay", "dropped"] = Field(description="what became of it")
    reasons: tuple[str, ...] = Field(default=(), description="what speaks against it, one line each")
    before: Figures = Field(description="figures of the model that went in")
    after: Figures = Field(description="figures of the model that came out")
    seconds: float = Field(description="wall time of the stage, s")
    summary: str = Field(default="", description="what was done, one line")
    details: dict[str, object] = Field(default={}, description="plan and findings of the stage")


class GateVerdict(Record):
    """One gate of the recipe: what it demands, what was measured, whether it holds."""

    gate: str = Field(description="name of the gate in the recipe")
    limit: float = Field(description="what the recipe demands")
    measured: float | None = Field(description="what the chosen artifact has; null: not measured, so not passed")
    passed: bool = Field(description="whether the gate holds")


class Report(Record):
    """Everything a run found. Written as `report.json`."""

    schema_version: Literal["1.0"] = Field(default=SCHEMA_VERSION, description="version of this layout")
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
