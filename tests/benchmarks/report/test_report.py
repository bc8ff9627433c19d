from __future__ import annotations

import csv
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from rich.console import Console
from rich.table import Table

from edgepress.benchmarks.records.files import (
    answer_table,
    read_report,
    report_schema,
    stages_table,
    summary_table,
    write_report,
)
from edgepress.benchmarks.records.report import SCHEMA_VERSION, GateVerdict, LatencyRow, Report, Row
from edgepress.benchmarks.records.schema import SHIPPED, schema_text
from edgepress.benchmarks.report.markdown import markdown
from edgepress.benchmarks.report.page import page
from edgepress.benchmarks.report.verdicts import gates_line, verdict
from edgepress.targets.errors import ArtifactError
from edgepress.targets.records import HardwareBuild

HOSTILE = '<script>alert("x")</script> [bold red]|`*_'


def printed(table: Table, width: int = 100) -> str:
    text = io.StringIO()
    Console(width=width, color_system=None, file=text).print(table)
    return text.getvalue()


def faults(data: object) -> list[str]:
    """What is wrong with a report by its schema, which is itself checked."""
    schema = report_schema()
    Draft202012Validator.check_schema(schema)
    return [f"{fault.json_path}: {fault.message}" for fault in Draft202012Validator(schema).iter_errors(data)]


def lines_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "report.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, strict=True))


def renamed(report: Report, name: str) -> Report:
    first = report.candidates[0].model_copy(update={"name": name})
    return report.model_copy(update={"candidates": (first, *report.candidates[1:])})


