"""A report with one row of each kind."""

from __future__ import annotations

import pytest

from edgepress.benchmarks.records.report import Figures, GateVerdict, LatencyRow, Report, Row, StageRow
from edgepress.targets.records import Candidate
from tests.benchmarks.quality import quality
from tests.benchmarks.whole_report import whole_report


def latency(*p50: float) -> tuple[LatencyRow, ...]:
    return tuple(
        LatencyRow(
            batch=1, sequence=sequence, threads=1, p50=value, p90=value * 1.1, samples=20, speedup=first / value,
            p50_low=value * 0.99, p50_high=value * 1.02, speedup_low=first / value * 0.97, cv=0.04, robust_cv=0.01,
            speedup_high=first / value * 1.03, warmup_rounds=30, stable=True,
        )
        for sequence, value, first in zip((32, 128), p50, (8.0, 16.0), strict=True)
    )  # fmt: skip


def figures(accuracy: float, shipped: int, *p50: float) -> Figures:
    return Figures(
        metrics=quality(accuracy, 0.95), parameters=2_000_000, macs=9_000_000, bytes=shipped, latency=latency(*p50)
    )


@pytest.fixture
def report() -> Report:
    common = {"target": "onnxruntime-cpu", "parameters": 2_000_000, "macs": 9_000_000}
    teacher = Row(
        **common,
        name="big",
        precision="fp32",
        status="measured",
        metrics=quality(0.9, 1.0),
        bytes=80_000_000,
        shrink=1.0,
        latency=latency(8, 16),
    )
    small = Row(
        **common,
        name="dynamic",
        precision="int8",
        status="measured",
        chosen=True,
        metrics=quality(
            0.88, 0.95, low=0.86, high=0.9, difference=-0.02, difference_low=-0.035, difference_high=-0.005
        ),
        open_ms=41.0,
        first_inference_ms=2.5,
        bytes=8_000_000,
        shrink=10.0,
        latency=latency(1, 1.6),
        int8_mac_share=0.97,
        settings={"disabled_optimizers": ["SkipLayerNormFusion"]},
        candidate=Candidate(name="dynamic", precision="int8", options={"per_channel": True}),
    )
    broken = Row(name="static", target="onnxruntime-cpu", precision="int8", status="failed", reason="SQNR is 6 dB")
    absent = Row(name="rt", target="tensorrt-gpu", precision="int8", status="unavailable", reason="needs a GPU")
    stage = StageRow(
        name="02-prune",
        kind="prune",
        verdict="kept although it did not pay",
        reasons=("no faster than before",),
        before=figures(0.9, 80_000_000, 8, 16),
        after=figures(0.88, 40_000_000, 8, 15),
        seconds=75.0,
        summary="6 of 12 heads",
        details={"plan": {"layer0": [0, 2]}},
    )
    return Report(
        name="demo",
        task="text-classification",
        created="2026-01-02T03:04:05+00:00",
        recipe_digest="ab" * 32,
        environment={"cpu": "some CPU", "memory_bytes": 8_000_000_000, "isa": ["avx2", "fma"]},
        data={"rows": {"train": 100, "test": 50}},
        teacher=teacher,
        candidates=(small, broken, absent),
        stages=(stage,),
        gates=(GateVerdict(gate="max_bytes", limit=9_000_000, measured=8_000_000, passed=True),),
        notes=("a note",),
    )


@pytest.fixture
def whole() -> Report:
    """Fourteen rows on four targets, with figures in every section."""
    return whole_report()
