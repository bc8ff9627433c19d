"""A report as a run on four targets writes it: every section has figures, and some are missing for a reason."""

from __future__ import annotations

import numpy as np

from edgepress.benchmarks.judge.latency import latency_rows
from edgepress.benchmarks.records.costs import BatchCheck, Footprint, IsaCheck, MachinePeak, Roofline
from edgepress.benchmarks.records.report import (
    ClassAccuracy,
    Figures,
    GateVerdict,
    LatencyRow,
    Measurement,
    Report,
    Row,
    StageRow,
)
from edgepress.benchmarks.records.scenarios import Point, ScenarioResult, Shape
from edgepress.targets.records import Candidate, HardwareBuild
from tests.benchmarks.quality import beside, quality

SHAPES = (Shape(batch=1, sequence=32, threads=1), Shape(batch=1, sequence=128, threads=1))
CLASSES = ("negative", "positive", "neutral", "a mixture of all of them", "no opinion at all")
NO_ENERGY = "not measured: the machine offers no RAPL counters (/sys/class/powercap is missing)"
NO_GPU = "built, not run: no NVIDIA driver"
NO_TPU = "compiled for TPU v5e, not run: no TPU here"
TEACHER_MS, MACS = (12.4, 47.1), 340_000_000


def timed(p50: float, shape: Shape, seed: int) -> Measurement:
    """Samples around `p50` ms with a tail, as a quiet machine gives them."""
    numbers = np.random.default_rng(seed)
    samples = p50 * (1 + numbers.gamma(2.0, 0.01, size=700) - 0.017)
    return Measurement(
        metric="latency", unit="ms", samples=tuple(samples.tolist()), shape=shape, warmup_rounds=24, stable=seed != 5
    )


def latency(*p50: float, seed: int, int8: float = 0.0, macs: int = MACS) -> tuple[LatencyRow, ...]:
    """One row a shape, with its roofline under peaks of 410 and 1100 G operations a second."""
    teacher = [timed(value, shape, 99) for value, shape in zip(TEACHER_MS, SHAPES, strict=True)]
    mine = [timed(value, shape, seed) for value, shape in zip(p50, SHAPES, strict=True)]
    rows = []
    for factor, one in zip((1, 4), latency_rows(mine, teacher, keep_raw=True), strict=True):
        int8_macs = int(macs * factor * int8)
        bound = 2e-6 * ((macs * factor - int8_macs) / 410 + int8_macs / 1100)
        roof = Roofline(
            macs=macs * factor, int8_macs=int8_macs, bytes=7_000_000 if int8 else 28_000_000, bound_ms=bound,
            limited_by="arithmetic", share=bound / one.p50,
        )  # fmt: skip
        rows.append(one.model_copy(update={"roofline": roof, "pinned": (1,)}))
    return tuple(rows)


def classes(shift: float, teacher: bool = False) -> tuple[ClassAccuracy, ...]:
    return tuple(
        ClassAccuracy(
            name=name, samples=170 + n, accuracy=0.95 - 0.04 * n + shift * n, difference=None if teacher else shift * n
        )
        for n, name in enumerate(CLASSES)
    )


def footprint(rank: int) -> Footprint:
    return Footprint(
        zstd_bytes=6_100_000 + rank * 900_000, runtime_memory_bytes=61_000_000, cold_start_ms=412.0 + 31 * rank,
        peak_memory_bytes=118_000_000 + rank * 7_000_000, energy_note=NO_ENERGY,
    )  # fmt: skip


def curve(slowdown: float, p50: float) -> ScenarioResult:
    """Two hundred seconds in which p50 rises to `slowdown` times itself."""
    points = tuple(
        Point(seconds=2.0 * n + 1, p50_ms=p50 * (1 + (slowdown - 1) * max(0, n - 20) / 80), calls=300)
        for n in range(100)
    )
    return ScenarioResult(
        scenario="sustained", shape=SHAPES[0], value=slowdown, unit="x", samples=30_000, curve=points,
        meaning="last tenth against the first tenth of 200 s without a break",
    )  # fmt: skip


