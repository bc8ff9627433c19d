"""The report's tables: their figures by hand, and a reason wherever one is missing."""

from __future__ import annotations

import pytest

from edgepress.benchmarks.records.costs import BatchCheck, Footprint, IsaCheck, MachinePeak, Roofline
from edgepress.benchmarks.records.report import ClassAccuracy, GateVerdict, Report, Row
from edgepress.benchmarks.records.scenarios import ScenarioResult
from edgepress.benchmarks.report import verdicts
from edgepress.benchmarks.report.markdown import markdown
from edgepress.benchmarks.report.methods import METHODS
from edgepress.benchmarks.report.page import page
from edgepress.benchmarks.report.plots import curves as curve_plots
from edgepress.benchmarks.report.sections import base as sections
from edgepress.benchmarks.report.sections import classes as class_views
from edgepress.benchmarks.report.sections import costs, waterfalls
from edgepress.benchmarks.report.sections.base import Section
from edgepress.benchmarks.report.wording import MISSING

CPU, PHONE, GPU, TPU = "onnxruntime-cpu", "tflite-mobile", "tensorrt-gpu", "xla-tpu"
ABSENTS = (
    "Not measured: this report holds no memory, cold start, energy or download size of any artifact.",
    "Not measured: the recipe asked for none.",
    "Not measured: this report holds no peaks of its machine.",
    "Not measured: this report holds no accuracy by class.",
    "Not measured: this report holds no larger batches and no other instruction sets.",
)


def with_chosen(report: Report, **update: object) -> Report:
    first = report.candidates[0].model_copy(update=update)
    return report.model_copy(update={"candidates": (first, *report.candidates[1:])})


def line(found: Section, *place: str) -> dict[str, str]:
    """The one line that begins with these cells, by the names of its columns."""
    (cells,) = [cells for cells in found.lines if cells[: len(place)] == place]
    return dict(zip(found.heads, cells, strict=True))


def new_sections(report: Report) -> list[Section]:
    made = (costs.footprint, costs.scenarios, costs.limits, costs.peaks, costs.steadiness, verdicts.verdict)
    return [*(make(report) for make in made), class_views.classes_table(report), curve_plots.curves_table(report)]


def test_no_cell_of_the_new_tables_is_a_bare_blank(whole: Report, report: Report) -> None:
    for one in (*new_sections(whole), *new_sections(report)):
        assert {len(cells) for cells in one.lines} <= {len(one.heads)}
        assert [cells for cells in one.lines if {"", MISSING, "None"} & set(cells)] == []


def test_every_number_of_a_reason_has_its_reason_below_the_table(whole: Report) -> None:
    for one in new_sections(whole):
        asked = {
            cell.removeprefix("not measured ") for cells in one.lines for cell in cells if "not measured (" in cell
        }
        assert asked == {note.split(" ")[0] for note in one.notes if note.startswith("(")}


def test_the_footprint_has_each_cost_with_its_unit(report: Report) -> None:
    taken = Footprint(
        zstd_bytes=5_500_000, runtime_memory_bytes=60_000_000, peak_memory_bytes=120_000_000, cold_start_ms=412.4,
        energy_mj=3.21, energy_note="RAPL, 20 s of calls",
    )  # fmt: skip
    found = costs.footprint(with_chosen(report, footprint=taken))
    assert line(found, f"{CPU} dynamic") == {
        "artifact": f"{CPU} dynamic", "bytes": "8.00 MB", "zstd bytes": "5.50 MB", "runtime memory": "60.0 MB",
        "peak memory": "120 MB", "cold start ms": "412", "open ms": "41.0", "first call ms": "2.50",
        "energy a call": "3.21 mJ",
    }  # fmt: skip
    assert "Energy: RAPL, 20 s of calls" in found.notes


