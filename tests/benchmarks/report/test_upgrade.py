"""Reports of schema 1.0 are read as reports of schema 2.0."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from edgepress.benchmarks.records.files import read_report, write_report
from edgepress.benchmarks.records.report import Report, Row
from edgepress.benchmarks.records.schema import SHIPPED
from edgepress.benchmarks.records.upgrade import upgraded, upgraded_row
from edgepress.targets.errors import ArtifactError

FIGURES = {"parameters": 100, "macs": 1000, "bytes": 10, "latency": []}


def old_row(**more: Any) -> dict[str, Any]:
    return {"name": "big", "target": "onnxruntime-cpu", "precision": "fp32", "status": "measured", **more}


def old_report() -> dict[str, Any]:
    chosen = old_row(
        name="dynamic", chosen=True, accuracy=0.88, accuracy_low=0.86, accuracy_high=0.9, accuracy_difference=-0.02,
        accuracy_difference_low=-0.035, accuracy_difference_high=-0.005, agreement=0.95, flips_lost=7, flips_won=3,
        mcnemar_p=0.34, kl=0.01, sqnr_db=24.5, validation_accuracy=0.9,
        batch_check={"batch": 32, "accuracy": 0.87, "agreement": 0.99},
        isa_checks=[{"isa": "AVX2 without VNNI", "saturating": 0.0, "accuracy": None, "note": "n"}],
    )  # fmt: skip
    stage = {
        "name": "02-prune", "kind": "prune", "verdict": "kept", "seconds": 1.0,
        "before": {"accuracy": 0.9, "agreement": 1.0, **FIGURES},
        "after": {"accuracy": 0.8, "agreement": 0.9, **FIGURES},
    }  # fmt: skip
    failed = old_row(name="static", status="failed", reason="why", accuracy=None, agreement=None, kl=None)
    return {
        "schema_version": "1.0", "name": "demo", "task": "text-classification", "created": "2026-01-02T03:04:05+00:00",
        "recipe_digest": "ab" * 32, "environment": {}, "data": {}, "teacher": old_row(accuracy=0.9, agreement=1.0),
        "candidates": [chosen, failed], "stages": [stage], "gates": [],
    }  # fmt: skip


def test_the_old_report_of_this_test_fits_the_shipped_schema_1_0() -> None:
    schema = json.loads(SHIPPED.with_name("report-1.0.json").read_text(encoding="utf-8"))
    known = set(schema["$defs"]["Row"]["properties"])
    assert schema["$id"] == "urn:edgepress:report:1.0"
    assert all(set(row) <= known for row in (old_report()["teacher"], *old_report()["candidates"]))
    assert Draft202012Validator(schema["$defs"]["BatchCheck"] | {"$defs": schema["$defs"]}).is_valid(
        old_report()["candidates"][0]["batch_check"]
    )


def test_every_flat_figure_of_a_1_0_row_stands_among_the_metrics(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text(json.dumps(old_report()))
    report = read_report(tmp_path)
    row = report.candidates[0]
    accuracy = row.primary
    assert accuracy is not None and (accuracy.key, accuracy.value, accuracy.p) == ("accuracy", 0.88, 0.34)
    assert (accuracy.interval, accuracy.difference) == ((0.86, 0.9), -0.02)
    assert accuracy.difference_interval == (-0.035, -0.005) and (accuracy.flips_lost, accuracy.flips_won) == (7, 3)
    values = {figure.key: (figure.value, figure.unit) for figure in row.metrics[1:]}
    assert values == {"agreement": (0.95, "share"), "kl": (0.01, "nats"), "sqnr": (24.5, "dB")}
    assert row.validation == 0.9
    assert row.batch_check is not None and (row.batch_check.value, row.batch_check.agreement) == (0.87, 0.99)
    assert (row.isa_checks[0].value, row.isa_checks[0].saturating) == (None, 0.0)


def test_stages_and_rows_without_figures_are_read_too() -> None:
    report = Report.model_validate(old_report())
    before, after = report.stages[0].before.primary, report.stages[0].after.primary
    assert before is not None and after is not None and (before.value, after.value) == (0.9, 0.8)
    assert report.candidates[1].metrics == () and report.candidates[1].reason == "why"


def test_an_old_report_is_written_as_a_new_one_and_read_back_the_same(tmp_path: Path) -> None:
    report = Report.model_validate(old_report())
    write_report(report, tmp_path)
    assert json.loads((tmp_path / "report.json").read_text())["schema_version"] == "2.0"
    assert read_report(tmp_path) == report


def test_a_new_report_is_left_as_it_is(report: Report) -> None:
    content = report.model_dump()
    assert upgraded(content) is content


def test_a_damaged_old_report_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text(json.dumps(old_report() | {"candidates": [3]}))
    with pytest.raises(ArtifactError, match=r"damaged or of another version: candidates\.0"):
        read_report(tmp_path)


def test_kept_results_of_the_examples_are_read(root: Path) -> None:
    """Each kept accuracy is the primary figure of its row."""
    seen = 0
    for path in sorted((root / "examples" / "results").glob("*.json")):
        for content in json.loads(path.read_text(encoding="utf-8")).get("rows", []):
            row = Row.model_validate(upgraded_row(content))
            if content.get("accuracy") is not None:
                assert row.primary is not None and row.primary.value == content["accuracy"]
                seen += 1
    assert seen > 10


def test_two_primary_metrics_or_one_metric_twice_are_refused(report: Report) -> None:
    content = report.candidates[0].model_dump()
    first, second = content["metrics"]
    with pytest.raises(ValueError, match="exactly one metric is the primary one, got 2 of accuracy, agreement"):
        Row.model_validate(content | {"metrics": [first, second | {"primary": True}]})
    with pytest.raises(ValueError, match="a metric is there twice: accuracy, accuracy"):
        Row.model_validate(content | {"metrics": [first, first]})
