from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from edgepress import targets
from edgepress.benchmarks.measure import latency
from edgepress.benchmarks.measure.jobs import Case, LatencyJob, Subject
from edgepress.benchmarks.measure.latency import measure_latency
from edgepress.benchmarks.measure.timing import measure_here
from edgepress.benchmarks.records.report import Shape
from edgepress.targets.device.turns import Enough, WarmUp, interleave, warm_up
from edgepress.targets.errors import BenchmarkError, TargetUnavailable
from edgepress.targets.records import Artifact, Candidate, Comparison, Feeds, Signature, TensorSpec

# A target for the child process: artifact.settings say how the session behaves.
FAKE = """
import os, signal, time
from contextlib import contextmanager
from edgepress import targets

class Session:
    def __init__(self, settings):
        self.settings, self.calls = settings, 0
    def infer(self, feeds):
        self.calls += 1
        if self.calls > self.settings.get("calls", 10**9):
            raise RuntimeError("out of luck")
        return dict(feeds)

class Fake:
    name = "fake"
    def __init__(self, options=None):
        pass
    @contextmanager
    def open(self, artifact, folder, threads=1):
        if artifact.settings.get("crash"):
            os.kill(os.getpid(), signal.SIGSEGV)
        if artifact.settings.get("hang"):
            time.sleep(600)
        if "needs" in artifact.settings:
            raise ValueError(f"needs {artifact.settings['needs']}")
        yield Session(artifact.settings)

targets.TARGETS["fake"] = "fake_backend:Fake"

def measure(request):
    from edgepress.benchmarks.measure.timing import measure_here
    return measure_here(request)
"""


