from __future__ import annotations

import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from benchmarks.page import page
from benchmarks.records import Report, Row
from benchmarks.report import read_report, report_schema, stages_table, summary_table, write_report
from targets.errors import ArtifactError

HOSTILE = '<script>alert("x")</script> [bold red]|`*_'


def printed(table: Table, width: int = 100) -> str:
    text = io.StringIO()
    Console(width=width, color_system=None, file=text).print(table)
    return text.getvalue()


def renamed(report: Report, name: str) -> Report:
    first = report.candidates[0].model_copy(update={"name": name})
    return report.model_copy(update={"candidates": (first, *report.candidates[1:])})


class Page(HTMLParser):
    """What a browser would see: tags that are open, every attribute, every text."""

    VOID = frozenset({"meta", "br", "link", "img", "line", "rect", "circle"})

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
        "report.html",
        "report.json",
        "report.md",
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
    text = (tmp_path / "report.json").read_text().replace('"schema_version": "1.0"', '"schema_version": "9.0"')
    (tmp_path / "report.json").write_text(text)
    with pytest.raises(ArtifactError, match="damaged or of another version: schema_version"):
        read_report(tmp_path)


def test_the_json_has_the_promised_fields(report: Report, tmp_path: Path) -> None:
    write_report(report, tmp_path)
    data = json.loads((tmp_path / "report.json").read_text())
    assert {"schema_version", "environment", "teacher", "candidates"} <= set(data)
    wanted = {"name", "target", "precision", "status", "reason", "chosen", "accuracy", "agreement", "parameters"}
    wanted |= {"macs", "int8_mac_share", "bytes", "shrink", "latency"}
    assert all(wanted <= set(row) for row in (data["teacher"], *data["candidates"]))
    latency = {"batch", "sequence", "threads", "unit", "p50", "p90", "samples", "speedup"}
    assert set(data["teacher"]["latency"][0]) == latency


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


def test_the_page_asks_for_nothing_and_runs_nothing(report: Report) -> None:
    html = page(renamed(report, "see https://example.com"))
    seen = Page(html)
    assert seen.open == []
    assert not {"script", "link", "img", "iframe", "object", "embed", "base"} & seen.tags
    assert not [pair for pair in seen.attributes if pair[0] in ("src", "href", "srcset", "action")]
    assert not re.search(r"@import|url\(", html)
    assert "default-src 'none'" in html


def test_hostile_names_stay_text_in_every_format(report: Report, tmp_path: Path) -> None:
    bad = renamed(report, HOSTILE)
    write_report(bad, tmp_path)
    html = (tmp_path / "report.html").read_text()
    assert "script" not in Page(html).tags
    assert "&lt;script&gt;" in html
    line = next(line for line in (tmp_path / "report.md").read_text().splitlines() if "★" in line)
    assert "<script>" not in line and "\\|\\`\\*\\_" in line
    assert "[bold red]" in printed(summary_table(bad), width=160)


@pytest.mark.parametrize("width", [80, 100, 120])
def test_the_summary_shows_all_rows_with_status_and_reason_within_the_terminal(report: Report, width: int) -> None:
    text = printed(summary_table(report), width)
    assert max(len(line) for line in text.splitlines()) <= width
    for part in ("teacher big", "★ dynamic", "0.8800", "s32 1.00/1.10", "s128 1.60/1.76", "8.0x", "8.00 MB", "10.0x"):
        assert part in text
    assert "· static: failed, SQNR is 6 dB" in text
    assert "· rt: unavailable, needs a GPU" in text


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
    for part in ("0.8800", "teacher 0.9000, −2.0 points", "8.0x to 10.0x", "8.00 MB, teacher 80.0 MB"):
        assert part in text


def test_a_run_that_chose_nothing_says_so(report: Report, tmp_path: Path) -> None:
    none = report.model_copy(update={"candidates": report.candidates[1:], "gates": (), "stages": ()})
    write_report(none, tmp_path)
    assert "No artifact was chosen" in (tmp_path / "report.html").read_text()
    assert "No artifact was chosen" in (tmp_path / "report.md").read_text()


def test_the_drawing_is_an_image_with_title_description_and_a_marker_for_each_measured_row(report: Report) -> None:
    html = page(report)
    drawings = re.findall(r"<svg.*?</svg>", html, re.DOTALL)
    assert len(drawings) == 2
    for drawing in drawings:
        assert 'role="img"' in drawing and "<desc" in drawing
        assert drawing.count('<circle class="chosen"') == 1 and drawing.count('<rect class="teacher"') == 1
        assert "1. dynamic: accuracy 0.8800" in drawing
    assert html.count("2 rows have no figure to draw here.") == 2