def loads(rank: int, p50: float) -> tuple[ScenarioResult, ...]:
    common = {"shape": SHAPES[0], "samples": 662}
    return (
        ScenarioResult(
            scenario="multi-stream", value=8.6 * p50, unit="ms", meaning="p99 of queries of 8 samples", **common
        ),
        ScenarioResult(
            scenario="offline", value=1000 / p50, unit="samples/s", meaning="throughput at batch 1", **common
        ),
        ScenarioResult(
            scenario="server", value=None, unit="queries/s", meaning="highest rate with a p99 within 10 ms",
            failure="took longer than 60 s", **common,
        ),
        curve(1.0 + 0.07 * rank, p50),
    )  # fmt: skip


def measured(name: str, target: str, precision: str, rank: int, *p50: float, chosen: bool = False) -> Row:
    """A row that ran here; the larger `rank`, the worse it is."""
    int8 = 0.97 if precision == "int8" else 0.0
    drop = 0.004 * rank
    metrics = quality(
        0.9106 - drop, 0.99 - drop, low=0.8894 - drop, high=0.9281 - drop, difference=-drop,
        difference_low=-drop - 0.011, difference_high=-drop + 0.009, flips_lost=9 + rank, flips_won=7, p=0.62,
    )  # fmt: skip
    metrics += (beside("kl", "KL", "nats", 0.013, False), beside("sqnr", "SQNR", "dB", 24.6, True))
    return Row(
        name=name, target=target, precision=precision, status="measured", chosen=chosen,
        metrics=metrics, parameters=6_970_000, macs=MACS,
        int8_mac_share=int8 or None, bytes=7_300_000 if int8 else 27_900_000, shrink=12.4 if int8 else 3.2,
        latency=latency(*p50, seed=rank, int8=int8), open_ms=33.0 + rank, first_inference_ms=3.1 * p50[0],
        validation=0.908,
        classes=classes(-0.003 * rank), footprint=footprint(rank), candidate=Candidate(name=name, precision="fp32"),
        batch_check=BatchCheck(batch=32, value=0.9083 - drop, agreement=0.9966) if int8 else None,
        isa_checks=(
            IsaCheck(isa="AVX2 without VNNI", saturating=0.031, value=None, note="the runtime has no switch for it"),
        ) if int8 else (),
        scenarios=loads(rank, p50[0]) if chosen or rank < 3 else (),
    )  # fmt: skip


def absent(name: str, target: str, precision: str, status: str, reason: str, chosen: bool = False) -> Row:
    """A row whose hardware is not here: bytes are known, figures of its run are not."""
    build = HardwareBuild(
        hardware="TPU v5e", sizes={"batch": 1, "sequence": 32}, int8_products=25, half_products=2, float_products=0,
        code_bytes=3_350_000, estimated_ms=0.0432, source="libtpu 0.0.42.1",
    )  # fmt: skip
    return Row(
        name=name, target=target, precision=precision, status=status, reason=reason, chosen=chosen,
        metrics=quality(
            0.9071, 0.981, low=0.8855, high=0.925, difference=-0.0035, difference_low=-0.0138, difference_high=0.0069
        ), parameters=6_970_000, macs=MACS, bytes=14_100_000, shrink=6.4,
        numbers_from="ONNX Runtime's run of the same QDQ graph" if target == "tensorrt-gpu" else "",
        classes=classes(-0.005), builds=(build,) if target == "xla-tpu" else (),
    )  # fmt: skip


def candidates() -> tuple[Row, ...]:
    lost = {"precision": "int8", "status": "failed"}
    cpu, phone, gpu, tpu = "onnxruntime-cpu", "tflite-mobile", "tensorrt-gpu", "xla-tpu"
    return (
        measured("fp32", cpu, "fp32", 0, 2.31, 9.4),
        measured("dynamic", cpu, "int8", 2, 1.32, 5.21),
        measured("static-entropy-smoothquant-0.5", cpu, "int8", 1, 1.06, 4.3, chosen=True),
        measured("static-minmax", cpu, "int8", 6, 1.04, 4.4),
        Row(name="static-percentile", target=cpu, reason="SQNR of the logits is 6.1 dB, at least 20 is asked", **lost),
        measured("fp32", phone, "fp32", 0, 3.42, 14.2),
        measured("fp16", phone, "fp16", 0, 3.5, 14.6),
        measured("dynamic-int8", phone, "int8", 4, 2.0, 8.1, chosen=True),
        Row(name="full-integer", target=phone, reason="the converter refuses GELU in int8 (encoder.layer.0)", **lost),
        absent("fp16", gpu, "fp16", "built", NO_GPU),
        absent("int8-qdq", gpu, "int8", "built", NO_GPU, chosen=True),
        absent("bf16", tpu, "bf16", "estimated", NO_TPU, chosen=True),
        absent("int8", tpu, "int8", "estimated", NO_TPU),
    )