class Ticks:
    """A clock that jumps 1 ms with each reading: every call takes 1 ms, or longer where it moves the clock itself."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        self.now += 1_000_000
        return self.now


def make_artifact(folder: Path, settings: dict[str, Any], bound: int = 64) -> str:
    folder.mkdir()
    ids = TensorSpec(name="ids", dtype="int64", shape=("batch", "sequence"))
    Artifact(
        name=folder.name,
        target="fake",
        candidate=Candidate(name="plain", precision="fp32"),
        precision="fp32",
        files=(),
        signature=Signature(inputs=(ids,), outputs=(), bounds={"batch": (1, 8), "sequence": (1, bound)}),
        parameters=1,
        int8_mac_share=0,
        comparison=Comparison(samples=1, max_abs_diff=0, agreement=1, sqnr_db=None),
        settings=settings,
    ).write(folder / "artifact.json")
    return str(folder)


def make_case(folder: Path, sequence: int, threads: int = 1) -> Case:
    path = folder / f"s{sequence}.safetensors"
    save_file({"ids": np.zeros((1, sequence), np.int64), "unused": np.zeros(1)}, path)
    return Case(shape=Shape(batch=1, sequence=sequence, threads=threads), feeds=str(path))


@pytest.fixture
def backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "fake_backend.py").write_text(FAKE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(latency, "CHILD", "fake_backend:measure")
    return tmp_path


def test_each_call_gets_its_own_time() -> None:
    clock = Ticks()
    done: list[str] = []

    def slow() -> None:
        done.append("slow")
        clock.now += 4_000_000

    times = interleave({"fast": lambda: done.append("fast"), "slow": slow}, samples=3, clock=clock)
    assert times == {"fast": (1.0, 1.0, 1.0), "slow": (5.0, 5.0, 5.0)}
    assert (done.count("fast"), done.count("slow")) == (3, 3)


def test_warm_up_goes_on_until_the_medians_of_two_windows_agree() -> None:
    """The call takes 1 + 8, then 4, 2, 1, 0 ms more: windows of 9, 5, 3, 2, 1, 1 ms."""
    clock = Ticks()
    extra = iter([8, 8, 4, 4, 2, 2, 1, 1, *[0] * 99])

    def warming() -> None:
        clock.now += next(extra) * 1_000_000

    assert warm_up({"a": warming}, window=2, clock=clock) == WarmUp(rounds=12, stable={"a": True})


def test_warm_up_ends_at_ten_windows_and_says_which_call_never_settled() -> None:
    clock = Ticks()
    slower, even = iter(range(1000)), iter(range(1000))

    def never() -> None:
        clock.now += 2 ** next(slower) * 1_000_000

    assert warm_up({"even": lambda: next(even), "never": never}, window=1, clock=clock) == WarmUp(
        rounds=10, stable={"even": True, "never": False}
    )
    assert next(even) == 2, "the call that agreed after two windows sat out the other eight"
    assert warm_up({"even": lambda: None}, window=0, clock=clock) == WarmUp(rounds=0, stable={"even": False})


def test_the_record_has_warm_up_and_cold_start(backend: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subject = Subject(key="a", folder=make_artifact(backend / "a", {}))
    job = LatencyJob(subjects=(subject,), cases=(make_case(backend, 16),), samples=2, warmup=3, seed=0)
    with in_this_process(monkeypatch):
        answer = measure_here(job.model_dump(mode="json"))["a"]
    assert 6 <= answer["measurements"][0]["warmup_rounds"] <= 30
    assert answer["measurements"][0]["stable"] in (True, False)
    assert answer["open_ms"] > 0 and answer["first_inference_ms"] > 0


def test_every_round_runs_each_call_once_in_an_order_that_changes_and_is_seeded() -> None:
    def rounds(seed: int) -> list[tuple[str, ...]]:
        done: list[str] = []
        calls = {name: (lambda name=name: done.append(name)) for name in "abc"}
        interleave(calls, samples=20, clock=Ticks(), seed=seed)
        return [tuple(done[start : start + 3]) for start in range(0, 60, 3)]

    assert all(sorted(order) == ["a", "b", "c"] for order in rounds(0))
    assert len(set(rounds(0))) > 1
    assert rounds(0) == rounds(0) != rounds(1)


def test_drift_of_the_machine_hits_all_alike() -> None:
    clock = Ticks()
    calls = {"a": lambda: None, "b": lambda: None}
    speed = iter(range(1000))

    def drifting() -> int:
        clock.now += next(speed) * 1000
        return clock()

    times = interleave(calls, samples=100, clock=drifting)
    assert np.median(times["a"]) == pytest.approx(np.median(times["b"]), rel=0.03)


def test_preparation_comes_before_each_call_and_outside_of_its_time() -> None:
    clock = Ticks()
    done: list[str] = []

    def prepare(key: str) -> None:
        done.append(f"prepare {key}")
        clock.now += 50_000_000

    times = interleave({"a": lambda: done.append("a")}, samples=2, clock=clock, prepare=prepare)
    assert times == {"a": (1.0, 1.0)}
    assert done == ["prepare a", "a"] * 2


def test_an_uncounted_call_of_the_same_model_comes_before_each_counted_one(
    backend: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five samples are ten calls and the first one: a backend that fails at its eleventh call fails here."""
    failures = {}
    for calls in (10, 11):
        subject = Subject(key="a", folder=make_artifact(backend / f"a{calls}", {"calls": calls}))
        job = LatencyJob(subjects=(subject,), cases=(make_case(backend, 16),), samples=5, warmup=0, seed=0)
        with in_this_process(monkeypatch):
            failures[calls] = measure_here(job.model_dump(mode="json"))["a"]["failure"]
    assert failures == {10: "batch 1, sequence 16, 1 thread: RuntimeError: out of luck", 11: None}


def test_measurements_come_in_the_order_of_the_cases_whatever_the_threads(backend: Path) -> None:
    folder = make_artifact(backend / "a", {})
    cases = [make_case(backend, 32, threads=2), make_case(backend, 16), make_case(backend, 8, threads=2)]
    result = measure_latency([Subject(key="a", folder=folder)], cases, samples=3, warmup=1, enough_s=0)["a"]
    assert [one.shape for one in result.measurements] == [case.shape for case in cases]
    assert all(len(one.samples) == 3 and min(one.samples) > 0 for one in result.measurements)
    assert result.failure is None


