"""Scenarios on a simulated clock: what they give is computed by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from edgepress import targets
from edgepress.benchmarks.measure.scenarios import (
    ScenarioJob,
    highest_rate,
    multi_stream,
    offline,
    run_scenario,
    server,
    slowdown,
    sustained,
)
from edgepress.benchmarks.records.report import Shape
from edgepress.targets.errors import BenchmarkError
from tests.targets.tiny import make_calibration, make_model

SHAPE = Shape(batch=1, sequence=None, threads=1)


class Simulated:
    """A clock that moves by `call_ms` for each call and by what is waited for, and by nothing else."""

    def __init__(self, call_ms: float) -> None:
        self.now, self.call_ms = 0, call_ms

    def clock(self) -> int:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += round(seconds * 1e9)

    def call(self) -> None:
        self.now += round(self.call_ms * 1e6)


def test_offline_is_samples_over_the_time_that_went_by() -> None:
    world = Simulated(10.0)
    assert offline(world.call, 4, 1.0, world.clock) == (400.0, 100)


def test_a_call_longer_than_the_time_is_counted_once_and_whole() -> None:
    world = Simulated(3000.0)
    assert offline(world.call, 6, 1.0, world.clock) == (2.0, 1)


def test_multi_stream_times_the_whole_query() -> None:
    world = Simulated(2.0)
    assert multi_stream(lambda: [world.call() for _ in range(8)], 3, world.clock) == (16.0, 16.0, 16.0)


def test_an_idle_server_answers_in_the_time_of_a_call_and_a_busy_one_lets_queries_wait() -> None:
    world = Simulated(1.0)
    assert np.median(server(world.call, 1.0, 50, 0, world.clock, world.wait)) == pytest.approx(1.0)
    latencies = server(world.call, 2000.0, 400, 0, world.clock, world.wait)
    # Twice as many arrive as are answered: the queue grows by half a ms a query.
    assert latencies[-1] == pytest.approx(200.0, rel=0.15)


def test_the_highest_rate_grows_with_the_bound_and_is_nothing_below_a_single_call() -> None:
    world = Simulated(1.0)
    rates = [highest_rate(world.call, bound, 662, 0, world.clock, world.wait) for bound in (0.5, 3.0, 30.0)]
    assert rates[0] == 0
    assert 0 < rates[1] < rates[2] < 1000


def test_a_device_that_gets_slower_is_seen_in_the_curve() -> None:
    world = Simulated(1.0)

    def call() -> None:
        world.call_ms = 1.0 if world.now < 5e9 else 1.5
        world.call()

    curve = sustained(call, 10.0, world.clock)
    assert 95 <= len(curve) <= 101
    assert curve[0].p50_ms == 1.0 and curve[-1].p50_ms == 1.5
    assert slowdown(curve) == 1.5
    with pytest.raises(BenchmarkError, match="has no window"):
        slowdown(())


def test_a_server_needs_a_latency_bound() -> None:
    with pytest.raises(BenchmarkError, match="needs a latency bound in ms: give --latency-bound"):
        run_scenario(ScenarioJob(scenario="server", folder="", feeds="", shape=SHAPE, seconds=1), 10)


@pytest.mark.slow
def test_each_scenario_runs_on_a_real_artifact(tmp_path: Path) -> None:
    model, target = make_model("resnet"), targets.load("onnxruntime-cpu")
    calibration = make_calibration(model.signature)
    target.export(model, calibration, target.candidates(model, "fp32")[0], tmp_path / "artifact")
    save_file({"pixel_values": calibration[0]["pixel_values"][:1].copy()}, tmp_path / "feeds.safetensors")
    units = {}
    for scenario, bound in (("multi-stream", None), ("offline", None), ("server", 50.0), ("sustained", None)):
        load = ScenarioJob.model_validate({
            "scenario": scenario, "folder": str(tmp_path / "artifact"), "feeds": str(tmp_path / "feeds.safetensors"),
            "shape": SHAPE, "seconds": 0.5, "latency_bound_ms": bound,
        })  # fmt: skip
        result = run_scenario(load, 120)
        assert result.value > 0 and result.samples > 0 and (scenario == "sustained") == bool(result.curve)
        units[scenario] = result.unit
    assert units == {"multi-stream": "ms", "offline": "samples/s", "server": "queries/s", "sustained": "x"}