def test_what_the_footprint_misses_says_why(report: Report) -> None:
    taken = Footprint(failure="the child was killed", energy_note="not measured: no RAPL here")
    found = costs.footprint(with_chosen(report, footprint=taken, open_ms=None))
    cells = line(found, f"{CPU} dynamic")
    assert cells["energy a call"] == "not measured (3)" and cells["open ms"] == cells["peak memory"]
    assert found.notes == (
        "(1) this report holds no figure of it",
        "(2) the child was killed",
        "(3) energy: no RAPL here",
        f"No artifact, so no footprint: {CPU} static (failed), {GPU} rt (unavailable).",
    )


def test_an_artifact_whose_hardware_is_not_here_has_bytes_and_its_reason(whole: Report) -> None:
    found = costs.footprint(whole)
    cells = line(found, f"{GPU} int8-qdq")
    assert cells["bytes"] == "14.1 MB" and len(set(cells.values())) == 3
    number = cells["cold start ms"].removeprefix("not measured ")
    assert f"{number} built, not run: no NVIDIA driver" in found.notes


def test_a_scenario_has_its_figure_with_unit_or_its_failure(whole: Report) -> None:
    found = costs.scenarios(whole)
    assert line(found, f"{CPU} dynamic", "offline")["figure"] == "758 samples/s"
    assert line(found, f"{CPU} dynamic", "sustained")["figure"] == "1.14x"
    assert line(found, f"{CPU} dynamic", "server")["figure"] == "failed: took longer than 60 s"


def test_a_scenario_that_failed_without_a_word_says_so(report: Report) -> None:
    shape = report.teacher.latency[0].shape
    silent = ScenarioResult(scenario="offline", shape=shape, value=None, unit="", samples=0, meaning="throughput")
    (cells,) = costs.scenarios(with_chosen(report, scenarios=(silent,))).lines
    assert cells[3] == "failed: no reason was given"


def limited(report: Report, roofline: Roofline | None, *peaks: MachinePeak) -> Section:
    """The distances of a report whose chosen row has this roofline at its first shape only."""
    first, second = report.candidates[0].latency
    rows = (first.model_copy(update={"roofline": roofline}), second)
    return costs.limits(with_chosen(report.model_copy(update={"peaks": peaks}), latency=rows))


def test_the_distance_to_the_limit_stands_beside_p50(report: Report) -> None:
    roof = Roofline(
        macs=9_000_000, int8_macs=8_100_000, bytes=8_000_000, bound_ms=0.04, limited_by="memory", share=0.04
    )
    cells = line(limited(report, roof), f"{CPU} dynamic", "batch 1, sequence 32, 1 thread")
    assert list(cells.values())[2:] == ["9.00 M", "90 %", "0.04", "1.00", "4.0 %", "memory"]


def test_a_missing_limit_says_whether_peak_or_operations_are_missing(report: Report) -> None:
    roof = Roofline(macs=1, int8_macs=0, bytes=1, bound_ms=1.0, limited_by="arithmetic", share=1.0)
    common = {"target": CPU, "threads": 1, "fp32_gops": 50.0, "int8_gops": None, "bandwidth_gb_s": 10.0}
    other = MachinePeak(**{**common, "target": PHONE})
    assert limited(report, roof, other).notes == (f"(1) limit: no peak of {CPU} at 1 thread was measured",)
    told = MachinePeak(**common, note="no int8 here")
    assert limited(report, None, told).notes == ("(1) limit: no int8 here",)
    known = limited(report, None, MachinePeak(**common))
    assert known.notes == ("(1) limit: operations and bytes of this artifact are not known",)


def test_a_peak_that_is_missing_says_why(whole: Report) -> None:
    found = costs.peaks(whole)
    assert found.lines[0] == (CPU, "1", "410", "1100", "11.3")
    assert line(found, PHONE)["int8 peak, 1e9 operations/s"] == "not measured (1)"
    assert found.notes == ("(1) int8: tflite-mobile has no int8 product of that size",)


