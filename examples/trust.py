"""What the benchmark can be trusted with, measured with the benchmark itself.

    python examples/trust.py

The same artifact against itself 20 times: the interval of the ratio must hold 1 in 18, and be narrow. A session that
takes 5 % longer must be found. A model of 0.05 ms must be timed with 5 % of overhead at most. Prints a table, writes
`examples/results/trust.json`; the exit code is 1 where one of them fails. A minute or two, on an idle machine.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from edgepress.benchmarks.records.report import Measurement

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "trust.json"
REPEATS, MUST_HOLD, WIDEST = 20, 18, 0.03
SLOWER, SPIN_MS, OVERHEAD = 0.05, 0.05, 0.05
SAMPLES, WARMUP = 200, 20


def spin(nanoseconds: float) -> None:
    """Busy until so many ns are over: a model without memory, threads or luck."""
    end = time.perf_counter_ns() + nanoseconds
    while time.perf_counter_ns() < end:
        pass


class Spinning:
    """A session that takes SPIN_MS."""

    def infer(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        spin(SPIN_MS * 1e6)
        return {}


class Slowed:
    """Another session, and SLOWER of its time again."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def infer(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        start = time.perf_counter_ns()
        outputs: dict[str, np.ndarray] = self.inner.infer(feeds)
        spin(SLOWER * (time.perf_counter_ns() - start))
        return outputs


class Planted:
    """A target whose artifacts say by their settings what they are: `spin`, or `slowed` and the real one."""

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        pass

    @contextmanager
    def open(self, artifact: Any, folder: Path, threads: int = 1) -> Iterator[Any]:
        from edgepress import targets

        if artifact.settings.get("spin"):
            yield Spinning()
            return
        own = artifact.model_copy(update={"target": "onnxruntime-cpu", "settings": {}})
        with targets.load("onnxruntime-cpu").open(own, folder, threads) as session:
            yield Slowed(session) if artifact.settings.get("slowed") else session


def measure(request: dict[str, Any]) -> dict[str, Any]:
    """The child's side, where the planted target is known."""
    from edgepress import targets
    from edgepress.benchmarks.measure.timing import measure_pinned

    targets.TARGETS["planted"] = "examples.trust:Planted"
    return measure_pinned(request)


