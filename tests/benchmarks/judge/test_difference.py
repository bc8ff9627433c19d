from __future__ import annotations

import io
import re

import pytest
from pydantic import ValidationError
from rich.console import Console

from edgepress.benchmarks.judge.difference import ORDER, Change, Difference, RegressionLimits, difference
from edgepress.benchmarks.records.costs import Footprint
from edgepress.benchmarks.records.report import Report, Row
from edgepress.benchmarks.report.difference import (
    change_text,
    difference_markdown,
    difference_table,
    limits_text,
    regressions_text,
    verdict,
)
from edgepress.targets.records import HardwareBuild
from tests.benchmarks.quality import quality

TARGET = "onnxruntime-cpu"
CHOSEN = f"{TARGET} dynamic"
SHORT, LONG = "p50, batch 1, sequence 32, threads 1", "p50, batch 1, sequence 128, threads 1"


def with_chosen(report: Report, **update: object) -> Report:
    first = report.candidates[0].model_copy(update=update)
    return report.model_copy(update={"candidates": (first, *report.candidates[1:])})


def slower(report: Report, factor: float) -> Report:
    """The chosen artifact at sequence 128 takes `factor` times as long."""
    short, long = report.candidates[0].latency
    return with_chosen(report, latency=(short, long.model_copy(update={"p50": long.p50 * factor})))


def change(found: Difference, place: str, figure: str) -> Change:
    (one,) = [each for each in found.changes if (each.place, each.figure) == (place, figure)]
    return one


def test_a_report_does_not_differ_from_itself(report: Report) -> None:
    found = difference(report, report)
    assert {each.effect for each in found.changes} == {"unchanged"}
    assert (found.remarks, found.regressions) == ((), ())
    assert (found.before, found.after) == ("demo", "demo")
    assert verdict(found).startswith("no regression, ")


def test_every_figure_of_the_chosen_artifact_and_of_the_stages_is_there(report: Report) -> None:
    found = difference(report, report)
    figures = {"accuracy", "agreement", SHORT, LONG, "bytes", "parameters"}
    assert {each.figure for each in found.changes if each.place == CHOSEN} == figures
    assert {each.figure for each in found.changes if each.place == "stage prune"} == {"verdict", *figures}
    assert {each.figure for each in found.changes if each.place == TARGET} == {"status", "chosen artifact"}
    assert {each.figure for each in found.changes if each.place == "teacher"} == {"accuracy", SHORT, LONG}


@pytest.mark.parametrize(
    ("accuracy", "effect"),
    [(0.8751, "within limits"), (0.875, "within limits"), (0.8749, "regression"), (0.8851, "improvement")],
)
def test_accuracy_may_fall_by_half_a_point_and_no_more(report: Report, accuracy: float, effect: str) -> None:
    found = change(difference(report, with_chosen(report, metrics=quality(accuracy, 0.95))), CHOSEN, "accuracy")
    assert (found.before, found.after, found.effect) == (0.88, accuracy, effect)


@pytest.mark.parametrize(
    ("factor", "effect"),
    [(1.05, "within limits"), (1.051, "regression"), (0.96, "within limits"), (0.94, "improvement")],
)
def test_p50_may_rise_by_five_per_cent_and_no_more(report: Report, factor: float, effect: str) -> None:
    found = difference(report, slower(report, factor))
    assert change(found, CHOSEN, LONG).effect == effect
    assert change(found, CHOSEN, SHORT).effect == "unchanged"


@pytest.mark.parametrize(("size", "effect"), [(8_080_000, "within limits"), (8_080_001, "regression")])
def test_bytes_may_rise_by_one_per_cent_and_no_more(report: Report, size: int, effect: str) -> None:
    assert change(difference(report, with_chosen(report, bytes=size)), CHOSEN, "bytes").effect == effect


def test_the_limits_can_be_others(report: Report) -> None:
    worse = with_chosen(slower(report, 1.2), metrics=quality(0.86, 0.95), bytes=9_000_000)
    assert len(difference(report, worse).regressions) == 3
    assert difference(report, worse, RegressionLimits(drop=0.02, latency_rise=0.2, bytes_rise=0.125)).regressions == ()
    with pytest.raises(ValidationError):
        RegressionLimits(bytes_rise=-0.1)


def test_regressions_come_first_and_the_rest_by_what_it_means(report: Report) -> None:
    found = difference(report, with_chosen(slower(report, 0.5), bytes=16_000_000, agreement=0.9))
    ranks = [ORDER.index(each.effect) for each in found.changes]
    assert ranks == sorted(ranks)
    assert (found.changes[0].figure, found.changes[0].effect) == ("bytes", "regression")


def test_what_is_better_one_way_round_is_worse_the_other(report: Report) -> None:
    other = with_chosen(slower(report, 1.5), metrics=quality(0.86, 0.95), bytes=9_000_000, status="built")
    there, back = difference(report, other), difference(other, report)
    flip = {"regression": "improvement", "improvement": "regression"}
    assert len(there.regressions) == 4
    for each in there.changes:
        assert change(back, each.place, each.figure).effect == flip.get(each.effect, each.effect)