class Page(HTMLParser):
    """What a browser would see: tags that are open, every attribute, every text."""

    VOID = frozenset({"meta", "input", "br", "link", "img", "line", "rect", "circle"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(" ".join(data.split()))


def test_a_written_report_reads_back_the_same(report: Report, tmp_path: Path) -> None:
    write_report(report, tmp_path / "new" / "folder")
    assert read_report(tmp_path / "new" / "folder") == report
    assert sorted(path.name for path in (tmp_path / "new/folder").iterdir()) == [
        "report.csv",
        "report.html",
        "report.json",
        "report.md",
        "report.schema.json",
    ]


def test_a_report_that_cannot_be_written_leaves_the_old_one_whole(report: Report, tmp_path: Path) -> None:
    write_report(report, tmp_path)
    old = (tmp_path / "report.json").read_text()
    (tmp_path / "report.md").unlink()
    (tmp_path / "report.md").mkdir()
    with pytest.raises(IsADirectoryError):
        write_report(renamed(report, "newer"), tmp_path)
    assert (tmp_path / "report.json").read_text() == old
    assert not list(tmp_path.glob(".*.part"))


def test_a_missing_or_damaged_report_is_named(report: Report, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"report.json is missing"):
        read_report(tmp_path)
    write_report(report, tmp_path)
    text = (tmp_path / "report.json").read_text().replace('"schema_version": "2.0"', '"schema_version": "9.0"')
    (tmp_path / "report.json").write_text(text)
    with pytest.raises(ArtifactError, match="damaged or of another version: schema_version"):
        read_report(tmp_path)


def test_the_json_has_the_promised_fields(report: Report, tmp_path: Path) -> None:
    write_report(report, tmp_path)
    data = json.loads((tmp_path / "report.json").read_text())
    assert {"schema_version", "environment", "teacher", "candidates"} <= set(data)
    wanted = {"name", "target", "precision", "status", "reason", "chosen", "metrics", "validation", "parameters"}
    wanted |= {"macs", "int8_mac_share", "bytes", "shrink", "latency"}
    assert all(wanted <= set(row) for row in (data["teacher"], *data["candidates"]))
    latency = {"batch", "sequence", "threads", "unit", "p50", "p90", "samples", "speedup", "p50_low", "p50_high"}
    assert latency <= set(data["teacher"]["latency"][0])
    accuracy, agreement = data["candidates"][0]["metrics"]
    assert (accuracy["key"], accuracy["primary"], agreement["key"], agreement["primary"]) == (
        *("accuracy", True),
        *("agreement", False),
    )
    wanted = {"name", "unit", "value", "low", "high", "difference", "difference_low", "difference_high", "p"}
    assert wanted | {"higher_is_better", "against"} <= set(accuracy)


def test_the_shipped_schema_is_what_the_records_say() -> None:
    assert SHIPPED.name == f"report-{SCHEMA_VERSION}.json"
    remedy = (
        "the records have changed: run `python -m edgepress.benchmarks.records.schema` and commit the file it writes"
    )
    assert SHIPPED.read_text(encoding="utf-8") == schema_text(), remedy


def test_a_written_report_fits_the_schema_beside_it(report: Report, tmp_path: Path) -> None:
    bare = report.model_copy(update={"candidates": (), "stages": (), "gates": (), "notes": ()})
    for number, one in enumerate((report, bare, renamed(report, HOSTILE))):
        write_report(one, tmp_path / str(number))
        assert json.loads((tmp_path / str(number) / "report.schema.json").read_text()) == report_schema()
        assert faults(json.loads((tmp_path / str(number) / "report.json").read_text())) == []


@pytest.mark.parametrize(
    ("update", "fault"),
    [
        ({"schema_version": "9.0"}, "$.schema_version: '2.0' was expected"),
        ({"extra": 1}, "$: Additional properties are not allowed ('extra' was unexpected)"),
        ({"gates": None}, "$.gates: None is not of type 'array'"),
    ],
)
def test_the_schema_refuses_what_is_no_report(report: Report, update: dict[str, object], fault: str) -> None:
    assert faults({**json.loads(report.model_dump_json()), **update}) == [fault]


def test_the_schema_carries_its_version() -> None:
    assert report_schema()["$id"] == f"urn:edgepress:report:{SCHEMA_VERSION}"


def test_the_csv_has_a_line_for_each_row_and_shape_with_every_figure(report: Report, tmp_path: Path) -> None:
    write_report(report, tmp_path)
    lines = lines_of(tmp_path)
    places = [(line["role"], line["name"], line["sequence"], line["p50"]) for line in lines]
    assert places == [
        ("teacher", "big", "32", "8.0"),
        ("teacher", "big", "128", "16.0"),
        ("candidate", "dynamic", "32", "1.0"),
        ("candidate", "dynamic", "128", "1.6"),
        ("candidate", "static", "", ""),
        ("candidate", "rt", "", ""),
    ]
    chosen = {"run": "demo", "chosen": "true", "accuracy": "0.88", "bytes": "8000000", "batch": "1", "samples": "20"}
    assert chosen.items() <= lines[2].items()
    assert lines[0]["chosen"] == "false" and lines[4]["accuracy"] == "" and lines[4]["reason"] == "SQNR is 6 dB"


def test_the_csv_leaves_out_no_field_that_is_a_number_or_a_text(report: Report, tmp_path: Path) -> None:
    write_report(report, tmp_path)
    header = list(lines_of(tmp_path)[0])
    assert len(header) == len(set(header))
    data = json.loads((tmp_path / "report.json").read_text())
    for record in (data["teacher"], data["candidates"][0], data["teacher"]["latency"][0]):
        assert {name for name, value in record.items() if isinstance(value, str | int | float)} <= set(header)
    assert {*Row.model_fields, *LatencyRow.model_fields} - set(header) == {
        "latency", "metrics", "settings", "candidate", "builds", "classes", "raw", "pinned", "sittings", "footprint",
        "batch_check", "isa_checks", "scenarios", "roofline",
    }  # fmt: skip


def test_the_csv_has_the_fields_of_inner_records_behind_a_dot(whole: Report, tmp_path: Path) -> None:
    write_report(whole, tmp_path)
    first, *_, last = lines_of(tmp_path)
    assert (first["footprint.peak_memory_bytes"], first["footprint.energy_mj"]) == ("181000000", "310.0")
    assert (first["roofline.macs"], first["roofline.limited_by"]) == ("1700000000", "arithmetic")
    chosen = next(line for line in lines_of(tmp_path) if line["name"] == "static-entropy-smoothquant-0.5")
    assert (chosen["batch_check.batch"], chosen["candidate.name"]) == ("32", "static-entropy-smoothquant-0.5")
    assert {last[name] for name in last if name.startswith(("footprint.", "batch_check.", "roofline."))} == {""}


def test_the_csv_is_rfc_4180_whatever_the_names(report: Report, tmp_path: Path) -> None:
    name = 'a "b", c\nd'
    write_report(renamed(report, name), tmp_path)
    raw = (tmp_path / "report.csv").read_bytes()
    assert raw.endswith(b"\r\n") and b"\r\r" not in raw and b'"a ""b"", c\nd"' in raw
    assert lines_of(tmp_path)[2]["name"] == name
    write_report(renamed(report, HOSTILE), tmp_path)
    assert lines_of(tmp_path)[2]["name"] == HOSTILE


def test_the_csv_has_the_geometric_mean_of_the_estimates_or_none(report: Report, tmp_path: Path) -> None:
    def estimated(*times: float | None) -> str:
        common = {"hardware": "v5e", "int8_products": 1, "half_products": 0, "float_products": 0, "source": "compiler"}
        builds = tuple(HardwareBuild(**common, estimated_ms=time) for time in times)
        row = report.candidates[2].model_copy(update={"builds": builds})
        write_report(report.model_copy(update={"candidates": (row,)}), tmp_path)
        return lines_of(tmp_path)[-1]["estimated_ms"]

    assert float(estimated(2.0, 8.0)) == pytest.approx(4.0)
    assert estimated(2.0, None) == estimated() == ""


def test_every_field_of_the_schema_is_described() -> None:
    schema = report_schema()
    parts = {"Report": schema, **{name: schema["$defs"][name] for name in ("Row", "LatencyRow", "StageRow", "Figures")}}
    bare = [
        f"{part}.{name}"
        for part in parts
        for name, field in parts[part]["properties"].items()
        if "description" not in field
    ]
    assert bare == []


def test_the_page_asks_for_nothing(report: Report) -> None:
    html = page(renamed(report, "see https://example.com"))
    seen = Page(html)
    assert seen.open == []
    assert not {"link", "img", "iframe", "object", "embed", "base"} & seen.tags
    asked = [value for name, value in seen.attributes if name in ("src", "href", "srcset", "action")]
    assert [value for value in asked if not value.startswith("#")] == []
    assert {value[1:] for value in asked} <= {value for name, value in seen.attributes if name == "id"}
    assert not re.search(r"@import|url\(", re.sub(r"<script.*?</script>", "", html, flags=re.DOTALL))
    assert "default-src 'none'" in html


def test_hostile_names_stay_text_in_every_format(report: Report, tmp_path: Path) -> None:
    bad = renamed(report, HOSTILE)
    write_report(bad, tmp_path)
    html = (tmp_path / "report.html").read_text()
    assert HOSTILE not in html and "<script>alert" not in html
    assert "&lt;script&gt;" in html
    line = next(line for line in (tmp_path / "report.md").read_text().splitlines() if "★" in line)
    assert "<script>" not in line and "\\|\\`\\*\\_" in line
    assert "[bold red]" in printed(summary_table(bad), width=160)


@pytest.mark.parametrize("width", [80, 100, 120])
def test_the_summary_shows_all_rows_with_status_and_reason_within_the_terminal(report: Report, width: int) -> None:
    text = printed(summary_table(report), width)
    assert max(len(line) for line in text.splitlines()) <= width
    for part in (
        "teacher big", "★ dynamic", "0.8800", "s32 1.00 [0.990, 1.02]", "s128 1.60 [1.58, 1.63]",
                 "p90 needs 64, has 20 ⚠", "8.0x", "[7.8, 8.2]", "[.860, .900]", "8.00 MB", "10.0x"):  # fmt: skip
        assert part in text
    flat = " ".join(text.split())
    assert "· onnxruntime-cpu static: failed, SQNR is 6 dB" in flat
    assert "· tensorrt-gpu rt: unavailable, needs a GPU" in flat
    assert "· ⚠ these times scatter by more than 2.5 % (coefficient of variation)" in flat


@pytest.mark.parametrize("width", [80, 100])
def test_the_answer_is_the_teacher_and_the_chosen_artifact_of_each_target(report: Report, width: int) -> None:
    text = printed(answer_table(report), width)
    assert max(len(line) for line in text.splitlines()) <= width
    for part in ("teacher big", "0.9000", "★ dynamic", "0.8800", "\N{MINUS SIGN}2.0 points", "s32 1.00 ⚠",
                 "s128 1.60 ⚠", "8.0x", "8.00 MB", "10.0x", "measured", "int8", "unavailable"):  # fmt: skip
        assert part in text
    assert "static" not in text and "p90" not in text
    assert "· tensorrt-gpu rt: unavailable, needs a GPU" in " ".join(text.split())


def test_the_answer_has_one_teacher_whatever_the_number_of_targets(report: Report) -> None:
    text = printed(answer_table(with_second_target(report)))
    assert text.count("teacher big") == 1 and text.count("★ dynamic") == 2


def test_one_line_tells_of_all_gates(report: Report) -> None:
    assert gates_line(report.model_copy(update={"gates": ()})) == "none set"
    holds = GateVerdict(gate="min_shrink", target="onnxruntime-cpu", limit=8, measured=10, passed=True)
    fails = holds.model_copy(update={"limit": 12, "passed": False})
    both = report.model_copy(update={"gates": (holds, holds)})
    assert gates_line(both) == "\N{CHECK MARK} 2 of 2 passed"
    assert gates_line(both.model_copy(update={"gates": (holds, fails)})) == (
        "\N{BALLOT X} 1 of 2 gates failed: onnxruntime-cpu: shrink at least 12.0x, measured 10.0x"
    )


def with_second_target(report: Report) -> Report:
    """The teacher and one candidate on another target, as a run of several writes them."""
    teacher = report.teacher.model_copy(update={"target": "tflite-mobile"})
    small = report.candidates[0].model_copy(update={"target": "tflite-mobile"})
    return report.model_copy(update={"candidates": (*report.candidates, teacher, small)})


def test_the_teacher_is_called_so_on_every_target(report: Report, tmp_path: Path) -> None:
    several = with_second_target(report)
    write_report(several, tmp_path)
    teachers = [line["target"] for line in lines_of(tmp_path) if line["role"] == "teacher"]
    assert teachers == ["onnxruntime-cpu"] * 2 + ["tflite-mobile"] * 2
    assert (tmp_path / "report.md").read_text().count("big (teacher)") == 2
    assert (tmp_path / "report.html").read_text().count('<span class="tag">teacher </span>big') == 2
    assert printed(summary_table(several)).count("teacher big") == 2
    assert not several.is_teacher(several.candidates[-1])


def test_the_verdict_has_no_line_for_a_stand_in_that_only_the_teacher_ran_on(report: Report) -> None:
    teacher = report.teacher.model_copy(update={"target": "pytorch"})
    seen = verdict(report.model_copy(update={"candidates": (*report.candidates, teacher)}))
    assert [line[0] for line in seen.lines] == ["onnxruntime-cpu", "tensorrt-gpu"]


def test_the_terminal_has_one_line_of_the_costs_of_a_chosen_artifact(whole: Report, report: Report) -> None:
    text = " ".join(printed(summary_table(whole)).split())
    assert (
        "· onnxruntime-cpu static-entropy-smoothquant-0.5: cold start 443 ms, peak memory 125 MB, "
        "60 % of the machine's limit or more"
    ) in text
    assert text.count("cold start") == 2 and "cold start" not in printed(summary_table(report))


def test_shapes_of_long_names_fit_the_terminal_too(report: Report) -> None:
    latency = report.candidates[0].latency
    wide = tuple(one.model_copy(update={"batch": 16, "threads": 2, "p50": 12.3}) for one in latency)
    row = report.candidates[0].model_copy(update={"latency": (*latency, *wide)})
    text = printed(summary_table(report.model_copy(update={"candidates": (row,)})), width=80)
    assert "b16 s128 t2" in text and "12.3 [" in text and "8.00 MB" in text


def test_rows_stand_with_the_teacher_first_and_in_the_reports_order(report: Report) -> None:
    text = printed(summary_table(report))
    assert text.index("teacher big") < text.index("★ dynamic") < text.index("static") < text.index("tensorrt-gpu")


def test_a_row_without_a_reason_is_not_passed_over(report: Report) -> None:
    row = Row(name="odd", target="t", precision="int8", status="failed")
    assert "odd: failed, no reason was given" in printed(
        summary_table(report.model_copy(update={"candidates": (row,)}))
    )


def test_the_stage_table_shows_before_after_verdict_and_reason(report: Report) -> None:
    text = printed(stages_table(report))
    for part in ("02-prune", "kept although it did not pay", "0.9000 → 0.8800", "80.0 MB → 40.0 MB", "1 min 15 s"):
        assert part in text
    assert "s128 16.0 → 15.0" in text
    assert "· 02-prune: no faster than before" in text


def test_page_and_markdown_show_failed_rows_with_their_reason(report: Report, tmp_path: Path) -> None:
    write_report(report, tmp_path)
    text = Page((tmp_path / "report.html").read_text()).text
    for part in ("static", "failed", "SQNR is 6 dB", "unavailable", "needs a GPU", "all gates passed", "a note"):
        assert part in text
    markdown = (tmp_path / "report.md").read_text()
    assert "failed: SQNR is 6 dB" in markdown and "unavailable: needs a GPU" in markdown


def test_the_verdict_says_what_was_gained_and_lost(report: Report) -> None:
    text = Page(page(report)).text
    for part in ("0.8800", "teacher 0.9000, −2.0 points [−3.5, −0.5]", "8.0x to 10.0x", "8.00 MB, teacher 80.0 MB"):
        assert part in text


def test_a_run_that_chose_nothing_says_so(report: Report, tmp_path: Path) -> None:
    none = report.model_copy(update={"candidates": report.candidates[1:], "gates": (), "stages": ()})
    write_report(none, tmp_path)
    assert "No artifact was chosen" in (tmp_path / "report.html").read_text()
    assert "No artifact was chosen" in (tmp_path / "report.md").read_text()


def test_every_plot_has_a_text_alternative_and_its_figures(report: Report) -> None:
    html = page(report)
    assert html.count('role="img"') == html.count('class="plot"') == 5
    assert "1. dynamic: accuracy 0.8800, p50 1.00 ms" in html
    assert "this report holds no raw samples" in html and "no accuracy by class" in html


def test_the_latency_table_says_how_sure_each_figure_is_and_how_cold_the_start(report: Report) -> None:
    seen = Page(page(report)).text
    for part in (
        "1.60 [1.58, 1.63]", "needs 130, has 20", "needs 662, has 20", "10.0x [9.7, 10.3]", "30", "41.0", "2.50",
        "⚠ CV 4.0 %, 1.0 % without outliers", "[0.8600, 0.9000]", "−2.0 points [−3.5, −0.5]",
    ):  # fmt: skip
        assert part in seen
    text = markdown(report)
    assert "## Latency" in text and "needs 6636, has 20" in text and "| 0.8800 [0.8600, 0.9000] |" in text


def test_a_report_from_before_the_intervals_still_reads_and_shows(report: Report, tmp_path: Path) -> None:
    write_report(report, tmp_path)
    data = json.loads((tmp_path / "report.json").read_text())
    new = {name for name, field in LatencyRow.model_fields.items() if not field.is_required() and name != "unit"}
    for row in (data["teacher"], *data["candidates"]):
        for name in [name for name in row if name.endswith(("_low", "_high", "_ms", "_difference"))]:
            del row[name]
        row["latency"] = [{name: value for name, value in one.items() if name not in new} for one in row["latency"]]
    (tmp_path / "report.json").write_text(json.dumps(data))
    old = read_report(tmp_path)
    assert old.candidates[0].latency[0].p50_interval is None
    assert "s32 1.00" in printed(summary_table(old)) and "[0." not in printed(summary_table(old))
    assert "| 1.00 | 8.0x |" in markdown(old)
