"""What an artifact costs beside its latency, how near it comes to the machine's limit, and whether it is steady."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from edgepress.targets.records import Record, WeightCount


class Footprint(Record):
    """What one artifact takes on this machine, in a process of its own. A figure that was not taken is null."""

    zstd_bytes: int | None = Field(default=None, description="shipped bytes, each file compressed by zstd at level 10")
    weights: WeightCount | None = Field(
        default=None, description="weights in the files, and the zeros among them; null: they cannot be read"
    )
    zeros_note: str = Field(default="", description="what zeros among the weights bring in time on this target")
    runtime_memory_bytes: int | None = Field(
        default=None, description="resident memory with the runtime loaded and no artifact opened, bytes"
    )
    peak_memory_bytes: int | None = Field(
        default=None, description="largest resident memory of a process that opens it and answers, bytes"
    )
    cold_start_ms: float | None = Field(
        default=None, description="from the start of a process to its first answer, packages loaded in it, ms"
    )
    starts: int = Field(default=0, description="processes behind these figures; the cold start is their median")
    energy_mj: float | None = Field(
        default=None, description="energy of the whole processor package for one call, idle power included, mJ"
    )
    energy_note: str = Field(default="", description="how energy was taken, or 'not measured: why'")
    failure: str = Field(default="", description="why figures are missing")


class BatchCheck(Record):
    """The same test rows answered in larger batches: dynamic quantization takes its ranges over the whole batch."""

    batch: int = Field(description="rows in one call")
    value: float | None = Field(
        description="the primary metric in such batches; null where it has no value, as the correlation of a constant"
    )
    agreement: float = Field(description="share of rows with the answer that the measured batch size gave, 0..1")


class IsaCheck(Record):
    """What another instruction set would make of the same int8 file."""

    isa: str = Field(description="instruction set, e.g. AVX2 without VNNI")
    saturating: float | None = Field(
        default=None, description="share of weight pairs whose products can leave 16 bits; 0 is proof of safety"
    )
    value: float | None = Field(default=None, description="the primary metric there; null: not measured")
    note: str = Field(default="", description="how it was found, or why it was not")


class MachinePeak(Record):
    """The limits of this machine for one runtime: large matrix products through the runtime itself, and memory."""

    target: str = Field(description="the runtime that multiplied")
    threads: int = Field(description="threads of the session")
    fp32_gops: float | None = Field(description="peak of fp32 products, 1e9 operations a second, 2 for each MAC")
    int8_gops: float | None = Field(description="the same for int8")
    bandwidth_gb_s: float | None = Field(description="copying a large array, bytes read and written, GB/s")
    note: str = Field(default="", description="why a figure is missing")


class Roofline(Record):
    """The least time that the machine's peaks leave an artifact at one shape."""

    macs: int = Field(description="multiply-accumulates of one call in the artifact's own graph")
    int8_macs: int = Field(description="those of them in int8")
    bytes: int = Field(description="bytes of weights that one call must read")
    bound_ms: float = Field(description="the larger of operations / peak and bytes / bandwidth, ms")
    limited_by: Literal["arithmetic", "memory"] = Field(description="which of the two it is")
    share: float = Field(description="bound / p50: 1 is the machine's limit")
