"""The hardware report: which artifact to ship on which device under the gates, rankings, plots, the page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgepress.benchmarks.devices.merge import Place, add_records, merge
from edgepress.benchmarks.devices.outcomes import Outcome
from edgepress.benchmarks.devices.page import devices_page, lacking_section
from edgepress.benchmarks.devices.plots import tradeoffs
from edgepress.benchmarks.devices.ranking import artifact_ranking, device_ranking, pair_ranking, ship_section
from edgepress.benchmarks.devices.record import DeviceRecord, read_record
from edgepress.benchmarks.devices.shipping import Standing, choices, gate_fault, slowness, standings
from edgepress.benchmarks.records.report import GateVerdict
from edgepress.targets.text import UNSEEN
from tests.benchmarks.report.test_page_in_browser import CHROMIUM, WIDER, opened
from tests.benchmarks.tiny_release import TARGET, seal_sums, tiny_record, tiny_release, write_sealed


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> DeviceRecord:
    folder = tmp_path_factory.mktemp("one")
    return read_record(write_sealed(folder / "one.json", tiny_record(tiny_release(folder / "release"))))


def timed(record: DeviceRecord, device: str, target: str, times: dict[int, float], spread: float = 0.0) -> DeviceRecord:
    """A record with a p50 in ms at each batch; `spread` of the samples around it, ms."""
    rows = tuple(
        record.latency[0].model_copy(
            update={"batch": batch, "p50": p50, "samples": tuple(p50 + spread * (n - 5) / 5 for n in range(11))}
        )
        for batch, p50 in times.items()
    )
    return record.model_copy(update={"device": device, "target": target, "artifact": "int8", "latency": rows})


def standing(record: DeviceRecord, bytes: int | None = 1000, missed: Sequence[str] = ()) -> Standing:
    return Standing(record, bytes, tuple(missed))


@pytest.fixture
def fleet(sound: DeviceRecord) -> list[Standing]:
    """Two devices and two artifacts, each at 2 batches; the phone takes twice as long."""
    return [
        standing(timed(sound, "board", "onnx", {1: 2.0, 8: 8.0})),
        standing(timed(sound, "board", "tflite", {1: 1.0, 8: 16.0})),
        standing(timed(sound, "phone", "onnx", {1: 4.0, 8: 16.0})),
        standing(timed(sound, "phone", "tflite", {1: 2.0, 8: 4.0})),
    ]


def test_the_fastest_over_all_shapes_is_shipped(fleet: list[Standing]) -> None:
    board, phone = choices(fleet)
    # sqrt(2 * 8) = sqrt(1 * 16) = 4: as fast on the board, though at no shape within its interval
    assert board.standing is not None and board.reason.startswith("1.00 times as fast as")
    # sqrt(4 * 16) = 8, sqrt(2 * 4) = 2.83
    assert (phone.standing, phone.reason) == (fleet[3], "2.83 times as fast as onnx int8")


def test_of_two_that_are_as_fast_the_smaller_is_shipped(sound: DeviceRecord) -> None:
    fast = standing(timed(sound, "board", "onnx", {1: 2.0}, spread=0.5), bytes=2000)
    small = standing(timed(sound, "board", "tflite", {1: 2.01}, spread=0.5), bytes=1000)
    (choice,) = choices([fast, small])
    assert (choice.standing, choice.reason) == (small, "as fast as onnx int8 within 95 %, and smaller")
    (choice,) = choices([fast, replace(small, bytes=3000)])
    assert (choice.standing, choice.reason) == (fast, "as fast as tflite int8 within 95 %")
    (choice,) = choices([fast, replace(small, bytes=None)])
    assert choice.standing == fast


def test_what_misses_a_gate_is_not_shipped_and_a_device_may_get_nothing(fleet: list[Standing]) -> None:
    slow = [replace(fleet[2], missed=("p50 at most 1",)), replace(fleet[3], missed=("p50 at most 2",))]
    (choice,) = choices([fleet[2], slow[1]])
    assert (choice.standing, choice.reason) == (
        fleet[2],
        "the only one that was measured and holds; tflite int8: p50 at most 2",
    )
    (choice,) = choices(slow)
    assert (choice.standing, choice.reason) == (None, "onnx int8: p50 at most 1; tflite int8: p50 at most 2")
    (choice,) = choices([fleet[2]])
    assert choice.reason == "the only one that was measured"
    outcomes = [Outcome(device="dead", state="failed", reason="off")]
    lines = ship_section([*slow, fleet[0]], outcomes).lines
    assert [line[:2] for line in lines] == [("board", "onnx int8"), ("phone", "none"), ("dead", "not measured")]
    assert lines[2][3] == "off"


def gate(name: str, limit: float, **more: Any) -> GateVerdict:
    return GateVerdict(gate=name, target=TARGET, limit=limit, measured=1.0, **{"passed": True, **more})


# Of the 4 rows of the record 3 are right, as the teacher's; its p50 is 1.005 ms, the interval's end about 1.01.
@pytest.mark.parametrize(
    ("verdict", "fault"),
    [
        (gate("max_p50_ms", 1.005), ""),
        (gate("max_p50_ms", 1.0), "p50 in ms at most, at every shape 1.00, and it takes 1"),
        (gate("max_p50_ms", 1.0051, judged="bound", bound=1.0), "p50 in ms at most, at every shape 1.01, and it takes"),
        (gate("max_p99_ms", 5.0), "p99 in ms at most, at every shape 5.00, and there are too few samples to tell"),
        # Wilson's interval of 3 of 4 is 0.3006 to 0.9544.
        (gate("min_accuracy", 0.95), ""),
        (gate("accuracy.min", 0.96), "accuracy at least 0.9600, and the rows that travel with the release have 0.9544"),
        (gate("min_accuracy_ratio", 1.27), ""),
        (gate("min_accuracy_ratio", 1.28), "the teacher's at least 1.2800, and the rows that travel with the release"),
        (gate("max_accuracy_drop", 0.0), ""),
        (gate("min_shrink", 8.0), ""),
        (gate("min_shrink", 8.0, passed=False), "shrink at least 8.0x, which the release missed already"),
        (gate("max_accuracy_drop", 0.0, passed=False), "which the release missed already"),
        (gate("macro-f1.min", 0.99), ""),
    ],
)
def test_gates_are_judged_by_what_a_device_can_tell(sound: DeviceRecord, verdict: GateVerdict, fault: str) -> None:
    found = gate_fault(sound, verdict)
    assert fault in found if fault else found == ""


def test_rows_that_a_device_gets_wrong_contradict_the_release(sound: DeviceRecord) -> None:
    """100 rows that the teacher has right, of which a broken device loses 40."""
    told = sound.accuracy
    assert told is not None
    rows = {"rows": 100, "labels": (1,) * 100, "teacher": (1,) * 100, "predicted": (1,) * 60 + (0,) * 40}
    broken = told.model_copy(update={**rows, "right": 60, "value": 0.6, "agreement": 0.6})
    record = sound.model_copy(update={"accuracy": broken})
    # (won + 1 - lost - 1) / 102 = -0.392; the interval's half is 1.96 * sqrt((1/102 + 41/102 - 0.392^2) / 102) = 0.0983
    assert "accuracy drop at most" in gate_fault(record, gate("max_accuracy_drop", 0.29))
    assert gate_fault(record, gate("max_accuracy_drop", 0.30)) == ""
    assert gate_fault(record.model_copy(update={"accuracy": None}), gate("max_accuracy_drop", 0.0)) == ""


def test_devices_and_artifacts_are_ranked_by_what_they_have_in_common(fleet: list[Standing]) -> None:
    # board: (2 * 8 * 1 * 16)^(1/4) = 4, phone: (4 * 16 * 2 * 4)^(1/4) = 4.76
    assert device_ranking(fleet).lines == [("1", "board", "1.00", "4 of 4"), ("2", "phone", "1.19", "4 of 4")]
    # tflite: (1 * 16 * 2 * 4)^(1/4) = 3.36, onnx: (2 * 8 * 4 * 16)^(1/4) = 5.66
    assert artifact_ranking(fleet).lines == [
        ("1", "tflite int8", "1.00", "4 of 4"),
        ("2", "onnx int8", "1.68", "4 of 4"),
    ]
    pairs = [line[:4] for line in pair_ranking(fleet).lines]
    assert pairs[0] == ("1", "board", "tflite int8", "batch 1, 1 thread") and pairs[3][1:3] == ("phone", "onnx int8")
    assert [line[0] for line in pairs] == ["1", "2", "3", "4"] * 2
    assert slowness({"a": {(1, None, 1): 1.0}, "b": {(2, None, 1): 1.0}}) == {} and slowness({}) == {}
    apart = [fleet[0], fleet[3]]
    assert device_ranking(apart).lines == [] and device_ranking(apart).absent.startswith("Not ranked")
    assert device_ranking(fleet[:2]).lines == [] and device_ranking(fleet[:2]).absent == ""


def test_the_newest_record_of_the_release_stands(sound: DeviceRecord) -> None:
    def of(sha: str) -> DeviceRecord:
        return sound.model_copy(update={"record_sha256": sha * 64})

    found = standings([of("a"), of("b"), of("c")], {"a" * 64, "b" * 64}, sizes={TARGET: 7})
    assert [(one.record.record_sha256[0], one.bytes) for one in found] == [("b", 7)]


def test_a_plot_for_each_shape_with_every_device(fleet: list[Standing]) -> None:
    first, second = tradeoffs(fleet)
    assert first.title == "Accuracy against p50 at batch 1, 1 thread" and second.key == "devices-1"
    assert "tflite int8 on phone: accuracy 0.7500, p50 2.00 ms" in first.label
    traces = json.loads(first.json)["data"]
    assert [(trace["x"], trace["y"]) for trace in traces] == [([p50], [0.75]) for p50 in (2.0, 1.0, 4.0, 2.0)]
    assert traces[0]["meta"] == traces[1]["meta"] != traces[2]["meta"]  # colours are devices
    assert traces[0]["marker"]["symbol"] == traces[2]["marker"]["symbol"] != traces[1]["marker"]["symbol"]
    assert tradeoffs([replace(fleet[0], record=fleet[0].record.model_copy(update={"accuracy": None}))]) == []


HOSTILE = "<script>alert(1)</script>\x1b[2J\u202e&lt;\"'{{x}}"


def test_names_of_others_are_text_on_the_page(fleet: list[Standing]) -> None:
    hostile = [replace(one, record=one.record.model_copy(update={"device": HOSTILE})) for one in fleet]
    text = devices_page(HOSTILE, hostile, [Outcome(device="d", state="failed", reason=HOSTILE)])
    own = text[: text.index("<script>/**")] if "<script>/**" in text else text.partition("Plotly")[0]
    assert "<script>alert(1)" not in text
    assert not UNSEEN.search(own) and "&lt;script&gt;alert(1)" in own
    assert lacking_section([]).lines == []


def test_the_reports_files_say_the_same(tmp_path: Path) -> None:
    release = tiny_release(tmp_path / "run/release")
    manifest = json.loads((release / "manifest.json").read_text())
    gates = [gate("max_p50_ms", 1.0).model_dump()]
    (release / "manifest.json").write_text(json.dumps({**manifest, "gates": gates}))
    seal_sums(release, manifest["files"])
    told = add_records(tmp_path / "run", [write_sealed(tmp_path / "one.json", tiny_record(release))])
    line = "p50 in ms at most, at every shape 1.00, and it takes 1"
    assert f"| board | none | – | onnxruntime-cpu fp32: {line}" in told.read_text()
    assert line in told.with_name("devices.html").read_text()
    merge(Place.of_run(tmp_path / "run"), [], [Outcome(device="dead", state="failed", reason="no route | here")])
    assert "| dead | all | failed | no route \\| here |" in told.read_text()
    assert json.loads(told.with_name("fleet.json").read_text())["outcomes"][0]["device"] == "dead"


def test_a_release_whose_gates_are_none_is_damaged(tmp_path: Path) -> None:
    release = tiny_release(tmp_path / "run/release")
    manifest = json.loads((release / "manifest.json").read_text())
    (release / "manifest.json").write_text(json.dumps({**manifest, "gates": [{"gate": 1}]}))
    seal_sums(release, manifest["files"])
    with pytest.raises(Exception, match=r"manifest\.json is damaged \(ValidationError"):
        add_records(tmp_path / "run", [])


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the path")
def test_the_page_draws_its_plots_at_phone_width_and_asks_for_nothing(fleet: list[Standing], tmp_path: Path) -> None:
    place = tmp_path / "devices.html"
    place.write_text(devices_page("digits", fleet, [Outcome(device="dead", state="failed", reason="off")]))
    with opened(place, 390) as (tab, faults):
        assert tab.locator(".plot").count() == 2
        assert not tab.evaluate(WIDER)
        assert tab.locator("#ship").text_content() == "Which artifact to ship"
        assert tab.locator("#lacking").count() == 1
        assert faults == []
