"""What compilers say of hardware that is not here, as the report shows it."""

from __future__ import annotations

from edgepress.benchmarks.records.report import Report, Row
from edgepress.benchmarks.report.markdown import markdown
from edgepress.benchmarks.report.page import page
from edgepress.benchmarks.report.sections.base import builds
from edgepress.targets.records import HardwareBuild

BUILD = HardwareBuild(
    hardware="TPU v5e", sizes={"batch": 1, "sequence": 32}, int8_products=25, half_products=2, float_products=0,
    code_bytes=3_350_000, estimated_ms=0.0432, source="libtpu 0.0.42.1",
)  # fmt: skip


def estimated(report: Report) -> Report:
    row = Row(
        name="int8", target="xla-tpu", precision="int8", status="estimated", reason="no TPU here", builds=(BUILD,),
        chosen=True,
    )  # fmt: skip
    return report.model_copy(update={"candidates": (*report.candidates, row)})


def test_a_build_is_one_line_of_products_bytes_and_estimates(report: Report) -> None:
    (cells,) = builds(estimated(report)).lines
    assert cells[:6] == ("xla-tpu int8", "TPU v5e", "batch 1, sequence 32", "25", "2", "0")
    assert cells[6:] == ("3.35 MB", "–", "0.0432", "–", "libtpu 0.0.42.1")


def test_estimates_stand_under_a_heading_that_says_what_they_are(report: Report) -> None:
    assert "Compiler estimate, not measured" not in markdown(report)
    assert "## Compiler estimate, not measured" in markdown(estimated(report))
    assert '<h2 id="builds">Compiler estimate, not measured</h2>' in page(estimated(report))


def test_a_target_that_gave_no_artifact_is_lost(report: Report) -> None:
    row = Row(name="no artifact", target="xla-tpu", precision="–", status="unavailable", reason="needs jax")
    with_lost = report.model_copy(update={"candidates": (row,)})
    assert with_lost.failed_targets == (row,)
    assert "xla-tpu" not in {row.target for row in estimated(report).failed_targets}


def test_a_target_whose_chosen_artifact_failed_in_the_benchmark_is_lost(report: Report) -> None:
    """Its teacher and another candidate were measured: nothing can be released all the same."""
    teacher = report.teacher.model_copy(update={"target": "xla-tpu"})
    other = report.candidates[0].model_copy(update={"target": "xla-tpu", "chosen": False})
    crashed = other.model_copy(update={"name": "int8", "chosen": True, "status": "failed", "reason": "signal 11"})
    with_lost = report.model_copy(update={"candidates": (report.candidates[0], teacher, other, crashed)})
    assert with_lost.failed_targets == (crashed,)