@pytest.mark.parametrize("status", ["built", "estimated", "failed", "unavailable"])
def test_a_target_that_was_measured_and_is_not_any_more_is_a_regression(report: Report, status: str) -> None:
    found = change(difference(report, with_chosen(report, status=status)), TARGET, "status")
    assert (found.before, found.after, found.effect) == ("measured", status, "regression")


def test_a_target_without_a_chosen_artifact_is_a_regression_with_the_state_of_its_rows(report: Report) -> None:
    lost = report.model_copy(update={"candidates": report.candidates[1:]})
    assert change(difference(report, lost), TARGET, "status").after == "none chosen: failed"
    gone = report.model_copy(update={"candidates": report.candidates[2:]})
    found = change(difference(report, gone), TARGET, "status")
    assert (found.after, found.effect) == ("absent", "regression")
    assert change(difference(gone, report), TARGET, "status").effect == "improvement"


def test_a_figure_that_is_not_taken_any_more_is_a_regression(report: Report) -> None:
    found = difference(report, with_chosen(report, metrics=(), latency=()))
    assert [each.figure for each in found.regressions] == ["accuracy", SHORT, LONG]


def test_a_figure_that_neither_report_has_is_left_out(report: Report) -> None:
    bare = with_chosen(report, metrics=quality(0.88, 0.95)[1:], parameters=None)
    figures = {each.figure for each in difference(bare, bare).changes if each.place == CHOSEN}
    assert figures == {"agreement", SHORT, LONG, "bytes"}


def test_a_shape_that_only_one_report_has_is_a_change(report: Report) -> None:
    found = difference(report, with_chosen(report, latency=report.candidates[0].latency[:1]))
    assert (change(found, CHOSEN, LONG).after, change(found, CHOSEN, LONG).effect) == (None, "changed")
    assert found.regressions == ()


def test_another_chosen_artifact_is_named_and_its_figures_are_judged(report: Report) -> None:
    found = difference(report, with_chosen(report, name="static-2", metrics=quality(0.8, 0.95)))
    assert change(found, TARGET, "chosen artifact").after == "static-2"
    assert change(found, f"{TARGET} dynamic → static-2", "accuracy").effect == "regression"
    assert change(found, f"{TARGET} static-2", "row").before == "absent"


def test_rows_that_only_one_report_has_and_candidates_that_failed_since_are_changes(report: Report) -> None:
    old = Row(name="static", target=TARGET, precision="int8", status="measured")
    before = report.model_copy(update={"candidates": (report.candidates[0], old, report.candidates[2])})
    after = report.model_copy(update={"candidates": report.candidates[:2]})
    found = difference(before, after)
    rows = {each.place: (each.before, each.after, each.effect) for each in found.changes if each.figure == "row"}
    assert rows == {
        f"{TARGET} static": ("measured", "failed", "changed"),
        "tensorrt-gpu rt": ("unavailable", "absent", "changed"),
    }


def test_a_gate_that_does_not_hold_any_more_is_a_regression(report: Report) -> None:
    (gate,) = report.gates
    missed = gate.model_copy(update={"passed": False, "measured": 9_500_000})
    after = report.model_copy(update={"gates": (missed,)})
    found = change(difference(report, after), "all targets", "gate max_bytes")
    assert (found.before, found.after) == ("passed: 8.00 MB, limit 9.00 MB", "failed: 9.50 MB, limit 9.00 MB")
    assert found.effect == "regression"
    assert change(difference(after, report), "all targets", "gate max_bytes").effect == "improvement"
    none = report.model_copy(update={"gates": ()})
    assert change(difference(none, after), "all targets", "gate max_bytes").effect == "changed"


def test_stages_are_matched_by_kind_though_their_numbers_moved(report: Report) -> None:
    (stage,) = report.stages
    worse = stage.after.model_copy(update={"metrics": quality(0.85, 0.95), "parameters": 1_000_000})
    moved = stage.model_copy(update={"name": "03-prune", "after": worse})
    extra = stage.model_copy(update={"name": "02-distill", "kind": "distill"})
    found = difference(report, report.model_copy(update={"stages": (extra, moved)}))
    assert change(found, "stage prune", "accuracy").effect == "regression"
    assert change(found, "stage prune", "parameters").effect == "changed"
    assert change(found, "stage distill", "verdict").before == "absent"
    assert [each.place for each in found.regressions] == ["stage prune"]


def test_another_machine_is_said_and_its_latency_is_shown_and_not_judged(report: Report) -> None:
    other = slower(report, 2.0).model_copy(update={"environment": {**report.environment, "cpu": "other CPU"}})
    found = difference(report, other)
    assert found.remarks == (
        "The machines differ (cpu: some CPU → other CPU): latency does not compare, p50 is shown and not judged.",
    )
    assert change(found, CHOSEN, LONG).effect == "not judged"
    assert found.regressions == ()