def figures(accuracy: float, millions: float, p50: float) -> Figures:
    rows = latency(p50, 4 * p50, seed=7)
    rows = tuple(
        one.model_copy(update={"p50": value, "raw": ()}) for one, value in zip(rows, (p50, 4 * p50), strict=True)
    )
    return Figures(
        metrics=quality(accuracy, accuracy + 0.06), parameters=int(millions * 1e6), macs=MACS,
        bytes=int(4e6 * millions), latency=rows,
    )  # fmt: skip


def stages() -> tuple[StageRow, ...]:
    """Distilled, pruned in vain and dropped, factorized, quantized; p50 was measured anew before the last one."""
    teacher, student = figures(0.912, 22.0, 12.4), figures(0.905, 8.0, 3.1)
    pruned, thin = figures(0.88, 7.4, 3.0), figures(0.904, 7.0, 2.4)
    again, small = figures(0.904, 7.0, 2.31), figures(0.9, 1.8, 1.06)
    told = (
        ("distill", teacher, student, "kept", ()),
        ("prune", student, pruned, "dropped", ("accuracy fell by 2.5 points, at most 1.0 is allowed",)),
        ("factorize", student, thin, "kept although it did not pay", ("p50 is less than 5 % better at sequence 128",)),
        ("quantize", again, small, "kept", ()),
    )
    return tuple(
        StageRow(
            name=f"{n:02d}-{kind}", kind=kind, verdict=verdict, reasons=reasons, before=before, after=after,
            seconds=70.0 * n, summary=f"what {kind} did, in one line", details={"plan": {"layer0": [0, 2]}},
        )
        for n, (kind, before, after, verdict, reasons) in enumerate(told, 2)
    )  # fmt: skip


def gates() -> tuple[GateVerdict, ...]:
    found = []
    for target in ("onnxruntime-cpu", "tflite-mobile", "tensorrt-gpu", "xla-tpu"):
        bad = target == "tflite-mobile"
        found += [
            GateVerdict(
                gate="max_accuracy_drop", target=target, limit=0.02, measured=0.016 if bad else 0.004,
                bound=0.027 if bad else 0.015, passed=not bad, judged="bound",
            ),
            GateVerdict(gate="min_shrink", target=target, limit=4.0, measured=6.4, passed=True),
        ]  # fmt: skip
    return tuple(found)


def whole_report() -> Report:
    """Fourteen rows on four targets at two shapes."""
    teacher = Row(
        name="distilbert-base-uncased-finetuned-sst-2-english", target="onnxruntime-cpu", precision="fp32",
        status="measured", metrics=quality(0.9106, 1.0, low=0.8894, high=0.9281),
        parameters=66_960_000, macs=10 * MACS, bytes=268_000_000, shrink=1.0, classes=classes(0, teacher=True),
        latency=latency(*TEACHER_MS, seed=99, macs=5 * MACS), open_ms=412.0, first_inference_ms=31.0,
        footprint=footprint(9).model_copy(update={"energy_mj": 310.0, "energy_note": "RAPL, 20 s of calls"}),
        scenarios=(curve(1.02, TEACHER_MS[0]),),
    )  # fmt: skip
    note = "tflite-mobile has no int8 product of that size"
    peaks = tuple(
        MachinePeak(target=target, threads=1, fp32_gops=410.0, int8_gops=int8, bandwidth_gb_s=11.3, note=why)
        for target, int8, why in (("onnxruntime-cpu", 1100.0, ""), ("tflite-mobile", None, note))
    )
    return Report(
        name="sst2-four-targets",
        task="text-classification",
        created="2026-01-02T03:04:05+00:00",
        recipe_digest="ab" * 32,
        environment={"cpu": "some CPU", "memory_bytes": 8_000_000_000, "isa": ["avx2", "fma"], "usable_cores": 2},
        data={"rows": {"train": 60_000, "test": 872}, "test_reads": 1},
        teacher=teacher,
        candidates=candidates(),
        stages=stages(),
        gates=gates(),
        notes=("Another process used 12 % of the processor before the measurement.",),
        peaks=peaks,
    )