def test_the_same_folder_with_other_settings_is_another_subject_and_a_failure_stays_its_own(backend: Path) -> None:
    folder = make_artifact(backend / "a", {"needs": "a key"})
    subjects = [Subject(key="as exported", folder=folder), Subject(key="fused", folder=folder, settings={})]
    results = measure_latency(subjects, [make_case(backend, 16)], samples=3, warmup=0)
    assert results["as exported"].failure == "ValueError: needs a key"
    assert results["as exported"].measurements == ()
    assert len(results["fused"].measurements) == 1


def test_a_subject_that_crashes_the_process_does_not_take_the_others_with_it(backend: Path) -> None:
    subjects = [
        Subject(key="good", folder=make_artifact(backend / "a", {})),
        Subject(key="bad", folder=make_artifact(backend / "b", {"crash": True})),
    ]
    results = measure_latency(subjects, [make_case(backend, 16)], samples=3, warmup=0)
    assert len(results["good"].measurements) == 1 and results["good"].failure is None
    assert results["bad"].failure == "fake_backend:measure was killed by SIGSEGV"


def test_a_subject_that_hangs_is_stopped_and_the_others_are_measured(backend: Path) -> None:
    subjects = [
        Subject(key="good", folder=make_artifact(backend / "a", {})),
        Subject(key="stuck", folder=make_artifact(backend / "b", {"hang": True})),
    ]
    results = measure_latency(subjects, [make_case(backend, 16)], samples=3, warmup=0, silence_s=4, enough_s=0)
    assert len(results["good"].measurements) == 1 and results["good"].failure is None
    assert results["stuck"].failure == "fake_backend:measure gave no sign of life for 4 s and was stopped: it hangs"
    assert results["stuck"].measurements == ()


def test_cheap_calls_are_timed_more_often_until_the_time_or_the_most_is_reached() -> None:
    """Reading the fake clock takes 1 ms: a round of one call reads it three times, the start once more."""
    calls = {"a": lambda: None}
    counts = [
        len(interleave(calls, samples=2, clock=Ticks(), more=more)["a"])
        for more in (Enough(0.0, 100), Enough(0.02, 100), Enough(9.0, 5), Enough(0.02, 1))
    ]
    assert counts == [2, 7, 5, 2]