def make_artifact(folder: Path) -> Path:
    """A small BERT with random weights on ONNX Runtime, known as an artifact of the planted target."""
    from transformers import BertConfig

    from edgepress import targets
    from edgepress.compress.model.model import Model, network_from_config
    from edgepress.targets.records import Artifact, Candidate, Signature, TensorSpec

    names, shape = ("input_ids", "attention_mask"), ("batch", "sequence")
    signature = Signature(
        inputs=tuple(TensorSpec(name=name, dtype="int64", shape=shape) for name in names),
        outputs=(TensorSpec(name="logits", dtype="float32", shape=("batch", 2)),),
        bounds={"batch": (1, 8), "sequence": (2, 64)},
    )
    sizes = {"hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 2, "num_attention_heads": 2}
    network = network_from_config(BertConfig(num_labels=2, vocab_size=1000, **sizes), "text-classification")
    model = Model(network=network, task="text-classification", signature=signature)
    rows = [{name: np.ones((2, 16), np.int64) for name in names}]
    targets.load("onnxruntime-cpu").export(model, rows, Candidate(name="fp32", precision="fp32"), folder / "artifact")
    path = folder / "artifact" / "artifact.json"
    Artifact.read(path).model_copy(update={"target": "planted"}).write(path)
    return folder / "artifact"


def measured(
    artifact: Path, subjects: Mapping[str, dict[str, Any]], seed: int, length: int = 32
) -> dict[str, Measurement]:
    """The measurement of each subject (its settings), interleaved, in processes of their own."""
    from safetensors.numpy import save_file

    from edgepress.benchmarks.measure.jobs import Case, Subject
    from edgepress.benchmarks.measure.latency import measure_latency
    from edgepress.benchmarks.records.report import Shape

    feeds = artifact.parent / "feeds.safetensors"
    save_file({name: np.ones((1, length), np.int64) for name in ("input_ids", "attention_mask")}, feeds)
    case = Case(shape=Shape(batch=1, sequence=length, threads=1), feeds=str(feeds))
    everyone = [Subject(key=key, folder=str(artifact), settings=own) for key, own in subjects.items()]
    results = measure_latency(everyone, [case], SAMPLES, WARMUP, seed)
    for key, result in results.items():
        if result.failure:
            raise SystemExit(f"{key} failed: {result.failure}")
    return {key: result.measurements[0] for key, result in results.items()}


def ratio(above: Measurement, below: Measurement) -> tuple[float, float]:
    """The interval of above / below, as a report tells it."""
    from edgepress.benchmarks.judge.latency import latency_rows

    (row,) = latency_rows([below], [above])
    return (row.speedup_low or np.nan, row.speedup_high or np.nan)


def same(artifact: Path) -> dict[str, Any]:
    """The artifact against itself."""
    intervals, medians = [], []
    for seed in range(REPEATS):
        found = measured(artifact, {"a": {}, "b": {}}, seed)
        intervals.append(ratio(found["a"], found["b"]))
        medians.append(found["a"].percentile(50))
    halves = [(high - low) / 2 for low, high in intervals]
    hold = sum(low <= 1 <= high for low, high in intervals)
    return {
        "repeats": REPEATS, "hold_1": hold, "intervals": intervals, "p50_ms": float(np.median(medians)),
        "half_width_median": float(np.median(halves)), "half_width_largest": max(halves),
        "passed": hold >= MUST_HOLD and max(halves) <= WIDEST,
    }  # fmt: skip


def slowdown(artifact: Path) -> dict[str, Any]:
    found = measured(artifact, {"plain": {}, "slowed": {"slowed": True}}, seed=0)
    low, high = ratio(found["slowed"], found["plain"])
    return {"planted": 1 + SLOWER, "interval": (low, high), "passed": low > 1}


def overhead(artifact: Path) -> dict[str, Any]:
    """The median that the harness gives against the same call in a bare loop."""
    timed = measured(artifact, {"spin": {"spin": True}}, seed=0)["spin"].percentile(50)
    session, rounds = Spinning(), 2000
    loops = []
    for _ in range(5):
        start = time.perf_counter_ns()
        for _ in range(rounds):
            session.infer({})
        loops.append((time.perf_counter_ns() - start) / 1e6 / rounds)
    bare = float(np.median(loops))
    share = timed / bare - 1
    return {"harness_ms": timed, "bare_ms": bare, "overhead": share, "passed": abs(share) <= OVERHEAD}


def main() -> None:
    sys.path.insert(0, str(HERE.parent))
    from edgepress.benchmarks.measure import latency
    from edgepress.benchmarks.measure.busy import machine_load
    from edgepress.benchmarks.measure.environment import environment

    latency.CHILD = "examples.trust:measure"
    load = machine_load()
    with tempfile.TemporaryDirectory(prefix="edgepress-trust-") as temporary:
        artifact = make_artifact(Path(temporary))
        found = {"same": same(artifact), "slowdown": slowdown(artifact), "overhead": overhead(artifact)}
    a, s, o = found["same"], found["slowdown"], found["overhead"]
    told = {
        "the same artifact twice": f"1 held in {a['hold_1']} of {REPEATS}, half width {a['half_width_median']:.2%} "
        f"(median), {a['half_width_largest']:.2%} (largest), p50 {a['p50_ms']:.3f} ms",
        "5 % slower": f"ratio [{s['interval'][0]:.3f}, {s['interval'][1]:.3f}]",
        "overhead at 0.05 ms": f"{o['overhead']:+.2%}: {o['harness_ms']:.5f} ms against {o['bare_ms']:.5f} ms",
    }
    for (name, text), result in zip(told.items(), found.values(), strict=True):
        print(f"{'passed' if result['passed'] else 'FAILED'}  {name:24} {text}")
    record = {**found, "samples": SAMPLES, "environment": environment() | {"load_before_measuring": load.model_dump()}}
    RESULTS.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    raise SystemExit(0 if all(result["passed"] for result in found.values()) else 1)


if __name__ == "__main__":
    main()