def test_other_packages_are_said_and_latency_is_judged(report: Report) -> None:
    environments = [{**report.environment, "versions": {"numpy": "2.4", **more}} for more in ({}, {"jax": "0.10"})]
    one, other = (
        slower(report, f).model_copy(update={"environment": e}) for f, e in zip((1, 2), environments, strict=True)
    )
    found = difference(one, other)
    assert found.remarks[0].startswith("Package versions differ (jax: none → 0.10)")
    assert change(found, CHOSEN, LONG).effect == "regression"


def test_other_data_and_another_task_are_said(report: Report) -> None:
    other = report.model_copy(update={"task": "image-classification", "data": {"rows": {"test": 60}, "test_reads": 2}})
    task, data = difference(report, other).remarks
    assert task.startswith("The tasks differ (text-classification → image-classification)")
    assert data == "The data differ (rows): accuracy is of other rows."


def test_the_teachers_figures_are_shown_and_never_judged(report: Report) -> None:
    teacher = report.teacher.model_copy(update={"metrics": quality(0.5, 1.0)})
    found = difference(report, report.model_copy(update={"teacher": teacher}))
    assert change(found, "teacher", "accuracy").effect == "not judged"


def test_estimates_are_compared_by_hardware_and_size(report: Report) -> None:
    def built(estimated: float) -> Report:
        build = HardwareBuild(
            hardware="v5e",
            sizes={"batch": 8},
            int8_products=1,
            half_products=0,
            float_products=0,
            estimated_ms=estimated,
            source="the compiler",
        )
        return with_chosen(report, builds=(build,))

    found = change(difference(built(0.5), built(0.6)), CHOSEN, "estimated, v5e, batch 8")
    assert (found.before, found.after, found.effect) == (0.5, 0.6, "changed")


def test_the_footprint_is_said_and_never_judged(report: Report) -> None:
    old = with_chosen(report, footprint=Footprint(peak_memory_bytes=100_000_000, cold_start_ms=400.0))
    found = difference(old, with_chosen(report, footprint=Footprint(peak_memory_bytes=200_000_000)))
    memory, start = change(found, CHOSEN, "peak memory"), change(found, CHOSEN, "cold start")
    assert (memory.before, memory.after, memory.effect) == (100_000_000, 200_000_000, "changed")
    assert (start.before, start.after, start.effect) == (400.0, None, "changed")
    assert found.regressions == ()


@pytest.mark.parametrize(
    ("unit", "before", "after", "text"),
    [
        ("share", 0.88, 0.86, "−2.00 points"),
        ("ms", 1.6, 2.0, "1.25x, +0.400 ms"),
        ("bytes", 8e6, 7e6, "−12.5 %"),
        ("count", 4.0, 5.0, "+25.0 %"),
        ("count", None, 5.0, ""),
        ("text", "measured", "failed", ""),
        ("ms", 1.0, 1.0, ""),
    ],
)
def test_a_change_is_written_in_points_ratio_or_per_cent(unit: str, before: object, after: object, text: str) -> None:
    one = Change(place="", figure="", unit=unit, before=before, after=after, effect="changed")
    assert change_text(one) == text


def test_the_table_and_markdown_hold_each_change_with_regressions_on_top(report: Report) -> None:
    found = difference(report, with_chosen(report, metrics=quality(0.86, 0.95)), names=("runs/a", "[red]runs/b"))
    text = io.StringIO()
    Console(width=140, color_system=None, file=text).print(difference_table(found))
    assert "runs/a → [red]runs/b" in text.getvalue()
    lines = difference_markdown(found).splitlines()
    assert lines[0] == "# runs/a → \\[red\\]runs/b"
    rows = [line for line in lines if line.startswith("|")]
    assert len(rows) == 2 + len(found.changes)
    assert rows[2] == (f"| **{CHOSEN}** | **accuracy** | **0.8800** | **0.8600** | **−2.00 points** | **regression** |")
    lost = difference_markdown(difference(report, with_chosen(report, status="failed")))
    assert f"| **{TARGET}** | **status** | **measured** | **failed** |  | **regression** |" in lost
    assert re.search(r"^\*\*1 regression, \d+ unchanged\.\*\* A regression is accuracy lower", "\n".join(lines), re.M)


def test_the_remarks_stand_above_the_markdown_table(report: Report) -> None:
    other = report.model_copy(update={"environment": {"cpu": "a|b"}})
    text = difference_markdown(difference(report, other))
    assert text.index("- The machines differ (cpu: some CPU → a\\|b)") < text.index("| where |")


def test_one_line_names_every_regression(report: Report) -> None:
    found = difference(report, with_chosen(report, metrics=quality(0.86, 0.95), status="failed"), names=("A", "B"))
    assert regressions_text(found) == (
        f"2 regressions from A to B: {TARGET}, status: measured → failed; "
        f"{CHOSEN}, accuracy: 0.8800 → 0.8600 (−2.00 points)"
    )


def test_the_limits_are_said_in_points_and_per_cent(report: Report) -> None:
    text = limits_text(difference(report, report, RegressionLimits(drop=0.01)))
    assert "more than 1 points" in text and "more than 5 %" in text and "more than 1 %" in text