def test_larger_batches_and_instruction_sets_are_held_against_the_measured_accuracy(report: Report) -> None:
    checks = (
        IsaCheck(isa="AVX2 without VNNI", saturating=0.0, value=0.87, note="by the runtime's switch"),
        IsaCheck(isa="NEON", saturating=0.031, value=None, note=""),
        IsaCheck(isa="SSE", saturating=None, value=None, note=""),
    )
    batch = BatchCheck(batch=32, value=0.881, agreement=0.9966)
    found = costs.steadiness(with_chosen(report, batch_check=batch, isa_checks=checks))
    assert [cells[1:] for cells in found.lines] == [
        ("batch 32", "0.8810", "+0.1 points", "agreement with the measured batch 0.9966"),
        ("AVX2 without VNNI", "0.8700", "−1.0 points", "no product can leave 16 bits; by the runtime's switch"),
        ("NEON", "not measured", "not known", "3.1 % of weight pairs can leave 16 bits"),
        ("SSE", "not measured", "not known", "no reason was given"),
    ]


def test_the_verdict_has_a_line_for_each_target(whole: Report) -> None:
    found = verdicts.verdict(whole)
    assert [cells[0] for cells in found.lines] == [CPU, PHONE, GPU, TPU]
    assert line(found, PHONE) == {
        "target": PHONE, "chosen artifact": "dynamic-int8, int8", "status": "measured", "accuracy": "0.8946",
        "to the teacher [95 %]": "−1.6 points [−2.7, −0.7]", "speed-up": "5.8x to 6.2x", "shrink": "12.4x",
        "gates": "✗ 1 of 2 failed",
    }  # fmt: skip
    assert line(found, GPU)["speed-up"] == "not measured (1)"
    assert found.notes[0] == "(1) built, not run: no NVIDIA driver"
    assert found.notes[-1] == f"Accuracy of {GPU} int8-qdq is from ONNX Runtime's run of the same QDQ graph."


def test_a_target_without_an_artifact_stands_in_the_verdict_with_its_reason(report: Report) -> None:
    found = verdicts.verdict(report)
    assert line(found, GPU)["chosen artifact"] == "none" and line(found, GPU)["status"] == "unavailable"
    assert found.notes == ("(1) rt unavailable: needs a GPU",)


def test_a_gate_without_a_target_is_everybodys(report: Report) -> None:
    assert verdicts.gates_text(report, CPU) == "✓ 1 of 1 passed"
    other = GateVerdict(gate="min_shrink", target=GPU, limit=4.0, measured=2.0, passed=False)
    both = report.model_copy(update={"gates": (*report.gates, other)})
    assert [verdicts.gates_text(both, target) for target in (CPU, GPU)] == ["✓ 1 of 1 passed", "✗ 1 of 2 failed"]
    assert verdicts.gates_text(report.model_copy(update={"gates": ()}), CPU) == "none set"


def test_gates_that_fail_stand_first_and_are_told_in_one_line(whole: Report) -> None:
    assert [gate.passed for gate in verdicts.gates_in_order(whole)] == [False] + [True] * 7
    alarm = verdicts.alarm(whole)
    assert alarm.startswith(f"1 of 8 gates failed: {PHONE}: accuracy drop at most 0.0200, measured 0.0160; at 95 %")
    text, html = markdown(whole), page(whole)
    assert text.index("**1 of 8 gates failed") < text.index("| target | chosen artifact") < text.index("## Gates")
    assert html.index("1 of 8 gates failed") < html.index("targets have an artifact") < html.index("7 gates passed")
    assert verdicts.alarm(whole.model_copy(update={"gates": ()})) == ""


def test_accuracy_by_class_has_a_column_for_the_teacher_and_each_target(whole: Report) -> None:
    found = class_views.classes_table(whole)
    assert found.heads[2:] == (
        f"teacher {whole.teacher.name}", f"{CPU} static-entropy-smoothquant-0.5", f"{PHONE} dynamic-int8",
        f"{GPU} int8-qdq", f"{TPU} bf16",
    )  # fmt: skip
    assert found.lines[0][:5] == ("no opinion at all", "174", "0.7900", "0.7780 (−1.2 points)", "0.7420 (−4.8 points)")
    assert [cells[0] for cells in found.lines][-1] == "negative"