def test_what_was_opened_is_told_by_its_files_settings_and_threads(
    backend: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_artifact(backend / "a", {})
    subjects = tuple(
        Subject(key=str(number), folder=folder, settings=settings)
        for number, settings in enumerate([None, {}, {"calls": 99}])
    )
    identities = []
    for threads in (1, 2):
        job = LatencyJob(subjects=subjects, cases=(make_case(backend, 4, threads),), samples=1, warmup=0, seed=0)
        with in_this_process(monkeypatch):
            answer = measure_here(job.model_dump(mode="json"))
        identities += [one["opened"]["identity"] for one in answer.values()]
        assert answer["0"]["opened"]["answer"] == [0.0] * 4
    assert identities[0] == identities[1] and len(set(identities)) == 4


@contextmanager
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    from edgepress import targets

    with monkeypatch.context() as patch:
        patch.setitem(targets.TARGETS, "fake", "fake_backend:Fake")
        yield


def test_a_shape_that_the_signature_does_not_take_fails_for_that_subject_and_that_shape(
    backend: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subjects = (
        Subject(key="short", folder=make_artifact(backend / "a", {}, bound=16)),
        Subject(key="long", folder=make_artifact(backend / "b", {})),
    )
    cases = (make_case(backend, 32), make_case(backend, 16))
    job = LatencyJob(subjects=subjects, cases=cases, samples=2, warmup=0, seed=0)
    with in_this_process(monkeypatch):
        answer = measure_here(job.model_dump(mode="json"))
    assert "batch 1, sequence 32, 1 thread: input 'ids': sequence is 32" in answer["short"]["failure"]
    assert [one["shape"]["sequence"] for one in answer["short"]["measurements"]] == [16]
    assert [one["shape"]["sequence"] for one in answer["long"]["measurements"]] == [32, 16]


def test_a_subject_that_fails_in_the_middle_is_left_out_and_the_rest_measured_anew(
    backend: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subjects = (
        Subject(key="weak", folder=make_artifact(backend / "a", {"calls": 2})),
        Subject(key="strong", folder=make_artifact(backend / "b", {})),
    )
    job = LatencyJob(subjects=subjects, cases=(make_case(backend, 16),), samples=5, warmup=0, seed=0)
    with in_this_process(monkeypatch):
        answer = measure_here(job.model_dump(mode="json"))
    assert answer["weak"]["measurements"] == []
    assert answer["weak"]["failure"] == "batch 1, sequence 16, 1 thread: RuntimeError: out of luck"
    assert len(answer["strong"]["measurements"][0]["samples"]) == 5


def test_a_folder_without_an_artifact_is_a_failure_with_its_path(backend: Path) -> None:
    job = LatencyJob(
        subjects=(Subject(key="a", folder=str(backend / "nothing")),),
        cases=(make_case(backend, 16),),
        samples=1,
        warmup=0,
        seed=0,
    )
    assert "artifact.json is missing" in measure_here(job.model_dump(mode="json"))["a"]["failure"]


def test_requests_that_cannot_be_measured_are_refused_before_anything_runs(backend: Path) -> None:
    subject, case = Subject(key="a", folder="x"), make_case(backend, 16)
    gone = Case(shape=case.shape, feeds=str(backend / "gone.safetensors"))
    with pytest.raises(BenchmarkError, match="at least 1 sample, got 0"):
        measure_latency([subject], [case], samples=0, warmup=0)
    with pytest.raises(BenchmarkError, match="two subjects have the key 'a'"):
        measure_latency([subject, subject], [case], samples=1, warmup=0)
    with pytest.raises(BenchmarkError, match="measure each shape once"):
        measure_latency([subject], [case, case], samples=1, warmup=0)
    with pytest.raises(BenchmarkError, match=r"gone.safetensors is missing; write the inputs of batch 1, sequence 16"):
        measure_latency([subject], [gone], samples=1, warmup=0)


def test_a_session_gets_only_the_inputs_it_takes(backend: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[set[str]] = []

    class Recorder:
        def infer(self, feeds: Feeds) -> dict[str, np.ndarray]:
            seen.append(set(feeds))
            return {}

    class Target:
        @contextmanager
        def open(self, artifact: Artifact, folder: Path, threads: int) -> Iterator[Recorder]:
            yield Recorder()

    monkeypatch.setattr(targets, "load", lambda name, options: Target())
    subject = Subject(key="a", folder=make_artifact(backend / "a", {}))
    job = LatencyJob(subjects=(subject,), cases=(make_case(backend, 16),), samples=2, warmup=0, seed=0)
    measure_here(job.model_dump(mode="json"))
    assert seen == [{"ids"}] * 5


@pytest.mark.parametrize(("error", "absent"), [(TargetUnavailable, True), (BenchmarkError, False)])
def test_hardware_that_is_not_here_is_told_from_a_failure(
    error: type[Exception], absent: bool, backend: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Target:
        def open(self, artifact: Artifact, folder: Path, threads: int) -> None:
            raise error("built, not run: no TPU here")

    monkeypatch.setattr(targets, "load", lambda name, options: Target())
    subject = Subject(key="a", folder=make_artifact(backend / "a", {}))
    job = LatencyJob(subjects=(subject,), cases=(make_case(backend, 16),), samples=2, warmup=0, seed=0)
    told = measure_here(job.model_dump(mode="json"))["a"]
    assert (told["failure"], told["absent"]) == ("built, not run: no TPU here", absent)


def test_many_samples_are_taken_in_several_processes_and_joined(backend: Path) -> None:
    subjects = [Subject(key=key, folder=make_artifact(backend / key, {})) for key in "ab"]
    results = measure_latency(subjects, [make_case(backend, 16)], samples=55, warmup=2, enough_s=0)
    for key in "ab":
        (measurement,) = results[key].measurements
        # Three processes would have enough rounds, but the order of opening is balanced in an even number of them.
        assert len(measurement.samples) == 55 and results[key].failure is None
        assert measurement.sittings == (28, 27)
        assert 2 * 4 <= measurement.warmup_rounds <= 2 * 20