def test_an_artifact_without_accuracy_by_class_says_so_and_few_classes_are_shown(report: Report) -> None:
    many = tuple(ClassAccuracy(name=f"c{n:02d}", samples=5, accuracy=n / 40, difference=0.0) for n in range(40))
    found = class_views.classes_table(with_chosen(report, classes=many))
    assert found.lines[0] == ("c00", "5", "not measured (1)", "0.0000 (+0.0 points)")
    assert len(found.lines) == 30 and found.lines[-1][0] == "c29"
    assert found.notes == (f"(1) {CPU} big: no accuracy by class was taken", "The 30 worst of 40 classes.")


def test_a_sustained_run_has_its_extremes_behind_the_line(whole: Report) -> None:
    cells = line(curve_plots.curves_table(whole), f"{PHONE} dynamic-int8")
    # 2.00 ms, after 40 s rising to 1 + 0.28 * 79 / 80; the last ten windows have the median of n = 94.5.
    assert list(cells.values())[2:] == ["100", "3 min 19 s", "2.00", "2.00", "2.55", "1.26x"]


def test_the_steps_of_the_passes_are_figures_too(whole: Report) -> None:
    found = waterfalls.steps_table(whole)
    assert found.heads == ("step", "Accuracy, points", "Bytes, MB", "p50 at batch 1, sequence 32, 1 thread, ms")
    assert line(found, "measured again") == dict(zip(found.heads, ("measured again", "0", "0", "−0.09"), strict=True))
    assert found.lines[0] == ("before", "91.2", "88", "12.4") and found.lines[-1] == ("after", "90", "7.2", "1.06")


@pytest.mark.parametrize("view", [markdown, page])
def test_a_report_from_before_these_figures_says_that_they_were_not_measured(report: Report, view: object) -> None:
    text = view(report)  # type: ignore[operator]
    assert [absent for absent in ABSENTS if absent not in text] == []
    assert "Compiler estimate" not in text.split("How each figure was taken")[0]


def test_every_section_is_in_the_page_and_in_markdown(whole: Report) -> None:
    text, html = markdown(whole), page(whole)
    for one in new_sections(whole)[:-1]:
        assert one.key == "verdict" or (f"## {one.title}" in text and one.title in html)
    assert "took longer than 60 s" in text and "took longer than 60 s" in html


def test_the_foot_of_the_page_tells_how_each_new_figure_was_taken() -> None:
    told = dict(METHODS)
    for figure, words in (
        ("cold start", "from the start of a fresh process to its first answer"), ("peak memory", "process of its own"),
        ("zstd bytes", "level 10"), ("energy", "idle power included"), ("roofline", "matrix products"),
        ("scenarios", "Poisson"), ("batches", "ranges"), ("instruction sets", "16 bits"), ("pinning", "processors"),
        ("samples", "at most 2,000 in all"),
    ):  # fmt: skip
        assert words in told[figure]


def test_a_row_that_failed_is_in_no_new_table_but_the_first_has_it(whole: Report) -> None:
    failed = next(row for row in whole.candidates if row.status == "failed")
    assert isinstance(failed, Row)
    assert f"{failed.target} {failed.name}" not in {cells[0] for cells in sections.latency(whole).lines}
    assert failed.reason in markdown(whole)


def test_windows_of_sound_are_told_in_compute_a_second(report: Report) -> None:
    from edgepress.benchmarks.report.sections.streaming import streaming

    assert streaming(report) is None  # texts are no windows
    heard = report.model_copy(update={"data": {**report.data, "window_seconds": 2.0}})
    found = streaming(heard)
    assert found is not None and "Streaming" in markdown(heard) and "Streaming" in page(heard)
    first = report.teacher.latency[0]
    assert found.lines[0][3] == f"{first.p50 / 1000 / (2.0 * first.batch):.2g}"
